//! The agent of `lb`: one room a concern.
//!
//! Dependencies point one way:
//! `cli → agent → {dataplane, health, proxy, ha, aws, peer, metrics, admin} → {access_log, acme, pool,
//! tickets} → config → {lb-ha, lb-common}`. Any room may use `command`, `netlink`, `private_file` and
//! `request_path`, which know none.
// `deny`, so that the one room which needs it can say so: `dataplane::memory`.
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

/// Gives memory back once a flood is over, which glibc's allocator keeps: there the pages between two
/// that are in use stay. `.cargo/config.toml` says how soon.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
