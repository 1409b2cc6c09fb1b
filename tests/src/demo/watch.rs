//! HTTP requests that the kernel forwards and HTTPS requests that the agent serves, both sent
//! continuously, with a live table of their results.

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

/// Interval between two rows of the table of results that the demo prints while it sends requests.
const ROW: Duration = Duration::from_millis(500);

/// Interval at which a condition is polled: long enough to leave the agent time for its work.
const GLANCE: Duration = Duration::from_millis(25);

/// Interval between new HTTP connections, which the kernel forwards: 200 a second, whether or not
/// earlier connections were answered.
const INTERVAL: Duration = Duration::from_millis(5);

/// Time-out of a client's connection: three retransmissions of its SYN, after 1, 3 and 7 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// The requests that the demo sends continuously, HTTP forwarded by the kernel and HTTPS served by
/// the agent, and the table of their results.
pub(crate) struct Watch<'a> {
    screen: Screen,
    began: Instant,
    agent: &'a Agent,
    http: Probe,
    http_seen: Seen,
    /// Number of SYN segments that the kernel had retried at another backend before the first
    /// request.
    /// The next field is that number at the last row of the printed table of results.
    retried_before: f64,
    retried: f64,
    https: Load,
    https_seen: Seen,
}

/// Results of the HTTP requests and of the HTTPS requests.
pub(crate) struct Outcome {
    pub(crate) http: Report,
    pub(crate) https: Report,
    /// Number of SYN segments that the kernel retried at another backend while requests were sent,
    /// because the first backend refused or did not answer.
    pub(crate) retried: u64,
}

impl<'a> Watch<'a> {
    /// Starts to send requests, and prints the header of the table of their results. Each HTTP
    /// connection carries one request; HTTPS connections are kept open.
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

    /// Prints a row of the table of results every half second, for the duration `for_`.
    pub(crate) fn look_on(&mut self, for_: Duration) {
        self.look_on_until(for_, || Ok(false)).unwrap_or_default();
    }

    /// Prints rows of the table of results until a condition holds, or the time is over.
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

    /// Prints a remark between the rows of the table of results.
    pub(crate) fn remark(&mut self, what: &str) {
        let what = self.screen.tinted(Tone::Notice, &format!("<- {what}"));
        self.print_row(&what);
    }

    /// Stops sending requests, and returns their results.
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
        // If the agent does not answer, the count of retried segments stays as it was at the last
        // row of the table of results.
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

/// Returns the number of SYN segments that the kernel has retried at another backend.
fn retried(agent: &Agent) -> Result<f64> {
    let metrics = agent.metrics()?;
    Ok(metrics.sum("lb_xdp_packets_total", &[("reason", "retried")]))
}

/// Formats the number of requests answered by each web server.
fn shares(report: &Report) -> String {
    let shares = report.shares();
    let counts = WEBS.iter().map(|(name, _)| shares.get(name).unwrap_or(&0));
    counts.map(|count| format!("{count:>6}")).collect()
}

/// Formats the number of failed requests.
fn failed(screen: Screen, report: &Report) -> String {
    let failed = format!("{:>8}", report.failures.len());
    if report.failures.is_empty() {
        failed
    } else {
        screen.tinted(Tone::Bad, &failed)
    }
}
