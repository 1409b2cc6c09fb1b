//! Runs one script of `[[ha.track]]` at its interval.

use std::time::Duration;

use lb_ha::streak::Streak;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Look, Report, Reports, What};
use crate::command::Running;
use crate::config::TrackScript;

/// Runs the script at its interval until the receiver of reports is dropped. Runs do not overlap: a
/// run that is due while another one is in progress is skipped.
pub(super) async fn run(what: What, script: TrackScript, well: Option<bool>, reports: Reports) {
    let mut ticks = interval_at(Instant::now(), script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut streak = Streak::new(script.rise, script.fall, well.unwrap_or(false));
    loop {
        ticks.tick().await;
        let mut report = |look: Look, message: String| {
            streak.step(look == Look::Succeeded);
            let report = Report {
                what: what.clone(),
                well: streak.is_healthy(),
                look,
                message,
            };
            reports.send(report).is_ok()
        };
        let wanted = match Running::start(&script.command) {
            Ok(running) => one_run(running, script.timeout, &mut report).await,
            Err(message) => report(Look::Failed, message),
        };
        if !wanted {
            return;
        }
    }
}

/// Runs the script once, until it ends or is killed. Returns whether the receiver of reports still
/// exists.
async fn one_run(
    mut running: Running,
    limit: Duration,
    report: &mut impl FnMut(Look, String) -> bool,
) -> bool {
    match timeout(limit, running.end()).await {
        // Background processes that the script left are killed: otherwise every run would leave
        // more.
        Ok(ended) if ended.success => report(Look::Succeeded, ended.message),
        Ok(ended) => report(Look::Failed, ended.message),
        Err(_elapsed) => {
            let mut message = format!("did not end within {}", humantime::format_duration(limit));
            if let Some(line) = running.last_line() {
                message = format!("{message}: {line}");
            }
            let wanted = report(Look::TimedOut, message);
            running.kill();
            // Wait for the end of the killed script: a script that hangs in a system call cannot be
            // killed, and a second run would hang there, too.
            running.end().await;
            wanted
        }
    }
}
