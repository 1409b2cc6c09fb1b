//! The contract between the kernel and the agent, and the packet logic that both run.
#![no_std]
#![forbid(unsafe_code)]

pub mod backend;
