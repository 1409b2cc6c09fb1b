//! Keeps the neighbours of flows resolved.
//!
//! The XDP program can look up the kernel's neighbour table but cannot resolve an address (ARP): a
//! neighbour must be resolved before a packet needs it. For backends, health checks have this side
//! effect. This module resolves backends of pools without checks, and the next hops to clients
//! whose connections this host imports from its peer.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{layout::Layout, routes::Routes};

/// Interval of the requests: a neighbour stays valid for longer (arp(7), `gc_stale_time`: 60 s).
const INTERVAL: Duration = Duration::from_secs(15);

/// Minimum time between requests while packets are dropped.
const HASTE: Duration = Duration::from_millis(500);

/// Maximum number of remembered clients on the local network: as many as in a /20, AWS's usual
/// subnet.
const CLIENTS: usize = 4096;

/// Port of the discard service (RFC 863), which does not reply.
const DISCARD: u16 = 9;

/// The addresses whose neighbour entries (MAC addresses) are kept resolved, and the time of the last
/// request to the kernel.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    backends: BTreeSet<Ipv4Addr>,
    /// Clients on the local network whose flows came from the peer.
    clients: BTreeSet<Ipv4Addr>,
    /// Gateways as of the last reading of the routes.
    gateways: BTreeSet<Ipv4Addr>,
    asked: Option<Instant>,
    /// Whether routes have changed since the gateways were read.
    routes_changed: bool,
    /// Number of packets that had been dropped with the reason `no_neighbour` at the last request.
    dropped: u64,
}

impl Resolver {
    /// Has the kernel resolve the neighbour entries of this layout's backends, now and periodically.
    pub(super) fn follow(&self, layout: &Layout) {
        let backends = layout.services.iter().flat_map(|service| &service.backends);
        let mut inner = self.inner();
        inner.backends = backends
            .map(|backend| Ipv4Addr::from(backend.value.address))
            .collect();
        inner.ask(Urgency::Routine);
    }

    /// Remembers which of these clients are on the local network, to resolve their neighbour entries
    /// if packets to them are dropped.
    pub(super) fn add_clients(&self, clients: impl Iterator<Item = [u8; 4]>) {
        let routes = Routes::read();
        let mut inner = self.inner();
        for client in clients.map(Ipv4Addr::from) {
            if inner.clients.len() < CLIENTS && routes.lead_straight_to(client) {
                inner.clients.insert(client);
            }
        }
    }

    /// Whether the neighbour entry of this address is kept resolved: a backend's, a gateway's, or that of
    /// a local client whose flows came from the peer.
    pub(super) fn follows(&self, address: Ipv4Addr) -> bool {
        let inner = self.inner();
        [&inner.backends, &inner.gateways, &inner.clients]
            .iter()
            .any(|followed| followed.contains(&address))
    }

    /// Schedules a new reading of the gateways.
    pub(super) fn routes_changed(&self) {
        self.inner().routes_changed = true;
    }

    /// Sends requests if the interval has passed, routes have changed, or packets are dropped;
    /// `dropped` returns the number of packets dropped with the reason `no_neighbour`.
    pub(super) fn tick(&self, dropped: impl FnOnce() -> Option<u64>) {
        let mut inner = self.inner();
        let since = inner.asked.map_or(INTERVAL, |asked| asked.elapsed());
        if since < HASTE {
            return;
        }
        let dropped = dropped().unwrap_or(inner.dropped);
        if dropped != inner.dropped {
            inner.dropped = dropped;
            inner.ask(Urgency::Dropping);
        } else if since >= INTERVAL || inner.routes_changed {
            inner.ask(Urgency::Routine);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why requests are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Urgency {
    /// The interval has passed.
    Routine,
    /// Packets are being dropped.
    Dropping,
}

impl Inner {
    /// Sends an empty datagram to each address, for which the kernel resolves its next hop. Errors
    /// are ignored: health checks report unreachable backends. Clients are not contacted until a
    /// packet to one of them may have been dropped.
    fn ask(&mut self, urgency: Urgency) {
        self.asked = Some(Instant::now());
        self.routes_changed = false;
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
            return;
        };
        self.gateways = Routes::read().gateways().collect();
        let clients = self.clients.iter().copied();
        let wanted = clients.filter(|_| urgency == Urgency::Dropping);
        let backends = self.backends.iter().copied();
        let gateways = self.gateways.iter().copied();
        for address in backends.chain(gateways).chain(wanted) {
            let _sent: std::io::Result<usize> = socket.send_to(&[], (address, DISCARD));
        }
    }
}
