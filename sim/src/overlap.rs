//! Measures how long both hosts are active at the same time.

use std::time::Duration;

use lb_ha::{Time, pair::Arbiter};

use crate::{
    bounds,
    figures::Figures,
    plan::{Plan, Side},
};

/// A silence between the hosts that is shorter than this counts as fresh. A host often asks the EC2
/// API which host has the Elastic IP during the first 60 s of a silence. Both hosts may be active
/// at the same time for less than the remaining 15 s.
const FRESH: Duration = Duration::from_secs(45);
/// How long troubles of the EC2 API have consequences after their end: a call may take 5 s, and the
/// wait after it 4 s.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Measures the times in which both hosts are active, and reports an error if one is longer than
/// its bound.
#[derive(Debug)]
pub(crate) struct Overlap {
    arbiter: Arbiter,
    hearing_bound: Duration,
    fresh_bound: Duration,
    calm_bound: Duration,
    contested_bound: Duration,
    /// The bound that applies whatever the EC2 API does; `None` for a pair whose agents have no
    /// link, for which there is no such bound.
    sure_bound: Option<Duration>,
    both: Option<Both>,
    /// Since when both hosts are active and believe to have the Elastic IP, and whether each had
    /// heard the other less than [`FRESH`] before that; false if a clock has jumped since then.
    sure: Option<(Time, bool)>,
    /// Since when each host can hear the other; `None` while one cannot.
    hearing: Option<Time>,
    /// The time from which on the EC2 API is healthy and its earlier troubles have no consequences
    /// any more; `None` while it is not healthy.
    api: Option<Time>,
    /// For each host, when the EC2 API last accepted its call to associate the Elastic IP with it.
    took: [Option<Time>; 2],
    /// For each host, when its suspended agent received the answer that the EC2 API had accepted
    /// its call to associate the Elastic IP, long after that: from then on, the agent has to assume
    /// that answers to DescribeAddresses may be stale.
    told_late: [Option<Time>; 2],
    figures: Figures,
}

/// A time in which both hosts are active.
#[derive(Clone, Copy, Debug)]
struct Both {
    since: Time,
    /// Whether each host had heard the other less than [`FRESH`] before both became active; false
    /// if a clock has jumped since both became active.
    fresh: bool,
}

/// What an active host knows of the other host and of the Elastic IP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closer {
    /// For how long the host has not heard the other one; `None` if it never did.
    pub(crate) silent: Option<Duration>,
    /// Whether the host believes to have the Elastic IP.
    pub(crate) sure: bool,
}

impl Overlap {
    /// Creates the measurement of the times in which both hosts are active, with the bounds that
    /// apply to the settings of this run.
    #[must_use]
    pub(crate) fn within(plan: &Plan) -> Self {
        Self {
            arbiter: plan.arbiter,
            hearing_bound: bounds::overlap_hearing(plan),
            fresh_bound: bounds::overlap_fresh(plan),
            calm_bound: bounds::overlap_calm(plan),
            contested_bound: bounds::overlap_contested(plan),
            sure_bound: plan.link.then(|| bounds::overlap_sure(plan)),
            both: None,
            sure: None,
            hearing: Some(Time::default()),
            api: Some(Time::default()),
            took: [None; 2],
            told_late: [None; 2],
            figures: Figures::default(),
        }
    }

    /// Copies the longest times that were measured to the figures of the run.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        figures.overlap_hearing = self.figures.overlap_hearing;
        figures.overlap_fresh = self.figures.overlap_fresh;
        figures.overlap_calm = self.figures.overlap_calm;
        figures.overlap_contested = self.figures.overlap_contested;
        figures.overlap_sure = self.figures.overlap_sure;
        figures.overlap_blind = self.figures.overlap_blind;
    }

    /// Notes that the conditions of the network or the EC2 API have changed. `hearing` is the time
    /// from which on each host hears the other (`None`: one does not), `api` whether the EC2 API is
    /// healthy.
    pub(crate) fn conditions(&mut self, now: Time, hearing: Option<Time>, api: bool) {
        self.hearing = hearing.map(|from| match self.hearing {
            Some(since) if from <= now => since,
            _ => from,
        });
        self.api = api.then(|| self.api.unwrap_or(now + AFTERMATH));
    }

    /// Notes that the Elastic IP was moved by hand, which the pair has to find out.
    pub(crate) fn moved_by_hand(&mut self, now: Time) {
        self.api = self.api.map(|since| since.max(now + AFTERMATH));
    }

    /// Notes that the clock of a host has jumped: that host may take over although it hears the
    /// other one, and a silence between the hosts no longer counts as fresh.
    pub(crate) fn clock_jumped(&mut self, now: Time) {
        self.hearing = self.hearing.map(|since| since.max(now));
        if let Some(both) = &mut self.both {
            both.fresh = false;
        }
        if let Some((_, fresh)) = &mut self.sure {
            *fresh = false;
        }
    }

    /// Notes that the EC2 API accepted a call of this host to associate the Elastic IP with it.
    pub(crate) fn took(&mut self, now: Time, side: Side) {
        self.took[side.index()] = Some(now);
    }

    /// Notes that this host's agent receives the answer that its call to associate the Elastic IP
    /// was accepted.
    pub(crate) fn told(&mut self, now: Time, side: Side) {
        let took = self.took[side.index()];
        if took.is_some_and(|took| now.since(took) > bounds::CALL_LIMIT) {
            self.told_late[side.index()] = Some(now);
        }
    }

    /// Checks how long both hosts have been active by now. `both` is what each host knows of the
    /// other; `None` unless both hosts are active.
    ///
    /// # Errors
    /// Both hosts have been active for longer than a bound allows.
    pub(crate) fn look(&mut self, now: Time, both: Option<[Closer; 2]>) -> Result<(), String> {
        let is_fresh = |host: Closer| host.silent.is_some_and(|silent| silent < FRESH);
        if let Some(hosts) = both {
            self.both.get_or_insert_with(|| Both {
                since: now,
                fresh: hosts.into_iter().all(is_fresh),
            });
        }
        if let Some(seen) = self.both {
            self.measure(now, seen)?;
        }
        let sure = both.filter(|hosts| hosts.iter().all(|host| host.sure));
        if let Some(hosts) = sure {
            let fresh = hosts.into_iter().all(is_fresh);
            self.sure.get_or_insert((now, fresh));
        }
        if let Some((since, fresh)) = self.sure {
            self.measure_sure(now, since, fresh)?;
        }
        if both.is_none() {
            self.both = None;
        }
        if sure.is_none() {
            self.sure = None;
        }
        Ok(())
    }

    fn measure(&mut self, now: Time, Both { since, fresh }: Both) -> Result<(), String> {
        if let Some(hearing) = self.hearing {
            let overlap = now.since(since.max(hearing));
            let longest = &mut self.figures.overlap_hearing;
            hold(longest, overlap, self.hearing_bound, "that hear each other")?;
        }
        let Some(api) = self.api.filter(|_| self.arbiter == Arbiter::Ec2) else {
            return Ok(());
        };
        let overlap = now.since(since.max(api));
        let recent = |took: Option<Time>| took.is_some_and(|at| at + bounds::SETTLE >= since);
        if self.took.into_iter().all(recent) || self.told_late.into_iter().any(recent) {
            let longest = &mut self.figures.overlap_contested;
            let both_took = "both of which took the address";
            hold(longest, overlap, self.contested_bound, both_took)
        } else if fresh {
            let longest = &mut self.figures.overlap_fresh;
            hold(longest, overlap, self.fresh_bound, "cut off a moment ago")
        } else {
            let longest = &mut self.figures.overlap_calm;
            hold(longest, overlap, self.calm_bound, "cut off for long")
        }
    }

    fn measure_sure(&mut self, now: Time, since: Time, fresh: bool) -> Result<(), String> {
        if self.arbiter == Arbiter::None {
            return Ok(());
        }
        if let Some(bound) = self.sure_bound {
            let longest = &mut self.figures.overlap_blind;
            let which = "both sure to have the address, whatever the API does";
            hold(longest, now.since(since), bound, which)?;
        }
        let Some(api) = self.api else {
            return Ok(());
        };
        let overlap = now.since(since.max(api));
        let bound = if fresh {
            self.fresh_bound
        } else {
            self.calm_bound
        };
        let longest = &mut self.figures.overlap_sure;
        hold(longest, overlap, bound, "both sure to have the address")
    }
}

fn hold(
    longest: &mut Duration,
    overlap: Duration,
    bound: Duration,
    which: &str,
) -> Result<(), String> {
    *longest = overlap.max(*longest);
    if overlap <= bound {
        return Ok(());
    }
    Err(format!(
        "two active hosts for {overlap:?}, {which}: no more than {bound:?} is stated"
    ))
}
