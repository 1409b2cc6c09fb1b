//! The upgrade in place: a new process takes over from the running one on the same host.
//!
//! On `lb upgrade` the running agent starts the binary that is installed now, with its own arguments.
//! The new process reads the configuration and reports that it is valid; the old one passes it the
//! listening sockets and the lock on the packet path, and changes nothing from then on. Once the new
//! process serves, the old one waits for its connections to end. If the new process fails, the old one
//! continues to serve.
//!
//! A connection in the backlog of a listening socket is accepted by either process: none is refused.
//!
//! On a host of a pair, the new process requests the pair when everything else is ready. The old one
//! leaves it without a goodbye, and the new one resumes its role before the peer's timeout for adverts
//! expires.

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

/// The argument with which a new process takes over; its standard input is the channel to the old one.
pub const TAKE_OVER: &str = "--take-over";

/// The environment variable of a process that is not a child of the agent that it takes over from, so that
/// its parent is the service manager, which is notified of its end.
const DETACHED: &str = "LB_DETACHED";

/// A message of the old process.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Gift {
    /// Listening sockets of a service, possibly not all of them.
    Listeners(SocketAddr),
    /// The listening socket of `admin.listen`.
    Admin(SocketAddr),
    /// The lock on the directory of the pins.
    Lock(PathBuf),
    /// The keys of session tickets.
    Tickets(Offer),
    /// The addresses that move between the hosts of the pair.
    Moves(Moving),
    /// Everything except the pair was sent.
    All,
    /// The state with which the old process has left the pair; `None` if it had no pair.
    Pair(Option<Left>),
}

/// A message of the new process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// The configuration is valid: requests the sockets. Contains the PID.
    Ready(u32),
    /// Everything else is ready: requests the pair.
    WantsPair,
    /// The new process serves.
    Serving,
    /// The new process ends, for this reason.
    Failed(String),
}
