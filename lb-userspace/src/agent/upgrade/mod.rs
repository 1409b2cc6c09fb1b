//! The upgrade in place: a new process takes over from the one that runs, on this host.
//!
//! `lb upgrade` has the running agent start the binary that is installed now, with its own arguments.
//! The new process reads the configuration and says so; the old one gives it the listening sockets and
//! the lock of the packet path, and changes nothing from then on. Once the new process serves, the old
//! one lets its connections end. A new process that fails leaves the old one serving.
//!
//! A connection that waits in a listening socket is accepted by either process: none is refused.
//!
//! Of a host of a pair, the new process asks for the pair when all else is ready. The old one leaves it
//! without a goodbye, and the new one goes on in its role before the other host misses an advert too
//! many.

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

/// The argument that tells a new process to take over; its standard input is the channel.
pub const TAKE_OVER: &str = "--take-over";

/// The environment variable that says that the process is no child of the agent that it takes over from,
/// so that its parent is the service manager, which learns of its end.
const DETACHED: &str = "LB_DETACHED";

/// What the old process sends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Gift {
    /// Listening sockets of a service, or some of them.
    Listeners(SocketAddr),
    /// The listening socket of `admin.listen`.
    Admin(SocketAddr),
    /// The lock on the directory of the pins.
    Lock(PathBuf),
    /// The keys of session tickets.
    Tickets(Offer),
    /// What moves between the hosts of the pair.
    Moves(Moving),
    /// There is no more but the pair.
    All,
    /// How the old process has left the pair; `None`: it was in none.
    Pair(Option<Left>),
}

/// What the new process sends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// The configuration is valid: the sockets are wanted. With the process's number.
    Ready(u32),
    /// All else is ready: the pair is wanted.
    WantsPair,
    /// It serves.
    Serving,
    /// It ends: why.
    Failed(String),
}
