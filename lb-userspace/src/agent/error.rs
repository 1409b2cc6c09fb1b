//! Why an agent did not start, or ended because its pair thread was lost.

use std::{io, net::SocketAddr};

use super::DraftError;
use crate::{
    admin::{SocketError, TlsError},
    config::Errors,
    dataplane, ha, peer, proxy,
    tickets::NoRandomness,
};

/// Why an agent did not start or, for [`Self::PairLost`], why it ended by itself. An agent that did
/// not start has left nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent that this process should take over from cannot be reached, or the channel to it
    /// failed.
    #[error("cannot take over: {0}. `--take-over` is for a process that `lb upgrade` starts")]
    TakeOver(io::Error),
    /// The configuration is invalid, or names something that is missing on this host.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Packets cannot reach some backends of the configuration.
    #[error("{0}")]
    Unreachable(Errors),
    /// The system refused threads, timers or signal handlers to the agent.
    #[error("cannot start the agent: {0}")]
    Runtime(io::Error),
    /// The admin socket cannot be bound, usually because another agent is running.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The certificate of the admin server cannot be served.
    #[error(transparent)]
    AdminTls(#[from] TlsError),
    /// The address that the HTTP admin server is to listen on cannot be bound.
    #[error(
        "cannot listen on `admin.listen` = {address}: {source}{}",
        hint(source)
    )]
    Listen {
        /// The configured address of the admin server.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
    /// The HTTP front did not start, for these reasons, of which there is at least one.
    #[error("{}", lines(.0))]
    Proxy(Vec<proxy::Error>),
    /// The link to the peer cannot be started.
    #[error(transparent)]
    Link(#[from] peer::Error),
    /// The socket for VRRP adverts cannot be opened.
    #[error(transparent)]
    Adverts(#[from] ha::adverts::Error),
    /// The virtual IPs, which move between the hosts, cannot be managed.
    #[error(transparent)]
    Addresses(#[from] ha::Error),
    /// The addresses that move between the hosts differ from those of the agent that this process
    /// should take over from.
    #[error(
        "the addresses that move between the hosts, or their interface, have changed, which `lb upgrade` \
         cannot put in force: use `systemctl restart lb`, which hands over to the peer first"
    )]
    PairMoves,
    /// The pair thread ended at its start without reporting an error.
    #[error("the HA pair thread ended while starting: report this with the log")]
    PairEnded,
    /// The pair thread ended while the agent was running.
    #[error("the HA pair thread ended unexpectedly: report this with the log")]
    PairLost,
    /// No keys for TLS session tickets can be generated.
    #[error(transparent)]
    Tickets(#[from] NoRandomness),
    /// The packet path in the kernel cannot be opened or written.
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
