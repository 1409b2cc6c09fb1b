//! Metrics of the agent's process, from /proc (proc(5)) and getrusage(2).

use std::{
    fmt, fs,
    time::{Duration, SystemTime},
};

use nix::{
    sys::resource::{Resource, UsageWho, getrlimit, getrusage},
    sys::time::TimeValLike,
};

use super::{Collector, DescriptorEncoder, Samples, families, unix_seconds};

families! {
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "User and system CPU time of the agent, in seconds.";
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Resident memory of the agent, in bytes.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" []
        "Number of open file descriptors of the agent.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "Maximum number of open file descriptors of the agent.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "Start time of the agent, in seconds since 1970-01-01 UTC.";
}

/// Resource usage of the agent's process; a field is `None` if it could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessReading {
    /// User and system CPU time that the process has used.
    pub cpu: Option<Duration>,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: Option<u64>,
    /// Number of file descriptors that the process has open.
    pub open_fds: Option<u64>,
    /// The soft limit of the number of open file descriptors.
    pub max_fds: Option<u64>,
    /// When the agent's process started.
    pub started: Option<SystemTime>,
}

impl ProcessReading {
    /// Reads the current resource usage. `started` is the time that the agent recorded at its
    /// start.
    #[must_use]
    pub fn now(started: SystemTime) -> Self {
        Self {
            cpu: cpu(),
            resident_bytes: resident_bytes(),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
            started: Some(started),
        }
    }
}

impl Collector for ProcessReading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu {
            Samples::begin(&mut encoder, &PROCESS_CPU)?.counter(&[], &cpu.as_secs_f64())?;
        }
        let gauges = [
            (
                &PROCESS_MEMORY,
                self.resident_bytes.map(|value| value as f64),
            ),
            (&PROCESS_OPEN_FDS, self.open_fds.map(|value| value as f64)),
            (&PROCESS_MAX_FDS, self.max_fds.map(|value| value as f64)),
            (&PROCESS_START, self.started.map(unix_seconds)),
        ];
        for (family, value) in gauges {
            if let Some(value) = value {
                Samples::begin(&mut encoder, family)?.gauge(&[], value)?;
            }
        }
        Ok(())
    }
}

fn cpu() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(u64::try_from(micros).ok()?))
}

/// Returns the resident memory in bytes, from the line `VmRSS:     1234 kB` of /proc/self/status.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_fds() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // The listing of /proc/self/fd includes the descriptor with which the directory itself is read.
    u64::try_from(listed.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_this_process_is_read() {
        let reading = ProcessReading::now(SystemTime::now());
        assert!(reading.cpu.is_some());
        assert!(reading.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(reading.open_fds.is_some_and(|fds| fds >= 3));
        assert!(reading.max_fds.is_some());
    }
}
