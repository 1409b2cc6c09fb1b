//! What this host knows of the other one.

use std::{net::IpAddr, time::Duration};

use super::word::Heartbeat;
use crate::{Time, vrrp::State};

/// The other host, as far as it was heard.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether the link stands.
    pub(super) linked: bool,
    /// The last heartbeat, and when it came.
    beat: Option<(Time, Heartbeat)>,
    /// When a VRRP advert last came: the other host was master then.
    advert: Option<Time>,
    /// The last sign of life by any path.
    heard: Option<Time>,
}

impl Peer {
    pub(super) fn at(address: IpAddr) -> Self {
        Self {
            address,
            linked: false,
            beat: None,
            advert: None,
            heard: None,
        }
    }

    pub(super) fn advertised(&mut self, now: Time, goodbye: bool) {
        self.heard = Some(now);
        self.advert = (!goodbye).then_some(now);
    }

    /// Takes in a heartbeat. True when the other host has moved the address since the last one.
    pub(super) fn beats(&mut self, now: Time, beat: Heartbeat) -> bool {
        self.heard = Some(now);
        let before = self.beat.replace((now, beat));
        before.is_none_or(|(_, before)| before.moves != beat.moves)
    }

    pub(super) fn link_down(&mut self) {
        self.linked = false;
        self.beat = None;
    }

    /// When it was last heard.
    pub(super) fn heard(&self) -> Option<Time> {
        self.heard
    }

    /// Whether it was heard within `span`.
    pub(super) fn is_heard(&self, now: Time, span: Duration) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) <= span)
    }

    /// The last heartbeat, when the link stands and it is no older than `span`.
    pub(super) fn beat(&self, now: Time, span: Duration) -> Option<Heartbeat> {
        let (at, beat) = self.beat?;
        (self.linked && now.since(at) <= span).then_some(beat)
    }

    /// Whether it said within `span` that it is master.
    pub(super) fn is_master(&self, now: Time, span: Duration) -> bool {
        let by_link = self.beat(now, span).map(|beat| beat.state == State::Master);
        let by_advert = self.advert.is_some_and(|advert| now.since(advert) <= span);
        // The link knows more: it also says when that is over.
        by_link.unwrap_or(by_advert)
    }

    /// Whether each of the two hears the other, by the link.
    pub(super) fn both_hear(&self, now: Time, span: Duration) -> bool {
        self.beat(now, span).is_some_and(|beat| beat.hears_you)
    }
}
