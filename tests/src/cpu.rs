//! CPU time, of the whole machine and of a process.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// Milliseconds in a tick, the unit of the kernel's CPU times: `USER_HZ` is 100 on every
/// architecture.
const MILLISECONDS_A_TICK: u64 = 10;

/// Interval over which the machine's load is measured.
const WATCH: Duration = Duration::from_millis(500);

/// CPU time of the whole machine, all processors together, since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MachineTime {
    /// Time that is neither idle nor stolen by the hypervisor: user, system, interrupts and soft
    /// interrupts.
    pub busy: Duration,
    /// The part of `busy` in soft interrupts, in which the kernel receives packets and runs XDP
    /// programs and netfilter.
    pub softirq: Duration,
    /// Busy and idle time of all processors together.
    pub all: Duration,
}

impl MachineTime {
    /// Reads the machine's CPU time.
    ///
    /// # Errors
    /// When `/proc/stat` does not have the format that proc(5) describes.
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("could not read /proc/stat")?;
        parse_machine(&stat).context("/proc/stat has no line of all processors")
    }

    /// Returns the CPU time that the machine used since the reading `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            softirq: self.softirq.saturating_sub(earlier.softirq),
            all: self.all.saturating_sub(earlier.all),
        }
    }

    /// Returns the busy part of this time, 0 to 1.
    #[must_use]
    pub fn load(self) -> f64 {
        self.busy.as_secs_f64() / self.all.as_secs_f64().max(f64::EPSILON)
    }
}

/// Waits until the machine is busy for at most `part` (0 to 1) of its time. Returns the last
/// measured busy part, which is greater than `part` if the machine did not become idle within
/// `limit`.
///
/// # Errors
/// As [`MachineTime::now`].
pub fn wait_until_idle(part: f64, limit: Duration) -> Result<f64> {
    let deadline = Instant::now() + limit;
    loop {
        let before = MachineTime::now()?;
        thread::sleep(WATCH);
        let load = MachineTime::now()?.since(before).load();
        if load <= part || Instant::now() >= deadline {
            return Ok(load);
        }
    }
}

/// Returns the user and system time of a process, of all its threads together.
pub(crate) fn of_process(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_process(&stat).context("its /proc/PID/stat is not as proc(5) has it")
}

/// Parses the line `cpu  user nice system idle iowait irq softirq steal guest guest_nice` of
/// `/proc/stat`. The guest times are already part of `user` and `nice`.
fn parse_machine(stat: &str) -> Option<MachineTime> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut fields = line.split_whitespace().map(|field| field.parse().ok());
    let mut next = || fields.next().flatten();
    let [user, nice, system, idle, iowait, irq, softirq]: [u64; 7] = [
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
    ];
    let busy = user + nice + system + irq + softirq;
    Some(MachineTime {
        busy: duration(busy),
        softirq: duration(softirq),
        all: duration(busy + idle + iowait),
    })
}

/// Parses `/proc/PID/stat`, and returns the user and system time. The process's name, in
/// parentheses, may contain spaces; proc(5) numbers the fields after it from 3.
fn parse_process(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(duration(user + system))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * MILLISECONDS_A_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_waiting_and_stolen_time() {
        let stat = "cpu  100 20 300 4000 50 6 700 800 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let time = parse_machine(stat).expect("a line of all processors");
        assert_eq!(time.busy, Duration::from_millis(11_260));
        assert_eq!(time.softirq, Duration::from_secs(7));
        assert_eq!(time.all, Duration::from_millis(51_760));
        assert_eq!(time.since(time).busy, Duration::ZERO);
        assert!(parse_machine("cpu0 1 1 1 1 1 1 1 1 0 0\n").is_none());
    }

    #[test]
    fn a_process_may_have_parentheses_and_spaces_in_its_name() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 0 20 0 1 0 5 6 7";
        assert_eq!(parse_process(stat), Some(Duration::from_millis(1_200)));
    }
}
