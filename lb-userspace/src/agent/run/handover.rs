//! The hand-over of the active role to the peer: new connections are put on hold, requests in
//! flight end, and the operator who ordered the hand-over gets the outcome.

use std::time::{Duration, Instant};

use lb_ha::pair::{Reason, Refusal};
use tokio::{
    sync::oneshot,
    time::{Interval, MissedTickBehavior},
};

use super::{Agent, Signals};
use crate::{
    agent::{kernel::Kernel, pair::PairCommand},
    proxy::Proxy,
};

/// Interval at which open connections are counted during a hand-over of the active role to the
/// peer.
const LOOK: Duration = Duration::from_millis(10);
/// Shortest time that connections have to end in a hand-over of the active role to the peer.
/// Connections that the kernel steers are not counted: this gives short ones of them the time to
/// end.
const LEAST: Duration = Duration::from_millis(250);
/// Number of counts in a row that must find no open connection: a connection may be accepted
/// between two counts.
const QUIET_LOOKS: u32 = 3;

/// Sends the outcome of a hand-over of the active role to the operator who ordered it, as a
/// sentence.
pub(in crate::agent) type Answer = oneshot::Sender<Result<String, String>>;

/// The state of the hand-over of the active role that is in progress on this host, if any.
#[derive(Debug)]
pub(in crate::agent) struct Handover {
    /// The operator's command that waits for the outcome; `None` if no operator ordered a
    /// hand-over.
    waiting: Option<Answer>,
    /// Whether the agent is stopping, so that it hands the active role over before it exits.
    leaving: bool,
    /// Whether the active role was handed over because the agent is stopping: if so, new
    /// connections stay on hold.
    completed: bool,
    /// The hold on new connections; `None` while they are not on hold.
    holding: Option<Holding>,
    look: Interval,
}

/// A hold on new connections, during which the requests in flight end.
#[derive(Debug)]
struct Holding {
    since: Instant,
    quiet_looks: u32,
    reported: bool,
}

impl Handover {
    /// Returns the state of a host that is not handing the active role over to its peer. Must be
    /// called within a tokio runtime.
    pub(in crate::agent) fn none() -> Self {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            waiting: None,
            leaving: false,
            completed: false,
            holding: None,
            look,
        }
    }

    /// Returns whether new connections are on hold.
    pub(super) fn is_holding(&self) -> bool {
        self.holding.is_some()
    }

    /// Waits until the next count of open connections is due; waits forever if new connections are
    /// not on hold.
    pub(super) async fn tick(&mut self) {
        if self.holding.is_none() {
            return std::future::pending().await;
        }
        self.look.tick().await;
    }

    /// Returns why a hand-over of the active role that an operator orders now must be refused;
    /// `None` if it need not be.
    fn refusal(&self) -> Option<&'static str> {
        if self.leaving {
            return Some("the agent is stopping, and hands over before it ends");
        }
        self.waiting
            .is_some()
            .then_some("a hand-over is in progress")
    }

    /// Begins or ends the hold on new connections. Returns whether the state has changed by that.
    fn hold(&mut self, hold: bool, now: Instant) -> bool {
        let changes = hold != self.is_holding();
        if changes {
            self.holding = hold.then_some(Holding {
                since: now,
                quiet_looks: 0,
                reported: false,
            });
        }
        changes
    }

    /// Records the number of open connections that was counted. Returns true once, at the count
    /// after which no request is considered in flight.
    fn has_become_quiet(&mut self, open: u64, now: Instant) -> bool {
        let Some(holding) = &mut self.holding else {
            return false;
        };
        holding.quiet_looks = if open == 0 {
            holding.quiet_looks + 1
        } else {
            0
        };
        let held_for = now.saturating_duration_since(holding.since);
        let quiet = holding.quiet_looks >= QUIET_LOOKS && held_for >= LEAST;
        let is_news = quiet && !holding.reported;
        holding.reported |= quiet;
        is_news
    }
}

impl<K: Kernel> Agent<K> {
    /// Starts a hand-over of the active role to the peer on the operator's command. The outcome, or
    /// why it is refused, is sent to `answer`.
    pub(super) fn failover(&mut self, answer: Answer) {
        let refusal = match &self.pair {
            None => Some("this host has no [ha]: there is no peer to hand over to"),
            Some(_) => self.handover.refusal(),
        };
        match (refusal, &self.pair) {
            (None, Some(pair)) => {
                tracing::info!(
                    event = "handover_requested",
                    "hand-over requested by the operator"
                );
                pair.send(PairCommand::HandOver(Reason::Operator));
                self.handover.waiting = Some(answer);
            }
            (refusal, _) => {
                let refusal = refusal.unwrap_or_default();
                // Sending fails if the operator has disconnected.
                let _gone = answer.send(Err(refusal.to_owned()));
            }
        }
    }

    /// Counts the open connections, and notifies the pair thread when all requests have ended.
    pub(super) fn look_for_quiet(&mut self) {
        let open = self
            .shared
            .proxy()
            .as_ref()
            .map_or(0, Proxy::open_connections);
        if let Some(pair) = &self.pair
            && self.handover.has_become_quiet(open, Instant::now())
        {
            pair.send(PairCommand::Quiet);
        }
    }

    /// Hands the active role over to the peer, because the agent is stopping. Returns false if a
    /// link to the peer is configured and no peer is heard over it: then this host stays active
    /// until its requests have ended.
    pub(super) async fn hand_over(&mut self, signals: &mut Signals) -> bool {
        let Some(pair) = self.pair.as_ref().filter(|_| !self.lost_pair) else {
            return true;
        };
        self.handover.leaving = true;
        pair.send(PairCommand::HandOver(Reason::Stop));
        let mut outcome = Ok(());
        let mut ended_well = false;
        loop {
            tokio::select! {
                () = signals.stop() => {
                    tracing::warn!("second SIGTERM: skipping the hand-over");
                    break;
                }
                effect = self.effects.recv() => match effect.map(|effect| self.effect(effect)) {
                    Some(Some(ended)) => {
                        ended_well = ended.is_ok();
                        outcome = ended;
                        break;
                    }
                    Some(None) => {}
                    None => break,
                },
                () = self.handover.tick() => self.look_for_quiet(),
                Some(checked) = self.outcomes.recv() => self.checked(checked),
                Some(command) = self.commands.recv() => self.command(command),
                _ = self.watchdog.tick() => self.watchdog_tick(),
            }
        }
        // After the role was handed over, new connections stay on hold, because the peer has to
        // serve them.
        self.handover.completed = ended_well;
        let is_alone = outcome == Err(Refusal::NoPeer) && self.has_link();
        !is_alone
    }

    /// Leaves the pair, with a goodbye if this host is still active. Ends the hold on new
    /// connections unless the role was handed over.
    pub(super) async fn leave_pair(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.stop().await;
        }
        // The effects of the pair thread are no longer read, so none of them can end the hold.
        if !self.handover.completed {
            self.hold(false);
        }
    }

    /// Begins or ends a hold: during a hold the kernel drops new connections, and the HTTP front
    /// lets its connections end.
    pub(super) fn hold(&mut self, hold: bool) {
        if !self.handover.hold(hold, Instant::now()) {
            return;
        }
        if hold {
            tracing::info!("handing over: new connections on hold, waiting for requests in flight");
        } else {
            tracing::info!("new connections accepted again");
        }
        self.hold_kernel(hold);
        if let Some(proxy) = self.shared.proxy().as_ref() {
            proxy.let_connections_end(hold);
        }
    }

    pub(super) fn hold_kernel(&self, hold: bool) {
        if let Err(error) = self.shared.kernel().hold(hold) {
            tracing::error!(
                error = %error,
                hold,
                "cannot make the kernel hold new connections, or release them"
            );
        }
    }

    /// Logs the outcome of a hand-over of the active role, and sends it to the operator who ordered
    /// it.
    pub(super) fn handed_over(&mut self, outcome: Result<(), Refusal>) {
        let said = match outcome {
            Ok(()) => {
                tracing::info!(
                    event = "handover_completed",
                    "handed over: the peer is active and has the address"
                );
                Ok("handed over: the peer is active and has the address".to_owned())
            }
            Err(refusal) => {
                tracing::warn!(reason = %refusal, event = "handover_failed", "hand-over failed");
                Err(format!("not handed over: {refusal}"))
            }
        };
        if let Some(waiting) = self.handover.waiting.take() {
            let _gone = waiting.send(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_have_ended_after_three_counts_and_a_quarter_of_a_second_and_once() {
        let mut handover = Handover::none();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!handover.has_become_quiet(0, start), "nothing is on hold");
        assert!(handover.hold(true, start));
        assert!(!handover.hold(true, start), "it is already");
        for millis in [10, 20, 30] {
            assert!(!handover.has_become_quiet(0, after(millis)), "too soon");
        }
        assert!(!handover.has_become_quiet(1, after(260)), "one is open");
        assert!(!handover.has_become_quiet(0, after(270)));
        assert!(!handover.has_become_quiet(0, after(280)));
        assert!(handover.has_become_quiet(0, after(290)));
        assert!(
            !handover.has_become_quiet(0, after(300)),
            "it is reported once"
        );
    }

    #[tokio::test]
    async fn an_operator_is_refused_while_another_waits_or_the_agent_ends() {
        let mut handover = Handover::none();
        assert_eq!(handover.refusal(), None);
        handover.waiting = Some(oneshot::channel().0);
        assert_eq!(handover.refusal(), Some("a hand-over is in progress"));
        handover.leaving = true;
        let refusal = handover.refusal().expect("refused");
        assert!(refusal.starts_with("the agent is stopping"));
    }
}
