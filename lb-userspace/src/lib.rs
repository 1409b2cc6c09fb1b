//! The agent of `lb`, with one module for each concern.
//!
//! Dependencies between modules point in one direction, from `cli` and `agent` down. The table in
//! `docs/architecture.md` lists all dependencies, and a test compares it with the sources.
// The crate denies `unsafe` instead of forbidding it, so that `dataplane::memory`, which needs it,
// can allow it.
#![deny(unsafe_code)]

pub mod access_log;
pub mod acme;
pub mod admin;
pub mod agent;
pub mod cli;
mod command;
pub mod dataplane;
pub mod discovery;
pub mod doctor;
pub mod events;
pub mod ha;
pub mod health;
pub mod logging;
pub mod metrics;
mod netlink;
pub mod peer;
pub mod pool;
pub mod private_file;
pub mod proxy;
pub mod tickets;

pub use lb_aws as aws;
pub use lb_config as config;

/// The allocator is jemalloc, because it returns memory to the system after a flood of connections,
/// whereas glibc's allocator keeps free pages that lie between pages in use. How long jemalloc
/// waits before it returns memory is set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
