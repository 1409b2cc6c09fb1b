//! A description of the machine that the benchmarks run on.

use std::{fmt, fs, thread};

use serde::Serialize;

/// The hardware and kernel of a machine, as they are written to the file of figures.
#[derive(Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
}

impl Machine {
    /// Returns a description of the machine that this process runs on.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(
                || "unknown processor".to_owned(),
                |(_, name)| name.to_owned(),
            );
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor,
            cores: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            processor,
            cores,
        } = self;
        let noun = if *cores == 1 { "core" } else { "cores" };
        write!(f, "{processor}, {cores} {noun}, Linux {kernel}")
    }
}
