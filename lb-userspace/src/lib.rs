//! The agent of `lb`, with a module (a *room* in the documentation) for each concern.
//!
//! Dependencies point in one direction:
//! `cli → agent → {dataplane, health, proxy, ha, aws, peer, metrics, admin} → {access_log, acme, pool,
//! tickets} → config → {lb-ha, lb-common}`. Any room may use `command`, `netlink`, `private_file` and
//! `request_path`, which depend on no room.
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

/// jemalloc, because it returns memory to the system after a flood of connections. glibc's allocator keeps free
/// pages that lie between pages in use. The delay is set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
