//! What this host has heard from its peer.

use std::{net::IpAddr, time::Duration};

use super::message::Heartbeat;
use crate::{Time, vrrp::State};

/// What is known of the peer from its messages.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether the link to the peer is up.
    pub(super) linked: bool,
    /// When the peer's last heartbeat arrived, and the heartbeat; `None` before the first.
    beat: Option<(Time, Heartbeat)>,
    /// When the peer's last advert arrived that was not a goodbye: the peer was master then.
    advert: Option<Time>,
    /// When the peer's last message arrived, whether by advert or over the link between the two
    /// agents; `None` before the first.
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

    /// Records a heartbeat of the peer. Returns whether the peer has moved the Elastic IP to itself
    /// since its previous heartbeat.
    pub(super) fn beats(&mut self, now: Time, beat: Heartbeat) -> bool {
        self.heard = Some(now);
        let before = self.beat.replace((now, beat));
        before.is_none_or(|(_, before)| before.moves != beat.moves)
    }

    pub(super) fn link_down(&mut self) {
        self.linked = false;
        self.beat = None;
    }

    /// Returns when the peer was last heard, by advert or over the link between the two agents;
    /// `None` if it never was.
    pub(super) fn heard(&self) -> Option<Time> {
        self.heard
    }

    /// Whether the peer was heard no longer than `span` ago.
    pub(super) fn is_heard(&self, now: Time, span: Duration) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) <= span)
    }

    /// Returns the peer's last heartbeat; `None` if the link to the peer is down or the heartbeat
    /// is older than `span`.
    pub(super) fn beat(&self, now: Time, span: Duration) -> Option<Heartbeat> {
        let (at, beat) = self.beat?;
        (self.linked && now.since(at) <= span).then_some(beat)
    }

    /// Whether a message of the peer, no older than `span`, says that the peer is master.
    pub(super) fn is_master(&self, now: Time, span: Duration) -> bool {
        let by_link = self.beat(now, span).map(|beat| beat.state == State::Master);
        let by_advert = self.advert.is_some_and(|advert| now.since(advert) <= span);
        // Heartbeats take precedence over adverts: only a heartbeat also says that the peer is no
        // longer master.
        by_link.unwrap_or(by_advert)
    }

    /// Whether both hosts have heard each other over the link between their agents no longer than
    /// `span` ago.
    pub(super) fn both_hear(&self, now: Time, span: Duration) -> bool {
        self.beat(now, span).is_some_and(|beat| beat.hears_you)
    }
}
