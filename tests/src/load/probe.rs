//! A probe: a new connection at a steady rhythm, whatever became of the ones before.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;

use super::{Answer, Load, Plan, Report, Reuse, attempt};
use crate::{Host, Lab, wait};

/// Asks on a new connection again and again. A connection that gets no answer does not hold up the
/// next one, so that the first answer after an outage is found within one interval.
#[derive(Debug)]
pub struct Probe(Load);

impl Probe {
    /// From one connection to the next.
    pub const INTERVAL: Duration = Duration::from_millis(10);

    /// After this long a silence a connection is given up: the first retransmission, after a
    /// second, is never waited for.
    pub const PATIENCE: Duration = Duration::from_millis(200);

    /// Starts asking from a host for what a plan says, at [`Self::INTERVAL`] and with
    /// [`Self::PATIENCE`].
    #[must_use]
    pub fn start(plan: Plan, from: &Host) -> Self {
        let plan = Plan {
            patience: Self::PATIENCE,
            // The next host need not know of the last one's sessions.
            tls: plan.tls.map(|config| {
                let mut config = (*config).clone();
                config.resumption = Resumption::disabled();
                Arc::new(config)
            }),
            ..plan
        };
        Self::steady(plan, Self::INTERVAL, from)
    }

    /// Starts asking from a host, at another interval and as patiently as the plan says.
    #[must_use]
    pub fn steady(plan: Plan, interval: Duration, from: &Host) -> Self {
        let plan = Arc::new(Plan {
            reuse: Reuse::Never,
            ..plan
        });
        Self(Load::start(from, plan.requests, move |shared| {
            let mut on_their_way: Vec<JoinHandle<()>> = Vec::new();
            let mut next = Instant::now();
            while shared.another() {
                let (plan, shared) = (Arc::clone(&plan), Arc::clone(shared));
                // A thread inherits the network that its parent has entered.
                let connection = thread::Builder::new()
                    .spawn(move || attempt(&plan, &mut None, &shared))
                    .context("could not start a connection's thread")?;
                on_their_way.retain(|earlier| !earlier.is_finished());
                on_their_way.push(connection);
                next += interval;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            let joined = on_their_way.into_iter().map(JoinHandle::join);
            ensure!(
                joined.into_iter().all(|end| end.is_ok()),
                "a connection's thread panicked"
            );
            Ok(())
        }))
    }

    /// Waits for the first answer to a connection that was begun at `since` or later.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub fn first_answer(&self, since: Instant, limit: Duration) -> Result<Answer> {
        wait::until("an answer to the probe", limit, || {
            Ok(self.answer_since(since))
        })
    }

    /// The first answer after something was lost: whoever was answered before anybody was not, was
    /// so by what was about to be lost.
    #[must_use]
    pub fn recovery(&self, lost: Instant) -> Option<Answer> {
        self.answer_since(self.first_failure(lost)?)
    }

    /// The first answer so far to a connection that was begun at `since` or later.
    fn answer_since(&self, since: Instant) -> Option<Answer> {
        self.0.shared.with_report(|report| {
            let later = report.answers.iter().rev();
            let begun = later
                .take_while(|answer| answer.ended >= since)
                .filter(|answer| answer.began >= since);
            begun.min_by_key(|answer| answer.ended).cloned()
        })
    }

    /// When the earliest connection was begun, at `since` or later, that has failed by now.
    fn first_failure(&self, since: Instant) -> Option<Instant> {
        self.0.shared.with_report(|report| {
            let later = report.failures.iter().rev();
            let begun = later
                .take_while(|failure| failure.ended >= since)
                .map(|failure| failure.began);
            begun.filter(|began| *began >= since).min()
        })
    }

    /// What is being sent.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.0
    }

    /// Stops, and returns what came of every connection.
    ///
    /// # Errors
    /// When the host could not be entered.
    pub fn stop(self) -> Result<Report> {
        self.0.stop()
    }
}

/// A span in which nobody answered, and what those saw who asked.
#[derive(Clone, Debug)]
pub struct Outage {
    /// From just before something was lost to the first answer on a connection that was begun after
    /// the first one that failed.
    pub lasted: Duration,
    /// What was asked from then on.
    pub report: Report,
}

/// Asks for HTTPS through the Elastic IP, loses something, and waits until somebody answers again.
///
/// # Errors
/// When nobody answers beforehand, or within `limit` afterwards; and when `lose` fails.
pub fn outage(lab: &Lab, limit: Duration, lose: impl FnOnce() -> Result<()>) -> Result<Outage> {
    let probe = Probe::start(Plan::https(lab)?, &lab.client);
    probe
        .first_answer(Instant::now(), limit)
        .context("before anything was lost")?;
    thread::sleep(CALM);
    let lost = Instant::now();
    lose()?;
    let what = "an answer after the loss";
    let answer = wait::until(what, limit, || Ok(probe.recovery(lost)))?;
    Ok(Outage {
        lasted: answer.ended.duration_since(lost),
        report: probe.stop()?.since(lost),
    })
}

/// How long all is well before something is lost.
const CALM: Duration = Duration::from_millis(300);
