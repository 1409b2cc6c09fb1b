//! The state of the pair thread as it is published for status and metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use lb_ha::{
    Time,
    pair::View,
    vrrp::{Cause, State},
};

use crate::{
    aws,
    dataplane::flows::Flows,
    ha::{address::AddressesView, adverts, notify::NotifyView, track::Tracked},
    peer::{self, PeerInfo},
};

/// The snapshot that was taken when the pair thread had last handled an event. It is at most one
/// advert interval or one second old.
#[derive(Debug, Default)]
pub(in crate::agent) struct PairSnapshots(Mutex<Option<PairSnapshot>>);

/// The state of the pair at one moment, as this host sees it.
#[derive(Clone, Debug)]
pub(in crate::agent) struct PairSnapshot {
    pub(in crate::agent) view: View,
    pub(in crate::agent) clock: Clock,
    /// Number of times that this host entered each state, by cause.
    pub(in crate::agent) transitions: BTreeMap<(State, Cause), u64>,
    pub(in crate::agent) adverts: adverts::Counters,
    pub(in crate::agent) link: Option<LinkSnapshot>,
    pub(in crate::agent) ec2: Option<Ec2Snapshot>,
    pub(in crate::agent) addresses: Option<AddressesView>,
    pub(in crate::agent) notified: NotifyView,
    pub(in crate::agent) tracked: Vec<Tracked>,
    /// The handle of the connection table, and whether this host is synced: the link is up and this
    /// host has all flows of the peer. `None` if flows are not shared.
    pub(in crate::agent) flows: Option<(Flows, bool)>,
}

/// The state of the link to the peer.
#[derive(Clone, Debug)]
pub(in crate::agent) struct LinkSnapshot {
    pub(in crate::agent) view: peer::View,
    /// When the link to the peer last came up or went down.
    pub(in crate::agent) since: SystemTime,
    /// The peer of the present or the last session of the link; `None` if there was no session.
    pub(in crate::agent) peer: Option<PeerInfo>,
}

/// The state of the Elastic IP and of the calls that move it.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Ec2Snapshot {
    pub(in crate::agent) view: aws::View,
    /// The owner of the Elastic IP in the last answer of the EC2 API; `None` if there was no
    /// answer.
    pub(in crate::agent) owner: Option<aws::Owner>,
    /// Whether the last call to the EC2 API failed.
    pub(in crate::agent) failing: bool,
}

/// Converts moments of the pair state machine's clock to wall-clock time.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct Clock {
    now: Time,
    at: Instant,
}

impl Clock {
    pub(in crate::agent) fn at(now: Time) -> Self {
        Self {
            now,
            at: Instant::now(),
        }
    }

    /// Returns the wall-clock time of a moment of the pair state machine's clock.
    pub(in crate::agent) fn when(&self, moment: Time) -> SystemTime {
        let ago = self.at.elapsed() + self.now.since(moment);
        let now = SystemTime::now();
        now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Returns the number of seconds since a moment of the pair state machine's clock.
    pub(in crate::agent) fn seconds_ago(&self, moment: Time) -> f64 {
        (self.at.elapsed() + self.now.since(moment)).as_secs_f64()
    }
}

impl PairSnapshots {
    pub(super) fn publish(&self, snapshot: PairSnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// Returns the last snapshot; `None` before the pair thread has published one.
    pub(in crate::agent) fn latest(&self) -> Option<PairSnapshot> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}
