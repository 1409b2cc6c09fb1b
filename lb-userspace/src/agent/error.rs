//! Why an agent did not start.

use std::{io, net::SocketAddr};

use super::DraftError;
use crate::{
    admin::SocketError, config::Errors, dataplane, ha, peer, proxy, tickets::NoRandomness,
};

/// Why an agent did not start. It left nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent that this one was to take over from.
    #[error("cannot take over: {0}. `--take-over` is for a process that `lb upgrade` starts")]
    TakeOver(io::Error),
    /// The configuration, or what it names on this host.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Backends that packets do not reach.
    #[error("{0}")]
    Unreachable(Errors),
    /// The system gave no threads, timers or signals.
    #[error("cannot start the agent: {0}")]
    Runtime(io::Error),
    /// The admin socket; another agent, as a rule.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The admin server's address.
    #[error(
        "cannot listen on `admin.listen` = {address}: {source}{}",
        hint(source)
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP front; at least one.
    #[error("{}", lines(.0))]
    Proxy(Vec<proxy::Error>),
    /// The link to the other agent.
    #[error(transparent)]
    Link(#[from] peer::Error),
    /// Adverts.
    #[error(transparent)]
    Adverts(#[from] ha::adverts::Error),
    /// The addresses that move.
    #[error(transparent)]
    Addresses(#[from] ha::Error),
    /// What moves between the hosts is not what it was.
    #[error(
        "the addresses that move between the hosts have changed, or their interface, which `lb upgrade` \
         cannot put in force: `systemctl restart lb`, which hands over to the other host first"
    )]
    PairMoves,
    /// The thread of the pair ended before it said why.
    #[error("the thread that keeps up the pair ended at its start: report what the log says")]
    PairEnded,
    /// The thread of the pair ended while the agent ran.
    #[error("the thread that kept up the pair ended: report what the log says")]
    PairLost,
    /// The keys of session tickets.
    #[error(transparent)]
    Tickets(#[from] NoRandomness),
    /// The packet path.
    #[error(transparent)]
    Dataplane(#[from] dataplane::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another agent running?",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has the address",
        io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

fn lines(errors: &[proxy::Error]) -> String {
    let sentences = errors.iter().map(ToString::to_string);
    sentences.collect::<Vec<_>>().join("\n")
}
