//! Keeps the next hops towards backends resolved.
//!
//! The XDP program asks the kernel's neighbour table and cannot ask the network: whoever a packet
//! must go to next has to be known before it comes. A pool's checks see to that by the way; this
//! does so for pools without checks too.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::layout::Layout;

/// How often: a neighbour stays valid for longer (arp(7), `gc_stale_time`: 60 s).
const INTERVAL: Duration = Duration::from_secs(15);

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
    asked: Option<Instant>,
}

impl Resolver {
    /// Resolves the backends of this layout from now on, and at once.
    pub(super) fn follow(&self, layout: &Layout) {
        let backends = layout.services.iter().flat_map(|service| &service.backends);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.backends = backends
            .map(|backend| Ipv4Addr::from(backend.value.address))
            .collect();
        inner.ask();
    }

    /// Asks again if it is time.
    pub(super) fn tick(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.asked.is_none_or(|asked| asked.elapsed() >= INTERVAL) {
            inner.ask();
        }
    }
}

impl Inner {
    /// Sends each backend an empty datagram, for which the kernel looks its next hop up. Nobody
    /// waits for anything: one that cannot be reached is the checks' business.
    fn ask(&mut self) {
        self.asked = Some(Instant::now());
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
            return;
        };
        for backend in &self.backends {
            let _sent: std::io::Result<usize> = socket.send_to(&[], (*backend, DISCARD));
        }
    }
}
