//! A live table of roles, the owner of the Elastic IP, and answered requests.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab::{
    agent::{Agent, Role},
    load::Load,
    topology::BALANCERS,
};

use super::{
    paired::Paired,
    screen::{Screen, Tone},
};

/// Interval between two rows of the printed table of the hosts' roles.
const ROW: Duration = Duration::from_millis(500);

/// Interval at which a condition is polled while rows of the table of the hosts' roles are printed.
const GLANCE: Duration = Duration::from_millis(10);

/// Numbers of answered and of failed requests: all so far, or those since the last printed row.
#[derive(Clone, Copy, Default)]
struct Tally {
    answered: usize,
    failed: usize,
}

/// The live table of the hosts' roles, which is printed row by row: the requests and hosts that it
/// observes, and what it has shown so far.
pub(crate) struct Roles<'a> {
    screen: Screen,
    paired: &'a Paired,
    loads: Vec<&'a Load>,
    told: Tally,
    began: Instant,
}

impl<'a> Roles<'a> {
    /// Prints the header of the table of the hosts' roles, and returns that table.
    pub(crate) fn watch(screen: Screen, paired: &'a Paired, loads: Vec<&'a Load>) -> Self {
        let [(a, _), (b, _)] = BALANCERS else {
            unreachable!("a pair is two")
        };
        let head = format!(
            "{:>7} |{:>9}{:>8} | {a:8}{b:8}| {:11} |",
            "time", "answered", "failed", "Elastic IP"
        );
        screen.line(&screen.tinted(Tone::Dim, &head));
        Self {
            screen,
            paired,
            loads,
            told: Tally::default(),
            began: Instant::now(),
        }
    }

    /// Prints rows of the table of the hosts' roles for the duration `span`.
    pub(crate) fn look_on(&mut self, span: Duration) -> Result<()> {
        self.look_on_until(span, || Ok(None::<()>)).map(drop)
    }

    /// Prints rows of the table of the hosts' roles until a value is available, or the time
    /// `at_most` is over.
    pub(crate) fn look_on_until<T>(
        &mut self,
        at_most: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + at_most;
        let mut row = Instant::now() + ROW;
        while Instant::now() < deadline {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if Instant::now() >= row {
                self.print("");
                row += ROW;
            }
            thread::sleep(GLANCE);
        }
        Ok(None)
    }

    /// Prints a remark between the rows of the table of the hosts' roles.
    pub(crate) fn remark(&mut self, what: &str) {
        let what = self.screen.tinted(Tone::Notice, &format!("<- {what}"));
        self.print(&what);
    }

    fn print(&mut self, remark: &str) {
        let time = self.began.elapsed().as_secs_f64();
        let Tally { answered, failed } = self.news();
        let failed = match failed {
            0 => format!("{failed:>8}"),
            _ => self.screen.tinted(Tone::Bad, &format!("{failed:>8}")),
        };
        let [a, b] = [0, 1].map(|index| self.role(index));
        let owner = self.owner();
        self.screen.line(&format!(
            "{time:>5.1} s |{answered:>9}{failed} | {a}{b}| {owner:11} | {remark}"
        ));
    }

    /// Returns the numbers of requests that were answered and that failed since the last printed
    /// row of the table.
    fn news(&mut self) -> Tally {
        let failed = self.loads.iter().map(|load| load.failed()).sum();
        let done: usize = self.loads.iter().map(|load| load.done()).sum();
        let now = Tally {
            answered: done.saturating_sub(failed),
            failed,
        };
        let told = std::mem::replace(&mut self.told, now);
        Tally {
            answered: now.answered.saturating_sub(told.answered),
            failed: now.failed.saturating_sub(told.failed),
        }
    }

    fn role(&self, index: usize) -> String {
        let role = self.paired.pair.agent(index).and_then(Agent::role);
        match role.ok().flatten() {
            Some(role @ Role::Master) => self
                .screen
                .tinted(Tone::Good, &format!("{:8}", role.name())),
            role => format!("{:8}", role.map_or("-", Role::name)),
        }
    }

    fn owner(&self) -> &'static str {
        let owner = self
            .paired
            .follower
            .moves()
            .last()
            .and_then(|last| last.owner);
        let named = BALANCERS
            .iter()
            .find(|(_, address)| Some(*address) == owner);
        named.map_or("none", |(name, _)| name)
    }
}
