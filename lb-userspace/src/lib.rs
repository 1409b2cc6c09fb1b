//! The agent of `lb`: one room a concern.
//!
//! Dependencies point one way:
//! `cli → agent → {dataplane, health, proxy, metrics, admin} → pool → config → lb-common`.
#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod health;
pub mod metrics;
pub mod pool;
pub mod proxy;
