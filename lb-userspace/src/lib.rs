//! The agent of `lb`, with a module (a *room* in the documentation) for each concern.
//!
//! Dependencies between rooms point in one direction, from `cli` and `agent` down; the table in
//! `docs/architecture.md` has all of them, and a test compares it with the sources.
// `deny` instead of `forbid`, so that `dataplane::memory`, which needs `unsafe`, can allow it.
#![deny(unsafe_code)]

pub mod access_log;
pub mod acme;
pub mod admin;
pub mod agent;
pub mod cli;
mod command;
pub mod dataplane;
pub mod ha;
pub mod health;
pub mod metrics;
mod netlink;
pub mod peer;
pub mod pool;
pub mod private_file;
pub mod proxy;
pub mod tickets;

pub use lb_aws as aws;
pub use lb_config as config;

/// jemalloc, because it returns memory to the system after a flood of connections. glibc's allocator keeps
/// free pages that lie between pages in use. The delay is set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
