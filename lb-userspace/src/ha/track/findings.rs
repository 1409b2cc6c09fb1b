//! The results of checking all tracked objects.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use super::{Effect, Fact, Look, Looks, Report, Tracked, TrackingSummary, What, weigh};

/// The results of checking the tracked objects, and the channels that publish them.
#[derive(Debug)]
pub(super) struct Findings {
    tracked: Mutex<Vec<Tracked>>,
    summary: watch::Sender<TrackingSummary>,
    view: watch::Sender<Vec<Tracked>>,
}

/// The receivers of the channels that publish the results of the checks.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) summary: watch::Receiver<TrackingSummary>,
    pub(super) view: watch::Receiver<Vec<Tracked>>,
}

impl Findings {
    /// Registers the tracked objects. This must happen before their tasks report: a report about
    /// another object is dropped, and an interface is reported again only when it changes.
    pub(super) fn new(effects: &[(What, Effect)]) -> (Self, Seen) {
        let (summary, summary_seen) = watch::channel(TrackingSummary::default());
        let (view, view_seen) = watch::channel(Vec::new());
        let known = Self {
            tracked: Mutex::default(),
            summary,
            view,
        };
        let seen = Seen {
            summary: summary_seen,
            view: view_seen,
        };
        known.keep(effects, None);
        (known, seen)
    }

    pub(super) fn well(&self, what: &What) -> Option<bool> {
        let tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        tracked.iter().find(|one| one.fact.what == *what)?.fact.well
    }

    /// Replaces the set of tracked objects. An object that was not tracked before gets the health
    /// `new`: healthy (`Some(true)`), unhealthy (`Some(false)`) or unknown (`None`).
    pub(super) fn keep(&self, effects: &[(What, Effect)], new: Option<bool>) {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tracked);
        let after = effects.iter().map(|(what, effect)| {
            let known = before.iter().position(|one| one.fact.what == *what);
            match known.map(|known| before.swap_remove(known)) {
                Some(mut known) => {
                    known.fact.effect = *effect;
                    known
                }
                None => Tracked {
                    fact: Fact {
                        what: what.clone(),
                        effect: *effect,
                        well: new,
                        message: "not checked yet".to_owned(),
                    },
                    since: SystemTime::now(),
                    looks: Looks::default(),
                },
            }
        });
        *tracked = after.collect();
        self.show(&tracked);
    }

    /// Records a task's report. A report about an object that is no longer tracked is dropped.
    pub(super) fn take(&self, report: Report) {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = tracked.iter_mut().find(|one| one.fact.what == report.what) else {
            return;
        };
        match report.look {
            Look::Succeeded => known.looks.succeeded += 1,
            Look::Failed => known.looks.failed += 1,
            Look::TimedOut => {
                known.looks.failed += 1;
                known.looks.timed_out += 1;
            }
        }
        if known.fact.well != Some(report.well) {
            let Report { what, message, .. } = &report;
            match (known.fact.well, report.well) {
                (_, false) => {
                    tracing::warn!(object = %what, reason = %message, event = "tracked_failed", "a tracked object is unhealthy");
                }
                (Some(_), true) => {
                    tracing::info!(object = %what, reason = %message, event = "tracked_restored", "a tracked object recovered");
                }
                (None, true) => {}
            }
            known.fact.well = Some(report.well);
            known.since = SystemTime::now();
        }
        known.fact.message = report.message;
        self.show(&tracked);
    }

    fn show(&self, tracked: &[Tracked]) {
        self.view.send_replace(tracked.to_vec());
        let facts: Vec<_> = tracked.iter().map(|one| one.fact.clone()).collect();
        let summary = weigh(&facts);
        self.summary.send_if_modified(|shown| {
            // A summary that differs only in its sentences changes nothing for this host, so it
            // wakes nobody.
            let changed =
                shown.weight != summary.weight || shown.fault.is_some() != summary.fault.is_some();
            *shown = summary;
            changed
        });
    }
}
