//! The hand-over of the active role: requests end on the active host, then its peer takes the
//! address that moves between the hosts.
//!
//! ```text
//! active                                   standby
//! HandOver, or Ask ◄────────── Ask ──────── has a higher priority, and is ready
//!   Hold(true): no new connection
//!   requests end, or their time does
//!   resigns ──────────────── TakeOver ────► takes over, takes the address
//!                ◄──── Heartbeat: master, has the address
//!   a second later: Hold(false), unless the agent ends
//! ```

use std::time::Duration;

use super::{Action, Heartbeat, Host, PairMessage, Reason, Refusal, SYNC_LIMIT};
use crate::{
    Time,
    vrrp::{Cause, State},
};

/// Time that the peer has to take the address that moves between the hosts in a hand-over: an
/// Elastic IP takes 5 to 6 seconds on AWS.
const TAKING: Duration = Duration::from_secs(15);
/// Time for which packets may still arrive at this host after the EC2 API has confirmed the Elastic
/// IP for the peer.
const ARRIVING: Duration = Duration::from_secs(1);
/// Interval at which the standby repeats its request for the role to the active host until that
/// host answers.
const AGAIN: Duration = Duration::from_secs(1);
/// Time, in addition to the time allowed for requests to end, within which an active host must hand
/// over its role when the standby asks for it.
const ASKING: Duration = Duration::from_secs(5);

/// The state of a hand-over of the active role that is in progress, as this host sees it.
#[derive(Clone, Debug)]
pub(super) enum HandOver {
    /// Active host: no new connection begins, and requests end, at the latest at `until`.
    Ending { until: Time, reason: Reason },
    /// Host that was active: the peer is taking the address that moves between the hosts, or has
    /// `taken` it within the last second.
    Giving {
        until: Time,
        reason: Reason,
        taken: bool,
    },
    /// Standby: this host has asked the active host to hand over its role, and waits until `until`;
    /// it repeats the request at `again`.
    Asking { until: Time, again: Time },
    /// Standby: the active host did not hand over its role when asked. This host takes over by its
    /// priority.
    Refused,
}

/// Which of the two hosts may ask the other for the role of the active host.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// Whether this host has handed its role over so that the agent can exit.
    pub(super) has_left: bool,
    /// When this host begins to ask a master with a lower priority to hand over its role; `None` if
    /// it hears no such master.
    pub(super) ask_from: Option<Time>,
    /// The priority of the peer that this host handed over to on command. This host does not take
    /// over from that peer by priority, unless the peer's priority falls.
    pub(super) gave_way: Option<u8>,
    /// Since when the hosts have not heard each other over the link between their agents. If that
    /// lasts too long, this host no longer waits for that link to ask for the role.
    pub(super) apart_since: Time,
}

impl Claims {
    pub(super) fn new(now: Time) -> Self {
        Self {
            has_left: false,
            ask_from: None,
            gave_way: None,
            apart_since: now,
        }
    }
}

impl HandOver {
    pub(super) fn deadline(&self) -> Time {
        match self {
            Self::Ending { until, .. } | Self::Giving { until, .. } => *until,
            Self::Asking { until, again } => *until.min(again),
            Self::Refused => FAR,
        }
    }
}

/// A time later than any deadline.
const FAR: Time = Time::after_start(Duration::MAX);

impl Host {
    pub(super) fn hand_over(&mut self, now: Time, reason: Reason) {
        if let Err(refusal) = self.begin_hand_over(now, reason)
            && reason != Reason::Asked
        {
            self.actions.push(Action::HandedOver(Err(refusal)));
        }
    }

    fn begin_hand_over(&mut self, now: Time, reason: Reason) -> Result<(), Refusal> {
        match &mut self.handover {
            // A command of the operator, or the end of the agent, replaces a request of the peer,
            // so whoever gave the command gets the outcome.
            Some(
                HandOver::Ending { reason: before, .. } | HandOver::Giving { reason: before, .. },
            ) => {
                if *before == Reason::Asked || reason == Reason::Stop {
                    *before = reason;
                    return Ok(());
                }
                return Err(Refusal::UnderWay);
            }
            Some(HandOver::Asking { .. } | HandOver::Refused) | None => {}
        }
        if self.router.state() != State::Master {
            return Err(Refusal::NotActive);
        }
        let Some(peer) = self.peer.beat(now, self.detection()) else {
            return Err(Refusal::NoPeer);
        };
        if peer.state != State::Backup || !peer.ready {
            return Err(Refusal::PeerNotReady);
        }
        let until = now + self.settings.handover;
        self.handover = Some(HandOver::Ending { until, reason });
        self.actions.push(Action::Hold(true));
        Ok(())
    }

    pub(super) fn asked(&mut self, now: Time) {
        self.hand_over(now, Reason::Asked);
    }

    /// Handles the event that no request is in flight any more.
    pub(super) fn quiet(&mut self, now: Time) {
        if let Some(HandOver::Ending { reason, .. }) = self.handover {
            self.give(now, reason);
        }
    }

    fn give(&mut self, now: Time, reason: Reason) {
        if self.peer.beat(now, self.detection()).is_none() {
            // The hand-over fails: the peer fell silent, so no host would take over.
            self.end_hand_over(Err(Refusal::NoPeer));
            return;
        }
        let until = now + TAKING;
        self.handover = Some(HandOver::Giving {
            until,
            reason,
            taken: false,
        });
        let beat = self.peer.beat(now, self.detection());
        self.claims.gave_way = beat
            .filter(|_| reason != Reason::Asked)
            .map(|beat| beat.priority);
        // `TakeOver` is sent before the goodbye, so the peer knows that the goodbye is part of a
        // hand-over.
        self.actions.push(Action::Send(PairMessage::TakeOver));
        self.route(now, |router, out| {
            router.resign(now, Cause::HandOver, out);
        });
    }

    /// Handles the peer's message that it hands over to this host.
    pub(super) fn offered(&mut self, now: Time) {
        if self.router.state() == State::Master {
            return;
        }
        if self.router.state() == State::Backup && self.may_take(now) {
            // The peer may hand the role back to this host before it has got the address that moves
            // between the hosts.
            self.end_hand_over(Err(Refusal::NotTaken));
            self.handover = None;
            self.route(now, |router, out| router.take(now, out));
        } else {
            self.actions.push(Action::Send(PairMessage::Decline));
        }
    }

    /// Handles the peer's message that it cannot take over: this host stays active.
    pub(super) fn declined(&mut self, now: Time) {
        match self.handover {
            Some(HandOver::Giving { reason, .. }) => {
                self.end_hand_over(Err(Refusal::PeerNotReady));
                self.claims.gave_way = None;
                if reason != Reason::Stop {
                    self.route(now, |router, out| router.take(now, out));
                }
            }
            Some(HandOver::Asking { .. }) => self.handover = Some(HandOver::Refused),
            _ => {}
        }
    }

    /// Asks a master with a lower priority to hand over its role, instead of overriding that
    /// master.
    pub(super) fn consider_asking(&mut self, now: Time, beat: Heartbeat) {
        let lower = beat.priority < self.router.priority();
        if !lower || !self.would_ask(now) || self.handover.is_some() {
            return;
        }
        let delay = self.settings.vrrp.preempt_delay;
        let from = *self.claims.ask_from.get_or_insert(now + delay);
        if now < from {
            return;
        }
        let until = now + self.settings.handover + ASKING;
        let again = now + AGAIN;
        self.handover = Some(HandOver::Asking { until, again });
        self.actions.push(Action::Send(PairMessage::Ask));
    }

    /// Withdraws this host's request for the role when the link to the peer goes down: the request
    /// is sent again when the link is up again.
    pub(super) fn forget_question(&mut self) {
        if let Some(HandOver::Asking { .. }) = self.handover {
            self.handover = None;
        }
    }

    /// Whether this host would ask for the role over the link to the peer, if the peer is a master
    /// with a lower priority.
    fn would_ask(&self, now: Time) -> bool {
        self.settings.vrrp.preempt
            && self.router.state() == State::Backup
            && self.is_ready(now)
            && self.may_take(now)
            && self.claims.gave_way.is_none()
            && self.peer.both_hear(now, self.detection())
    }

    /// Whether the router must not override a master with a lower priority, because this host asks
    /// that master for the role over the link to the peer, or will when the link is up. After a
    /// start, adverts are heard before the link is up.
    pub(super) fn prefers_to_ask(&self, now: Time) -> bool {
        let in_vain = matches!(self.handover, Some(HandOver::Refused));
        let can_ask = now.since(self.claims.apart_since) < SYNC_LIMIT;
        self.settings.link && can_ask && !in_vain
    }

    pub(super) fn tick_hand_over(&mut self, now: Time) {
        if self.peer.both_hear(now, self.detection()) {
            self.claims.apart_since = now;
        }
        if !self.peer.is_master(now, self.detection()) {
            self.claims.ask_from = None;
        }
        match self.handover {
            // The peer is silent, so no host would take over: the hand-over fails.
            Some(HandOver::Ending { .. }) if self.peer.beat(now, self.detection()).is_none() => {
                self.end_hand_over(Err(Refusal::NoPeer));
            }
            Some(HandOver::Ending { until, reason }) if now >= until => self.give(now, reason),
            Some(HandOver::Giving {
                until, taken: true, ..
            }) if now >= until => self.end_hand_over(Ok(())),
            Some(HandOver::Giving {
                until,
                reason,
                taken: false,
            }) => {
                let beat = self.peer.beat(now, self.detection());
                if beat.is_some_and(|beat| beat.state == State::Master && beat.has_address) {
                    self.handover = Some(HandOver::Giving {
                        until: now + ARRIVING,
                        reason,
                        taken: true,
                    });
                } else if now >= until {
                    self.end_hand_over(Err(Refusal::NotTaken));
                }
            }
            Some(HandOver::Asking { .. } | HandOver::Refused)
                if !self.peer.is_master(now, self.detection()) =>
            {
                self.handover = None;
            }
            Some(HandOver::Asking { until, .. }) if now >= until => {
                self.handover = Some(HandOver::Refused);
            }
            Some(HandOver::Asking { until, again }) if now >= again => {
                let again = now + AGAIN;
                self.handover = Some(HandOver::Asking { until, again });
                self.actions.push(Action::Send(PairMessage::Ask));
            }
            _ => {}
        }
    }

    /// Whether this host hands its role over, or has done so, because its agent is to exit: it must
    /// not take the role again.
    pub(super) fn leaves(&self) -> bool {
        let handover = self.handover.as_ref();
        let gives = handover.is_some_and(|handover| {
            matches!(
                handover,
                HandOver::Giving {
                    reason: Reason::Stop,
                    ..
                }
            )
        });
        gives || self.claims.has_left
    }

    /// Ends the hand-over in progress if a change of this host's state makes it pointless.
    pub(super) fn role_changed_in_hand_over(&mut self, state: State, cause: Cause) {
        match (&self.handover, state) {
            (Some(HandOver::Ending { .. }), State::Backup | State::Fault)
                if cause != Cause::HandOver =>
            {
                self.end_hand_over(Err(Refusal::NotActive));
            }
            (Some(HandOver::Giving { .. }), State::Master) if cause != Cause::HandOver => {
                self.end_hand_over(Err(Refusal::NotTaken));
            }
            (Some(HandOver::Asking { .. } | HandOver::Refused), State::Master | State::Fault) => {
                self.handover = None;
            }
            _ => {}
        }
    }

    /// Ends a hand-over from this host to the peer, and reports its outcome.
    pub(super) fn end_hand_over(&mut self, outcome: Result<(), Refusal>) {
        let (Some(HandOver::Ending { reason, .. }) | Some(HandOver::Giving { reason, .. })) =
            self.handover
        else {
            return;
        };
        self.handover = None;
        // A host whose agent exits keeps new connections on hold: otherwise it would refuse them,
        // whereas during the hold their first packets are dropped, and clients retransmit them to
        // the host that has the address that moves between the hosts.
        self.claims.has_left = reason == Reason::Stop && outcome.is_ok();
        if !self.claims.has_left {
            self.actions.push(Action::Hold(false));
        }
        if reason != Reason::Asked {
            self.actions.push(Action::HandedOver(outcome));
        }
    }
}
