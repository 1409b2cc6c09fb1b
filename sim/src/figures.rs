//! The figures of one simulated run, or of many runs together.

use std::{fmt, time::Duration};

/// Counts and longest times of one run or of many runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Number of runs that the figures cover.
    pub runs: u64,
    /// Simulated time of all runs together.
    pub simulated: Duration,
    /// Number of events that the state machines of both hosts handled.
    pub steps: u64,
    /// Number of times that a host became active.
    pub failovers: u64,
    /// Number of times that a host's call to the EC2 API moved the Elastic IP.
    pub moves: u64,
    /// Highest number of moves of the Elastic IP in one run.
    pub most_moves: u64,
    /// Number of hand-overs of the active role that succeeded.
    pub handed_over: u64,
    /// Number of times that a host stepped back: it left the active role because another host might
    /// have the Elastic IP.
    pub stepped_back: u64,
    /// Longest time that both hosts were active while each could hear the other.
    pub overlap_hearing: Duration,
    /// Longest time that both hosts were active without hearing each other, with a healthy EC2 API,
    /// shortly after they had heard each other.
    pub overlap_fresh: Duration,
    /// Longest time that both hosts were active without hearing each other, with a healthy EC2 API,
    /// when they had not heard each other for long, or never.
    pub overlap_calm: Duration,
    /// Longest time that both hosts were active without hearing each other, with a healthy EC2 API,
    /// when both had just taken the Elastic IP.
    pub overlap_contested: Duration,
    /// Longest time that both hosts believed to have the Elastic IP, with a healthy EC2 API.
    pub overlap_sure: Duration,
    /// Longest time that both hosts of a pair whose agents have a link believed to have the Elastic
    /// IP; this includes times in which the EC2 API did not answer.
    pub overlap_blind: Duration,
    /// Longest time that no host was active although one could have been.
    pub gap: Duration,
    /// Longest time from the end of all troubles of a run to the last change of the state of the
    /// pair.
    pub convergence: Duration,
}

impl Figures {
    /// Adds the figures of another run to these.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.steps += other.steps;
        self.failovers += other.failovers;
        self.moves += other.moves;
        self.most_moves = self.most_moves.max(other.most_moves);
        self.handed_over += other.handed_over;
        self.stepped_back += other.stepped_back;
        self.overlap_hearing = self.overlap_hearing.max(other.overlap_hearing);
        self.overlap_fresh = self.overlap_fresh.max(other.overlap_fresh);
        self.overlap_calm = self.overlap_calm.max(other.overlap_calm);
        self.overlap_contested = self.overlap_contested.max(other.overlap_contested);
        self.overlap_sure = self.overlap_sure.max(other.overlap_sure);
        self.overlap_blind = self.overlap_blind.max(other.overlap_blind);
        self.gap = self.gap.max(other.gap);
        self.convergence = self.convergence.max(other.convergence);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs() / 3600;
        writeln!(f, "runs                      {:>12}", self.runs)?;
        writeln!(f, "simulated hours           {hours:>12}")?;
        writeln!(f, "steps                     {:>12}", self.steps)?;
        writeln!(f, "times a host took over    {:>12}", self.failovers)?;
        writeln!(f, "moves of the address      {:>12}", self.moves)?;
        writeln!(f, "  the most in one run     {:>12}", self.most_moves)?;
        writeln!(f, "hand-overs                {:>12}", self.handed_over)?;
        writeln!(f, "times a host stepped back {:>12}", self.stepped_back)?;
        writeln!(f, "longest with two active hosts")?;
        line(f, "  that hear each other", self.overlap_hearing)?;
        line(f, "  cut off a moment ago", self.overlap_fresh)?;
        line(f, "  cut off for long", self.overlap_calm)?;
        line(f, "  that took it at once", self.overlap_contested)?;
        line(f, "  sure of the address", self.overlap_sure)?;
        line(f, "  the same, API in trouble", self.overlap_blind)?;
        line(f, "longest with none", self.gap)?;
        line(f, "longest until calm", self.convergence)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, span: Duration) -> fmt::Result {
    writeln!(f, "{name:<25} {:>10.3} s", span.as_secs_f64())
}
