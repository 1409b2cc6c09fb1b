//! Keeps the next hops of flows resolved.
//!
//! The XDP program asks the kernel's neighbour table and cannot ask the network: whoever a packet
//! must go to next has to be known before it comes. A pool's checks see to that for backends by
//! the way; this does so for pools without checks too, and for the way to clients whose
//! connections this host takes over from its peer.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{layout::Layout, routes::Routes};

/// How often: a neighbour stays valid for longer (arp(7), `gc_stale_time`: 60 s).
const INTERVAL: Duration = Duration::from_secs(15);

/// How long to wait at least before asking again when packets are dropped.
const HASTE: Duration = Duration::from_millis(500);

/// Clients next door that are remembered at the most: as many as a /20 holds, AWS's usual subnet.
const CLIENTS: usize = 4096;

/// The discard service (RFC 863): what is sent there wants no answer.
const DISCARD: u16 = 9;

/// Who is to be resolved, and when that was last done.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    backends: BTreeSet<Ipv4Addr>,
    /// Clients of the peer's without a gateway in between.
    clients: BTreeSet<Ipv4Addr>,
    /// The gateways of the routes, as they were when they were last asked for.
    gateways: BTreeSet<Ipv4Addr>,
    asked: Option<Instant>,
    /// Whether routes changed since then.
    routes_changed: bool,
    /// Packets dropped for want of a neighbour by then.
    dropped: u64,
}

impl Resolver {
    /// Resolves the backends of this layout from now on, and at once.
    pub(super) fn follow(&self, layout: &Layout) {
        let backends = layout.services.iter().flat_map(|service| &service.backends);
        let mut inner = self.inner();
        inner.backends = backends
            .map(|backend| Ipv4Addr::from(backend.value.address))
            .collect();
        inner.ask(Urgency::Routine);
    }

    /// Remembers which of these clients are next door: should packets to them be dropped one day,
    /// they are asked for.
    pub(super) fn add_clients(&self, clients: impl Iterator<Item = [u8; 4]>) {
        let routes = Routes::read();
        let mut inner = self.inner();
        for client in clients.map(Ipv4Addr::from) {
            if inner.clients.len() < CLIENTS && routes.lead_straight_to(client) {
                inner.clients.insert(client);
            }
        }
    }

    /// Whether this address is one that is kept resolved: a backend, a gateway, or a client next
    /// door of the peer's.
    pub(super) fn follows(&self, address: Ipv4Addr) -> bool {
        let inner = self.inner();
        [&inner.backends, &inner.gateways, &inner.clients]
            .iter()
            .any(|followed| followed.contains(&address))
    }

    /// Has the gateways asked for soon: there may be new ones.
    pub(super) fn routes_changed(&self) {
        self.inner().routes_changed = true;
    }

    /// Asks again if it is time, if routes changed, or if packets are dropped for want of a neighbour: `dropped` is
    /// how many were so far.
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

/// Why the network is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Urgency {
    /// It is time.
    Routine,
    /// Packets are dropped.
    Dropping,
}

impl Inner {
    /// Sends each an empty datagram, for which the kernel looks its next hop up. Nobody waits for
    /// anything: one that cannot be reached is the checks' business. Clients are left in peace
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
