//! What the pair knows and did, for whoever asks: the status and the metrics.

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

/// What the pair knew at its last step: some tenths of a second ago at the most where adverts are
/// that frequent.
#[derive(Debug, Default)]
pub(in crate::agent) struct PairSnapshots(Mutex<Option<PairSnapshot>>);

/// What is known at one moment.
#[derive(Clone, Debug)]
pub(in crate::agent) struct PairSnapshot {
    pub(in crate::agent) view: View,
    pub(in crate::agent) clock: Clock,
    /// How many times this host came into a state, and why.
    pub(in crate::agent) transitions: BTreeMap<(State, Cause), u64>,
    pub(in crate::agent) adverts: adverts::Counters,
    pub(in crate::agent) link: Option<LinkSnapshot>,
    pub(in crate::agent) ec2: Option<Ec2Snapshot>,
    pub(in crate::agent) addresses: Option<AddressesView>,
    pub(in crate::agent) notified: NotifyView,
    pub(in crate::agent) tracked: Vec<Tracked>,
    /// Where flows are shared: the flows, and whether those of the other host are all here.
    pub(in crate::agent) flows: Option<(Flows, bool)>,
}

/// The link.
#[derive(Clone, Debug)]
pub(in crate::agent) struct LinkSnapshot {
    pub(in crate::agent) view: peer::View,
    /// Since when it stands, or does not.
    pub(in crate::agent) since: SystemTime,
    /// The other agent, the last time that the link stood.
    pub(in crate::agent) peer: Option<PeerInfo>,
}

/// The Elastic IP.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Ec2Snapshot {
    pub(in crate::agent) view: aws::View,
    /// Whose it was when that was last told.
    pub(in crate::agent) owner: Option<aws::Owner>,
    /// Whether the last call failed.
    pub(in crate::agent) failing: bool,
}

/// How the pair's own clock goes with that on the wall.
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

    /// When a moment was, by the clock on the wall.
    pub(in crate::agent) fn when(&self, moment: Time) -> SystemTime {
        let ago = self.at.elapsed() + self.now.since(moment);
        let now = SystemTime::now();
        now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How many seconds ago a moment was.
    pub(in crate::agent) fn seconds_ago(&self, moment: Time) -> f64 {
        (self.at.elapsed() + self.now.since(moment)).as_secs_f64()
    }
}

impl PairSnapshots {
    pub(super) fn publish(&self, snapshot: PairSnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// What is known. `None` before the pair has begun.
    pub(in crate::agent) fn latest(&self) -> Option<PairSnapshot> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}
