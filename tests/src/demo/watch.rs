//! Load on both paths, and a table that grows while it runs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab::{
    Lab,
    agent::Agent,
    load::{Load, Plan, Probe, Report, Reuse, Seen},
    topology::WEBS,
};

use super::screen::{Screen, Tone};

/// From one row of the table to the next.
const ROW: Duration = Duration::from_millis(500);

/// From one look at what is waited for to the next: the agent is to have time for its work too.
const GLANCE: Duration = Duration::from_millis(25);

/// From one new connection to the next on the path through the kernel: 200 a second, whatever
/// became of those before.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long a client keeps trying: three retransmissions of its SYN, after 1, 3 and 7 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Load on both paths, watched.
pub(crate) struct Watch<'a> {
    screen: Screen,
    began: Instant,
    agent: &'a Agent,
    http: Probe,
    http_seen: Seen,
    /// SYN segments that had gone to another backend at the beginning, and at the last row.
    retried_before: f64,
    retried: f64,
    https: Load,
    https_seen: Seen,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) http: Report,
    pub(crate) https: Report,
    /// SYN segments that went to another backend, of a connection that the first did not answer or
    /// refused.
    pub(crate) retried: u64,
}

impl<'a> Watch<'a> {
    /// Starts the load and prints the head of the table. Connections through the kernel carry one
    /// request each; those to the agent are kept.
    pub(crate) fn start(screen: Screen, lab: &Lab, agent: &'a Agent) -> Result<Self> {
        let http = Plan {
            patience: PATIENCE,
            ..Plan::http()
        };
        let https = Plan {
            reuse: Reuse::Always,
            connections: 8,
            pause: Duration::from_millis(10),
            patience: PATIENCE,
            ..Plan::https(lab)?
        };
        let retried = retried(agent)?;
        let watch = Self {
            screen,
            began: Instant::now(),
            agent,
            http: Probe::steady(http, INTERVAL, &lab.client),
            http_seen: Seen::default(),
            retried_before: retried,
            retried,
            https: https.start(&lab.client),
            https_seen: Seen::default(),
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
            http: self.http.stop()?,
            https: self.https.stop()?,
            retried: (retried(self.agent)? - self.retried_before) as u64,
        })
    }

    fn print_head(&self) {
        let names: String = WEBS.iter().map(|(name, _)| format!("{name:>6}")).collect();
        let head = format!(
            "{:>7} |{:^40} |{:^32} |",
            "", "http, steered in the kernel", "https, by the agent"
        );
        let names = format!(
            "{:>7} |{names}{:>8}{:>8} |{names}{:>8} |",
            "time", "retried", "failed", "failed"
        );
        self.screen.line(&self.screen.tinted(Tone::Dim, &head));
        self.screen.line(&self.screen.tinted(Tone::Dim, &names));
    }

    fn print_row(&mut self, remark: &str) {
        let time = self.began.elapsed().as_secs_f64();
        let http = self.http.load().news(&mut self.http_seen);
        let https = self.https.news(&mut self.https_seen);
        // An agent that does not answer has counted nothing new for us.
        let now = retried(self.agent).unwrap_or(self.retried);
        let retried = now - std::mem::replace(&mut self.retried, now);
        let screen = self.screen;
        screen.line(&format!(
            "{time:>5.1} s |{}{retried:>8.0}{} |{}{} | {remark}",
            shares(&http),
            failed(screen, &http),
            shares(&https),
            failed(screen, &https),
        ));
    }
}

/// SYN segments that went to another backend so far.
fn retried(agent: &Agent) -> Result<f64> {
    let metrics = agent.metrics()?;
    Ok(metrics.sum("lb_xdp_packets_total", &[("reason", "retried")]))
}

/// How many requests each web server answered, in columns.
fn shares(report: &Report) -> String {
    let shares = report.shares();
    let counts = WEBS.iter().map(|(name, _)| shares.get(name).unwrap_or(&0));
    counts.map(|count| format!("{count:>6}")).collect()
}

/// How many requests failed, in a column.
fn failed(screen: Screen, report: &Report) -> String {
    let failed = format!("{:>8}", report.failures.len());
    if report.failures.is_empty() {
        failed
    } else {
        screen.tinted(Tone::Bad, &failed)
    }
}
