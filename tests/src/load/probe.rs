//! A probe: new connections at a constant rate, whether or not earlier connections were answered.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;

use super::{Answer, Load, Plan, Report, Reuse, attempt};
use crate::{Host, Lab, wait};

/// Repeatedly sends a request on a new connection. A connection without a response does not delay
/// the next one, so the first response after an outage is detected within one interval.
#[derive(Debug)]
pub struct Probe(Load);

impl Probe {
    /// Interval between the probe's connections.
    pub const INTERVAL: Duration = Duration::from_millis(10);

    /// Time-out of a connection: shorter than the pause before a SYN's first retransmission, a
    /// second.
    pub const PATIENCE: Duration = Duration::from_millis(200);

    /// Starts probing from a host with the requests that `plan` describes, but at
    /// [`Self::INTERVAL`] and with [`Self::PATIENCE`].
    #[must_use]
    pub fn start(plan: Plan, from: &Host) -> Self {
        let plan = Plan {
            patience: Self::PATIENCE,
            // TLS sessions are not resumed: the host that takes over may not know those of the lost
            // host.
            tls: plan.tls.map(|config| {
                let mut config = (*config).clone();
                config.resumption = Resumption::disabled();
                Arc::new(config)
            }),
            ..plan
        };
        Self::steady(plan, Self::INTERVAL, from)
    }

    /// Starts probing from a host at the interval `interval`, with the requests and the time-out
    /// that `plan` gives.
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
                // A thread inherits the network namespace that its parent thread has entered.
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

    /// Waits for the first response to a connection that was opened at `since` or later.
    ///
    /// # Errors
    /// When there is no such response within `limit`.
    pub fn first_answer(&self, since: Instant, limit: Duration) -> Result<Answer> {
        wait::until("an answer to the probe", limit, || {
            Ok(self.answer_since(since))
        })
    }

    /// Returns the first response after a host was lost at the time `lost`. Connections that were
    /// answered before the first failure were still served by that host, so they are skipped.
    #[must_use]
    pub fn recovery(&self, lost: Instant) -> Option<Answer> {
        self.answer_since(self.first_failure(lost)?)
    }

    /// Returns the first response so far to a connection that was opened at `since` or later;
    /// `None` if there is none.
    fn answer_since(&self, since: Instant) -> Option<Answer> {
        self.0.shared.with_report(|report| {
            let later = report.answers.iter().rev();
            let begun = later
                .take_while(|answer| answer.ended >= since)
                .filter(|answer| answer.began >= since);
            begun.min_by_key(|answer| answer.ended).cloned()
        })
    }

    /// Returns when the first failed connection was opened, of those opened at `since` or later;
    /// `None` if none failed.
    fn first_failure(&self, since: Instant) -> Option<Instant> {
        self.0.shared.with_report(|report| {
            let later = report.failures.iter().rev();
            let begun = later
                .take_while(|failure| failure.ended >= since)
                .map(|failure| failure.began);
            begun.filter(|began| *began >= since).min()
        })
    }

    /// Returns the probe's connections as a load, whose results can be observed.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.0
    }

    /// Stops probing, and returns the results of all connections.
    ///
    /// # Errors
    /// When the host could not be entered.
    pub fn stop(self) -> Result<Report> {
        self.0.stop()
    }
}

/// An outage after the loss of a host: how long it lasted, and what happened to connections during
/// it.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Time from just before the loss of the host to the first response on a connection that was
    /// opened after the first connection that failed.
    pub lasted: Duration,
    /// Results of the requests since the loss of the host that caused the outage.
    pub report: Report,
}

/// Probes HTTPS through the Elastic IP, causes the loss of a host or its agent by `lose`, and waits
/// until service resumes.
///
/// # Errors
/// When there is no service before the loss, or none within `limit` afterwards; or `lose` fails.
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

/// Time for which the probe runs before the loss of a host is caused.
const CALM: Duration = Duration::from_millis(300);
