//! Load on both paths, and a table that grows while it runs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab::{
    Lab,
    load::{Load, Plan, Report, Reuse, Seen},
    topology::WEBS,
};

use super::screen::{Screen, Tone};

/// From one row of the table to the next.
const ROW: Duration = Duration::from_millis(500);

/// From one look at what is waited for to the next: the agent is to have time for its work too.
const GLANCE: Duration = Duration::from_millis(25);

/// Load on both paths, watched.
pub(crate) struct Watch {
    screen: Screen,
    began: Instant,
    http: Watched,
    https: Watched,
}

struct Watched {
    load: Load,
    seen: Seen,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) http: Report,
    pub(crate) https: Report,
}

impl Watch {
    /// Starts the load and prints the head of the table. `reuse` is for the connections through
    /// the kernel; those to the agent are always kept.
    pub(crate) fn start(screen: Screen, lab: &Lab, reuse: Reuse) -> Result<Self> {
        let gentle = |plan: Plan, reuse| Plan {
            reuse,
            connections: 8,
            pause: Duration::from_millis(10),
            patience: Duration::from_millis(500),
            ..plan
        };
        let https = Plan {
            patience: Duration::from_secs(5),
            ..gentle(Plan::https(lab)?, Reuse::Always)
        };
        let watched = |plan: Plan| Watched {
            load: plan.start(&lab.client),
            seen: Seen::default(),
        };
        let watch = Self {
            screen,
            began: Instant::now(),
            http: watched(gentle(Plan::http(), reuse)),
            https: watched(https),
        };
        watch.print_head();
        Ok(watch)
    }

    /// Watches for a while: a row for every half second.
    pub(crate) fn look_on(&mut self, for_: Duration) {
        self.look_on_until(for_, || Ok(false)).unwrap_or_default();
    }

    /// Watches until something holds, or the time is over.
    pub(crate) fn look_on_until(
        &mut self,
        at_most: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + at_most;
        let mut row = Instant::now() + ROW;
        while Instant::now() < deadline && !holds()? {
            thread::sleep(GLANCE);
            if Instant::now() >= row {
                self.print_row("");
                row += ROW;
            }
        }
        Ok(())
    }

    /// Says in the table what has just happened.
    pub(crate) fn remark(&mut self, what: &str) {
        let what = self.screen.tinted(Tone::Notice, &format!("<- {what}"));
        self.print_row(&what);
    }

    /// Ends the load.
    pub(crate) fn stop(self) -> Result<Outcome> {
        Ok(Outcome {
            http: self.http.load.stop()?,
            https: self.https.load.stop()?,
        })
    }

    fn print_head(&self) {
        let names: String = WEBS.iter().map(|(name, _)| format!("{name:>6}")).collect();
        let head = format!(
            "{:>7} |{:^32} |{:^32} |",
            "", "http, steered in the kernel", "https, by the agent"
        );
        let names = format!(
            "{:>7} |{names}{:>8} |{names}{:>8} |",
            "time", "failed", "failed"
        );
        self.screen.line(&self.screen.tinted(Tone::Dim, &head));
        self.screen.line(&self.screen.tinted(Tone::Dim, &names));
    }

    fn print_row(&mut self, remark: &str) {
        let time = self.began.elapsed().as_secs_f64();
        let (http, https) = (self.http.row(self.screen), self.https.row(self.screen));
        self.screen
            .line(&format!("{time:>5.1} s |{http} |{https} | {remark}"));
    }
}

impl Watched {
    fn row(&mut self, screen: Screen) -> String {
        let news = self.load.news(&mut self.seen);
        let shares = news.shares();
        let mut row: String = WEBS
            .iter()
            .map(|(name, _)| format!("{:>6}", shares.get(name).unwrap_or(&0)))
            .collect();
        let failed = format!("{:>8}", news.failures.len());
        row += &match news.failures.is_empty() {
            true => failed,
            false => screen.tinted(Tone::Bad, &failed),
        };
        row
    }
}
