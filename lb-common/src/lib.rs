//! The contract between the kernel and the agent, and the packet logic that both run.
//!
//! The packet logic is one library that runs in two places: [`steer`](steer::steer) runs under XDP
//! over packet memory and BPF maps, and on the host over byte slices and hash tables, where tests
//! and fuzzers drive it. Two traits, [`memory::Memory`] and [`tables::Tables`], hide the
//! difference.
//!
//! The types of [`wire`] carry network byte order. All other numbers are in host byte order, and an
//! address is an array of its four octets.
#![cfg_attr(not(feature = "host"), no_std)]
#![forbid(unsafe_code)]

pub mod backend;
pub mod checksum;
pub mod connection;
pub mod endpoint;
pub mod flow;
pub mod hop;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod parse;
pub mod port;
pub mod record;
pub mod ring;
pub mod service;
pub mod settings;
pub mod steer;
pub mod table;
pub mod tables;
pub mod tcp;
pub mod tick;
pub mod traffic;
pub mod verdict;
pub mod walk;
pub mod wire;

mod hash;

#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "host")]
pub mod import;
