//! What the pair knows and did, for whoever asks: the status and the metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Instant, SystemTime},
};

use lb_ha::{
    Time,
    pair::View,
    vrrp::{Cause, State},
};
use tokio::sync::watch;

use crate::{
    aws,
    dataplane::flows::Flows,
    ha::{
        address::AddressesView,
        notify::{self, Notifier},
        socket::{self, Adverts},
        track,
    },
    peer::{self, Link, PeerInfo},
};

/// What the pair knows and did.
#[derive(Debug)]
pub(in crate::agent) struct Notes {
    adverts: Adverts,
    link: Option<Arc<Link>>,
    addresses: Option<watch::Receiver<AddressesView>>,
    notifier: notify::Watch,
    tracked: track::Watch,
    flows: OnceLock<Flows>,
    inner: Mutex<Inner>,
}

/// What the thread of the pair writes.
#[derive(Debug, Default)]
struct Inner {
    latest: Option<Latest>,
    transitions: BTreeMap<(State, Cause), u64>,
    link_since: Option<SystemTime>,
    /// The other agent, the last time that the link stood.
    peer: Option<PeerInfo>,
    owner: Option<aws::Owner>,
    ec2: Option<aws::View>,
    has_flows: bool,
}

/// How the host was at one moment of its own clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct Latest {
    /// How it was.
    pub(in crate::agent) view: View,
    now: Time,
    at: Instant,
}

impl Latest {
    /// When that was, by the clock on the wall.
    pub(in crate::agent) fn when(&self, moment: Time) -> SystemTime {
        let ago = self.at.elapsed() + self.now.since(moment);
        SystemTime::now()
            .checked_sub(ago)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Everything that is known at one moment.
pub(in crate::agent) struct Known {
    pub(in crate::agent) latest: Latest,
    pub(in crate::agent) transitions: BTreeMap<(State, Cause), u64>,
    pub(in crate::agent) adverts: socket::Counters,
    pub(in crate::agent) link: Option<peer::View>,
    pub(in crate::agent) link_since: Option<SystemTime>,
    pub(in crate::agent) peer: Option<PeerInfo>,
    pub(in crate::agent) owner: Option<aws::Owner>,
    pub(in crate::agent) ec2: Option<aws::View>,
    pub(in crate::agent) addresses: Option<AddressesView>,
    pub(in crate::agent) notified: notify::Counters,
    pub(in crate::agent) tracked: Vec<track::Tracked>,
    pub(in crate::agent) flows: Option<Flows>,
    pub(in crate::agent) has_flows: bool,
}

impl Notes {
    pub(super) fn new(
        adverts: Adverts,
        link: Option<Arc<Link>>,
        addresses: Option<watch::Receiver<AddressesView>>,
        notifier: notify::Watch,
        tracked: track::Watch,
    ) -> Self {
        let inner = Inner {
            link_since: Some(SystemTime::now()),
            ..Inner::default()
        };
        Self {
            adverts,
            link,
            addresses,
            notifier,
            tracked,
            flows: OnceLock::new(),
            inner: Mutex::new(inner),
        }
    }

    /// How the host is at this moment.
    pub(super) fn note(&self, view: View, now: Time, has_flows: bool) {
        let mut inner = self.inner();
        inner.has_flows = has_flows;
        inner.latest = Some(Latest {
            view,
            now,
            at: Instant::now(),
        });
    }

    pub(super) fn note_ec2(&self, view: aws::View) {
        self.inner().ec2 = Some(view);
    }

    pub(super) fn became(&self, state: State, cause: Cause) {
        *self.inner().transitions.entry((state, cause)).or_default() += 1;
    }

    pub(super) fn seen(&self, owner: &aws::Owner) {
        self.inner().owner = Some(owner.clone());
    }

    pub(super) fn linked(&self, peer: Option<PeerInfo>) {
        let mut inner = self.inner();
        inner.link_since = Some(SystemTime::now());
        if peer.is_some() {
            inner.peer = peer;
        }
    }

    pub(super) fn carries(&self, flows: Flows) {
        // Once, at the beginning.
        let _twice = self.flows.set(flows);
    }

    /// Everything that is known now. `None` before the pair has begun.
    pub(in crate::agent) fn known(&self) -> Option<Known> {
        let inner = self.inner();
        Some(Known {
            latest: inner.latest?,
            transitions: inner.transitions.clone(),
            adverts: self.adverts.counters(),
            link: self.link.as_ref().map(|link| link.view()),
            link_since: inner.link_since,
            peer: inner.peer.clone(),
            owner: inner.owner.clone(),
            ec2: inner.ec2.clone(),
            addresses: self.addresses.as_ref().map(|view| view.borrow().clone()),
            notified: self.notifier.counters(),
            tracked: self.tracked.view(),
            flows: self.flows.get().cloned(),
            has_flows: inner.has_flows,
        })
    }

    /// Whoever panicked while it held the lock had made its one assignment, or not begun it.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
