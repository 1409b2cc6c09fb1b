//! Watches links, neighbours and routes for changes, after which the XDP program looks up the next
//! hops of its flows again.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use lb_common::verdict::{DropReason, Verdict};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage, link::LinkMessage, neighbour::NeighbourMessage,
};
use netlink_sys::Socket;
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};

use super::{
    Error,
    maps::Maps,
    resolve::Resolver,
    topology::{Stale, Topology},
};
use crate::netlink::{
    self, GROUP_IPV4_ROUTE, GROUP_IPV4_RULE, GROUP_LINK, GROUP_NEIGHBOUR, Rtnetlink,
};

/// The interval in milliseconds at which the watching thread checks whether it must stop.
const PATIENCE_MS: i64 = 500;

/// How long the thread waits after a change: all changes within this time cause one new lookup for
/// each flow.
const PAUSE: Duration = Duration::from_millis(10);

/// Maximum number of netlink datagrams that are read between two pauses.
const BATCH: usize = 10_000;

/// A thread that receives the kernel's notifications about links, neighbours and routes. It ends
/// soon after this value is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    _wanted: Arc<()>,
}

impl Watch {
    /// Starts the thread. After each relevant change, the thread invalidates in `maps` the next
    /// hops that the XDP program has stored, so that the program looks them up again. Between
    /// changes, the thread calls `resolver` at intervals.
    pub(super) fn start(maps: &Arc<Mutex<Maps>>, resolver: &Arc<Resolver>) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            Error::kernel("cannot subscribe to changes of routes and neighbours")(error)
        };
        let wanted = Arc::new(());
        let listener = Listener {
            // The socket subscribes before the links and neighbours are listed, so that no change
            // is missed.
            socket: subscribe().map_err(failed)?,
            topology: list().map_err(failed)?,
            wanted: Arc::downgrade(&wanted),
            maps: Arc::downgrade(maps),
            resolver: Arc::clone(resolver),
        };
        thread::Builder::new()
            .name("lb-neighbours".to_owned())
            .spawn(move || listener.listen())
            .map_err(failed)?;
        Ok(Self { _wanted: wanted })
    }
}

fn subscribe() -> io::Result<Socket> {
    let groups = [
        GROUP_LINK,
        GROUP_NEIGHBOUR,
        GROUP_IPV4_ROUTE,
        GROUP_IPV4_RULE,
    ];
    let socket = netlink::subscribe(&groups)?;
    let patience = TimeVal::milliseconds(PATIENCE_MS);
    setsockopt(&socket, ReceiveTimeout, &patience)?;
    Ok(socket)
}

/// Reads the kernel's lists of links and neighbours.
fn list() -> io::Result<Topology> {
    let mut kernel = Rtnetlink::open()?;
    let mut neighbours = NeighbourMessage::default();
    neighbours.header.family = AddressFamily::Inet;
    let mut listed = kernel.list(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    listed.extend(kernel.list(RouteNetlinkMessage::GetNeighbour(neighbours))?);
    Ok(Topology::from_dump(&listed))
}

/// The state of the thread that receives notifications about links, neighbours and routes.
struct Listener {
    socket: Socket,
    topology: Topology,
    wanted: Weak<()>,
    maps: Weak<Mutex<Maps>>,
    resolver: Arc<Resolver>,
}

impl Listener {
    fn listen(mut self) {
        while self.wanted.strong_count() > 0 {
            self.resolver.tick(|| dropped(&self.maps));
            let stale = self.receive_batch().max(self.remember_less());
            if stale == Stale::Nothing {
                continue;
            }
            if stale == Stale::Routes {
                self.resolver.routes_changed();
            }
            self.begin(stale);
            thread::sleep(PAUSE);
        }
    }

    fn begin(&self, stale: Stale) {
        let Some(maps) = self.maps.upgrade() else {
            return;
        };
        let mut maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match stale {
            Stale::Nothing => Ok(()),
            Stale::Hops => maps.begin_generation(),
            Stale::Routes => maps.begin_routes(),
        };
        if let Err(error) = begun {
            tracing::error!(%error, "cannot invalidate next hops: they may be stale");
        }
    }

    /// Waits for a message, then applies all messages that have arrived. Returns what must be
    /// looked up again.
    fn receive_batch(&mut self) -> Stale {
        let mut stale = self.receive();
        if stale.is_none() {
            return Stale::Nothing;
        }
        if let Err(error) = self.socket.set_non_blocking(true) {
            tracing::error!(%error, "cannot make the netlink socket non-blocking");
            return Stale::Routes;
        }
        let mut all = Stale::Nothing;
        for _ in 0..BATCH {
            let Some(one) = stale else { break };
            all = all.max(one);
            stale = self.receive();
        }
        if let Err(error) = self.socket.set_non_blocking(false) {
            tracing::error!(%error, "cannot make the netlink socket blocking");
        }
        all
    }

    /// Receives one datagram and applies its messages. Returns what must be looked up again; `None`
    /// if no datagram arrived in time.
    fn receive(&mut self) -> Option<Stale> {
        match self.socket.recv_from_full() {
            Ok((datagram, _from)) => {
                let heard = netlink::messages(&datagram).map(|message| match message.payload {
                    NetlinkPayload::InnerMessage(message) => self
                        .topology
                        .apply(&message, |address| self.resolver.follows(address)),
                    _ => Stale::Nothing,
                });
                Some(heard.max().unwrap_or(Stale::Nothing))
            }
            Err(error) if is_quiet(&error) => None,
            // Any other error means that messages were lost: anything may have changed.
            Err(_lost) => {
                self.list_again();
                Some(Stale::Routes)
            }
        }
    }

    fn remember_less(&mut self) -> Stale {
        if !self.topology.is_full() {
            return Stale::Nothing;
        }
        self.list_again();
        Stale::Hops
    }

    fn list_again(&mut self) {
        match list() {
            Ok(topology) => self.topology = topology,
            Err(error) => tracing::error!(%error, "cannot list links and neighbours"),
        }
    }
}

/// Returns the number of packets that were dropped with the reason `no_neighbour`; `None` if it
/// cannot be read.
fn dropped(maps: &Weak<Mutex<Maps>>) -> Option<u64> {
    let maps = maps.upgrade()?;
    let maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
    maps.counted(Verdict::Drop(DropReason::NoNeighbour).counter())
        .ok()
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
