//! The upgrade in place: a new process takes over from the running one on the same host.
//!
//! On `lb upgrade` the running agent starts the binary that is installed now, with its own
//! arguments. The new process reads the configuration and reports that it is valid; the old process
//! passes the listening sockets and the lock on the packet path to it, and changes nothing in the
//! kernel from then on. Once the new process serves, the old one waits for its connections to end.
//! If the new process fails, the old one continues to serve.
//!
//! Both processes have the same listening sockets, so either of them accepts a connection in the
//! backlog, and none is refused.
//!
//! On a host of a pair, the new process requests the pair when everything else is ready. The old
//! process leaves the pair without a goodbye, and the new one resumes the host's role before the
//! peer's time-out for adverts expires.

mod channel;
mod predecessor;
mod successor;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::pair::{Left, Moving};
use crate::tickets::Offer;

pub(super) use self::{
    predecessor::{Bequest, Successor, spawn},
    successor::{Inherited, Predecessor, detach, is_detached},
};

/// The argument that makes a process take over; its standard input is then the channel to the old
/// process.
pub const TAKE_OVER: &str = "--take-over";

/// The environment variable that is set in a process which is not a child of the agent that it
/// takes over from. Such a process is a child of the service manager, which is notified of its end.
const DETACHED: &str = "LB_DETACHED";

/// A message of the old process to the new one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Gift {
    /// Some or all of the listening sockets of this address of a service, as file descriptors.
    Listeners(SocketAddr),
    /// The listening socket of the HTTP admin server at this address, as a file descriptor.
    Admin(SocketAddr),
    /// The lock on the directory of the pins, which has this path, as a file descriptor.
    Lock(PathBuf),
    /// The keys of TLS session tickets.
    Tickets(Offer),
    /// The addresses that move between the hosts of the pair; the new process must have the same in
    /// its configuration.
    Moves(Moving),
    /// Everything was sent except the state of the pair.
    All,
    /// The state with which the old process has just left the pair; `None` if it had no pair.
    Pair(Option<Left>),
}

/// A message of the new process to the old one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// The configuration is valid, and the new process requests the sockets. Contains its PID.
    Ready(u32),
    /// Everything except the pair is ready, and the new process requests the pair.
    WantsPair,
    /// The new process serves now.
    Serving,
    /// The new process has failed to take over and ends, for this reason.
    Failed(String),
}
