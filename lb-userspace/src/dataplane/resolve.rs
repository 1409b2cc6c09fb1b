//! Keeps the neighbour entries (MAC addresses) that flows need in the kernel's table.
//!
//! The XDP program can look up the kernel's neighbour table but cannot resolve an address (ARP): a
//! neighbour must be resolved before a packet needs it. Health checks have the side effect that
//! backends are resolved. This module has the kernel resolve the backends of pools without checks,
//! and the next hops to clients whose connections this host imports from its peer.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{layout::Layout, routes::Routes};

/// Interval at which the kernel is made to resolve the addresses. A neighbour entry stays valid for
/// longer (arp(7), `gc_stale_time`: 60 s).
const INTERVAL: Duration = Duration::from_secs(15);

/// Minimum time between two rounds of requests while packets are dropped for lack of a neighbour
/// entry.
const HASTE: Duration = Duration::from_millis(500);

/// Maximum number of clients on the local network that are remembered: as many as a /20 has
/// addresses, AWS's usual subnet.
const CLIENTS: usize = 4096;

/// The UDP port of the discard service (RFC 863), which does not reply.
const DISCARD: u16 = 9;

/// The addresses whose neighbour entries (MAC addresses) are kept resolved, and when the kernel was
/// last made to resolve them.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    backends: BTreeSet<Ipv4Addr>,
    /// The clients on the local network whose flows were imported from the peer.
    clients: BTreeSet<Ipv4Addr>,
    /// The gateways that the routes had when they were last read.
    gateways: BTreeSet<Ipv4Addr>,
    asked: Option<Instant>,
    /// Whether routes have changed since the gateways were last read.
    routes_changed: bool,
    /// The counter of packets dropped with the reason `no_neighbour`, as it was at the last round
    /// of requests.
    dropped: u64,
}

impl Resolver {
    /// Has the kernel resolve the neighbour entries of the backends in `layout`, now and
    /// periodically.
    pub(super) fn follow(&self, layout: &Layout) {
        let backends = layout.services.iter().flat_map(|service| &service.backends);
        let mut inner = self.inner();
        inner.backends = backends
            .map(|backend| Ipv4Addr::from(backend.value.address))
            .collect();
        inner.ask(Urgency::Routine);
    }

    /// Remembers which of these clients are on the local network, so that their neighbour entries
    /// are resolved if packets to them are dropped.
    pub(super) fn add_clients(&self, clients: impl Iterator<Item = [u8; 4]>) {
        let routes = Routes::read();
        let mut inner = self.inner();
        for client in clients.map(Ipv4Addr::from) {
            if inner.clients.len() < CLIENTS && routes.lead_straight_to(client) {
                inner.clients.insert(client);
            }
        }
    }

    /// Returns whether the neighbour entry of this address is kept resolved: it is a backend's, a
    /// gateway's, or that of a client on the local network whose flows were imported from the peer.
    pub(super) fn follows(&self, address: Ipv4Addr) -> bool {
        let inner = self.inner();
        [&inner.backends, &inner.gateways, &inner.clients]
            .iter()
            .any(|followed| followed.contains(&address))
    }

    /// Records that routes have changed, so that the gateways are read again soon.
    pub(super) fn routes_changed(&self) {
        self.inner().routes_changed = true;
    }

    /// Has the kernel resolve the addresses if the interval has passed, routes have changed, or
    /// packets are dropped. `dropped` returns the number of packets dropped with the reason
    /// `no_neighbour`.
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

/// Why the kernel is made to resolve addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Urgency {
    /// The regular interval has passed, or routes have changed.
    Routine,
    /// Packets are being dropped because a neighbour entry is missing.
    Dropping,
}

impl Inner {
    /// Sends an empty datagram to each address, so that the kernel resolves the next hop to it.
    /// Errors are ignored: health checks report unreachable backends. Clients are not contacted
    /// until a packet to one of them may have been dropped.
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
