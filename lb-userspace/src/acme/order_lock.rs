//! The lock that decides which host of a pair may order a certificate.
//!
//! A pure state machine, part of [`Renewal`](super::Renewal). Only the active host orders. While
//! the link to the peer is up it claims the lock from the peer first, and the peer refuses while an
//! order of the peer is in flight, so that no two orders overlap, however the roles change. Without
//! that link the active host orders without asking.

use std::time::{Duration, SystemTime};

/// The longest time that an order holds the lock: the time-out of an order with the longest
/// configurable wait for DNS.
pub(super) const LONGEST_ORDER: Duration = Duration::from_secs(4000);
/// Time limit for the peer's reply to a claim of the order lock.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long an agent that has just started, or whose link to the peer came up, waits for the peer's
/// state before it may order.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);
/// How long the lock still counts as held by the peer's order after the link to the peer went down.
/// A link that was only interrupted recovers in this time; a dead host cannot say that its order
/// has ended.
const GRACE: Duration = Duration::from_secs(30);
/// How often the task of a certificate wakes up on a standby, which orders nothing.
const STANDBY_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The role of a host in ordering certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostRole {
    /// The host has no peer, and may order at any time.
    Alone,
    /// The peer is active, or neither host is: this host begins no order.
    Standby,
    /// This host of the pair is the active one, and may order.
    Active,
}

/// Whether an order that is due may begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OrderPermit {
    Begin,
    /// The order lock must be claimed from the peer before the order may begin.
    Claim,
    Wait(SystemTime),
}

/// A claim of the order lock (a request to the peer that lets this host order) that this host has
/// sent and that the peer has not answered yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Claim {
    /// The number of the claim. If both hosts claim the order lock at the same time, the claim with
    /// the higher number is granted.
    number: u64,
    answer_by: SystemTime,
}

/// What one host knows of the order lock of a certificate, which lets only one host of a pair order
/// the certificate at a time.
#[derive(Clone, Debug)]
pub struct OrderLock {
    role: HostRole,
    /// Whether the peer has said, since the link to the peer came up, whether it holds the order
    /// lock.
    linked: bool,
    /// Whether the peer did not answer a claim of the order lock in time. If so, this host orders
    /// without asking until the next message of the peer arrives.
    silent: bool,
    /// The time until which no order begins unless a message of the peer has arrived.
    hold_until: SystemTime,
    claim: Option<Claim>,
    granted: bool,
    /// When this host's order ends at the latest; `None` if this host has none in flight.
    own_until: Option<SystemTime>,
    /// When the peer's order ends at the latest; `None` if the peer has none in flight.
    peer_until: Option<SystemTime>,
}

impl OrderLock {
    /// Creates the order lock of a host whose agent has just started.
    pub(super) fn new(role: HostRole, now: SystemTime) -> Self {
        Self {
            role,
            linked: false,
            silent: false,
            hold_until: match role {
                HostRole::Alone => SystemTime::UNIX_EPOCH,
                HostRole::Standby | HostRole::Active => now + FIRST_MESSAGE,
            },
            claim: None,
            granted: false,
            own_until: None,
            peer_until: None,
        }
    }

    /// Sets this host's role in ordering certificates.
    pub fn set_role(&mut self, role: HostRole) {
        self.role = role;
        if role == HostRole::Standby {
            self.claim = None;
            self.granted = false;
        }
    }

    /// Records that the link to the peer came up. It counts as usable when the peer's state was
    /// received.
    pub fn link_up(&mut self, now: SystemTime) {
        self.hold_until = now + FIRST_MESSAGE;
    }

    /// Records that a message of the peer was received.
    pub fn peer_message_received(&mut self) {
        self.linked = true;
        self.silent = false;
    }

    /// Records that the link to the peer went down.
    pub fn link_down(&mut self, now: SystemTime) {
        self.linked = false;
        self.silent = false;
        self.claim = None;
        self.granted = false;
        self.peer_until = self.peer_until.map(|until| until.min(now + GRACE));
    }

    /// Records that this host has sent a claim of the order lock with this number to the peer.
    pub fn claimed(&mut self, number: u64, now: SystemTime) {
        self.claim = Some(Claim {
            number,
            answer_by: now + ANSWER_TIME,
        });
    }

    /// Handles the peer's reply to a claim of this host. `refused` is how long the peer's own order
    /// may still hold the lock, or `None` if the peer grants the claim. Returns false if no claim
    /// with this number is pending.
    pub fn answered(&mut self, number: u64, refused: Option<Duration>, now: SystemTime) -> bool {
        if self.claim.is_none_or(|claim| claim.number != number) {
            return false;
        }
        self.claim = None;
        match refused {
            None => self.granted = true,
            Some(wait) => self.peer_until = Some(now + wait.min(LONGEST_ORDER)),
        }
        true
    }

    /// Handles the peer's claim of the lock: grants it, or returns how long the lock may stay
    /// refused.
    ///
    /// # Errors
    /// An order of this host is in flight or about to begin. The error is the longest time that it
    /// may still take.
    pub fn peer_claims(&mut self, number: u64, now: SystemTime) -> Result<(), Duration> {
        if let Some(wait) = self.own_order(now) {
            return Err(wait);
        }
        if self.granted || self.claim.is_some_and(|claim| claim.number >= number) {
            return Err(LONGEST_ORDER);
        }
        self.claim = None;
        self.peer_until = Some(now + LONGEST_ORDER);
        Ok(())
    }

    /// Handles the peer's report of its own order: `lasts` is how long the order may still take, or
    /// `None` if the peer has none in flight.
    pub fn peer_order_reported(&mut self, lasts: Option<Duration>, now: SystemTime) {
        self.peer_until = lasts.map(|lasts| now + lasts.min(LONGEST_ORDER));
    }

    /// Returns how long this host may still hold the order lock; `None` if it neither holds nor
    /// claims the lock.
    #[must_use]
    pub fn held_for(&self, now: SystemTime) -> Option<Duration> {
        let about_to_begin = self.granted || self.claim.is_some();
        self.own_order(now)
            .or_else(|| about_to_begin.then_some(LONGEST_ORDER))
    }

    /// Returns whether an order of the peer holds the lock.
    #[must_use]
    pub fn is_with_peer(&self, now: SystemTime) -> bool {
        self.peer_until.is_some_and(|until| until > now)
    }

    /// Returns whether this host has claimed the order lock and waits for the peer's reply.
    #[must_use]
    pub fn is_claiming(&self) -> bool {
        self.claim.is_some()
    }

    /// Returns this host's role in ordering certificates.
    #[must_use]
    pub fn role(&self) -> HostRole {
        self.role
    }

    /// Returns whether this host has a peer that cannot be asked: the link between the two agents
    /// is down, or the peer does not reply.
    pub(super) fn is_cut_off(&self) -> bool {
        self.role != HostRole::Alone && (!self.linked || self.silent)
    }

    /// Returns whether an order that is due on this host may begin.
    pub(super) fn permit(&mut self, now: SystemTime) -> OrderPermit {
        self.clear_expired(now);
        match self.role {
            HostRole::Alone => return OrderPermit::Begin,
            HostRole::Standby => return OrderPermit::Wait(now + STANDBY_INTERVAL),
            HostRole::Active => {}
        }
        if self.granted {
            return OrderPermit::Begin;
        }
        if let Some(claim) = self.claim {
            return OrderPermit::Wait(claim.answer_by);
        }
        if let Some(until) = self.peer_until {
            return OrderPermit::Wait(until);
        }
        match (self.is_cut_off(), self.linked) {
            (false, _) => OrderPermit::Claim,
            (true, false) if self.hold_until > now => OrderPermit::Wait(self.hold_until),
            (true, _) => OrderPermit::Begin,
        }
    }

    /// Gives up this host's claim of the order lock, because no order is due any more.
    pub(super) fn release(&mut self) {
        self.claim = None;
        self.granted = false;
    }

    pub(super) fn began(&mut self, now: SystemTime) {
        self.claim = None;
        self.granted = false;
        self.own_until = Some(now + LONGEST_ORDER);
    }

    pub(super) fn ended(&mut self) {
        self.own_until = None;
    }

    fn own_order(&self, now: SystemTime) -> Option<Duration> {
        let left = self.own_until?.duration_since(now).unwrap_or_default();
        Some(left.min(LONGEST_ORDER))
    }

    /// Clears those limits of waiting and of orders in flight that have passed, and those that are
    /// too far in the future because the clock was set back.
    fn clear_expired(&mut self, now: SystemTime) {
        let is_ahead = |until: SystemTime, most: Duration| until > now && until <= now + most;
        self.peer_until = self
            .peer_until
            .filter(|until| is_ahead(*until, LONGEST_ORDER));
        if !is_ahead(self.hold_until, FIRST_MESSAGE) {
            self.hold_until = SystemTime::UNIX_EPOCH;
        }
        if let Some(claim) = self.claim
            && !is_ahead(claim.answer_by, ANSWER_TIME)
        {
            self.claim = None;
            self.silent = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + seconds)
    }

    fn linked() -> OrderLock {
        let mut order_lock = OrderLock::new(HostRole::Active, at(0));
        order_lock.link_up(at(0));
        order_lock.peer_message_received();
        order_lock
    }

    #[test]
    fn the_peer_is_refused_for_as_long_as_an_order_of_this_host_may_last() {
        let mut order_lock = linked();
        order_lock.began(at(0));
        assert_eq!(
            order_lock.peer_claims(u64::MAX, at(10)),
            Err(LONGEST_ORDER - 10 * SECOND)
        );
        order_lock.ended();
        assert_eq!(order_lock.peer_claims(0, at(20)), Ok(()));
        assert_eq!(
            order_lock.permit(at(20)),
            OrderPermit::Wait(at(20) + LONGEST_ORDER)
        );
        order_lock.peer_order_reported(None, at(30));
        assert_eq!(order_lock.permit(at(30)), OrderPermit::Claim);
    }

    #[test]
    fn of_two_claims_that_cross_each_other_the_higher_holds() {
        let mut lower = linked();
        let mut higher = linked();
        lower.claimed(1, at(0));
        higher.claimed(2, at(0));
        assert_eq!(lower.peer_claims(2, at(1)), Ok(()));
        assert!(higher.peer_claims(1, at(1)).is_err());
        assert!(higher.answered(2, None, at(2)));
        assert!(
            !lower.answered(1, Some(LONGEST_ORDER), at(2)),
            "it has yielded"
        );
        assert_eq!(higher.permit(at(2)), OrderPermit::Begin);
        assert!(matches!(lower.permit(at(2)), OrderPermit::Wait(_)));
    }

    #[test]
    fn a_peer_that_does_not_answer_is_not_waited_for_any_longer() {
        let mut order_lock = linked();
        order_lock.claimed(1, at(0));
        assert_eq!(
            order_lock.permit(at(1)),
            OrderPermit::Wait(at(0) + ANSWER_TIME)
        );
        assert_eq!(order_lock.permit(at(10)), OrderPermit::Begin);
        assert!(order_lock.is_cut_off());
    }

    #[test]
    fn an_order_is_not_begun_after_a_loss_of_the_role_or_the_link() {
        for lose in [
            |order_lock: &mut OrderLock| order_lock.set_role(HostRole::Standby),
            |order_lock: &mut OrderLock| order_lock.link_down(at(2)),
        ] {
            let mut order_lock = linked();
            order_lock.claimed(1, at(0));
            assert!(order_lock.answered(1, None, at(1)));
            assert_eq!(order_lock.permit(at(1)), OrderPermit::Begin);
            lose(&mut order_lock);
            order_lock.set_role(HostRole::Active);
            order_lock.link_up(at(3));
            order_lock.peer_message_received();
            assert_eq!(order_lock.permit(at(3)), OrderPermit::Claim);
        }
    }
}
