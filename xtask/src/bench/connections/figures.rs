//! The figures of the sustained-load benchmark, as `lb-lab connections` measures them between hosts
//! that are network namespaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::machine::Machine;

/// Length in seconds of the window over which a rate is averaged.
pub(super) const WINDOW: usize = 10;

/// All figures of a run of the benchmark, and the parameters of that run.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    /// Duration of each load on each setup, in seconds.
    pub(super) seconds: u32,
    #[serde(flatten)]
    pub(super) measured: Measured,
}

/// The results that `lb-lab connections` printed for all loads on all setups.
#[derive(Deserialize, Serialize)]
pub(super) struct Measured {
    pub(super) runs: Vec<Run>,
    pub(super) broken: Vec<Broken>,
}

/// A load that could not be measured on a setup, and the reason.
#[derive(Deserialize, Serialize)]
pub(super) struct Broken {
    pub(super) setup: String,
    pub(super) load: String,
    pub(super) why: String,
}

/// The results of one load on one setup.
#[derive(Deserialize, Serialize)]
pub(super) struct Run {
    pub(super) setup: String,
    pub(super) load: String,
    /// Share of the machine's CPU time (0 to 1) that was in use just before the run.
    pub(super) busy_before: f64,
    pub(super) answered: u64,
    /// Number of failed connections, by reason.
    pub(super) failures: BTreeMap<String, u64>,
    /// Number of connections that ended in each second of the run.
    pub(super) per_second: Vec<u64>,
    pub(super) milliseconds: Times,
    pub(super) cpu_seconds: CpuSeconds,
    pub(super) time_waits: TimeWaits,
    /// Connection tracking of the balancer's kernel; `None` unless the setup is nftables.
    pub(super) conntrack: Option<Conntrack>,
    /// Number of packets during the load, by verdict and reason; `None` unless the setup is `lb`.
    pub(super) verdicts: Option<Vec<Verdict>>,
}

/// Durations of connections, in milliseconds.
#[derive(Deserialize, Serialize)]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Whether the durations of connections include the time to establish them.
    pub(super) with_connect: bool,
}

/// CPU time that was used during the load, in seconds.
#[derive(Deserialize, Serialize)]
pub(super) struct CpuSeconds {
    /// CPU time of the whole machine: of the client, the network, the balancer and the web servers.
    pub(super) machine: f64,
    /// The part of the CPU time of the whole machine that was spent in soft interrupts.
    pub(super) softirq: f64,
    /// User and system time of the balancer's process; `None` if the setup has no such process.
    pub(super) process: Option<f64>,
}

/// Numbers of connections in TIME-WAIT at the end of the load. A connection is in TIME-WAIT at the
/// host that closed it first.
#[derive(Deserialize, Serialize)]
pub(super) struct TimeWaits {
    pub(super) client: u64,
    pub(super) balancer: u64,
    pub(super) webs: u64,
}

/// Number of connections that the balancer's kernel tracks, and the limit of that number.
#[derive(Deserialize, Serialize)]
pub(super) struct Conntrack {
    pub(super) count: u64,
    pub(super) max: u64,
}

/// One counter of the metric `lb_xdp_packets_total`.
#[derive(Deserialize, Serialize)]
pub(super) struct Verdict {
    pub(super) verdict: String,
    pub(super) reason: String,
    pub(super) packets: u64,
}

/// Rates in connections per second, each averaged over a window of ten seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Windows {
    pub(super) first: f64,
    pub(super) last: f64,
    /// The lowest rate of all windows; a window begins at each full second.
    pub(super) least: f64,
}

impl Windows {
    /// Returns the ratio of the last window's rate to that of the first window.
    pub(super) fn ratio(self) -> f64 {
        self.last / self.first.max(f64::EPSILON)
    }
}

impl Run {
    /// Computes the rates during a load of this many seconds; a second in which no connection was
    /// completed counts as zero.
    pub(super) fn windows(&self, seconds: u32) -> Windows {
        let mut counts = self.per_second.clone();
        counts.resize((seconds as usize).max(WINDOW), 0);
        let rate = |counts: &[u64]| counts.iter().sum::<u64>() as f64 / WINDOW as f64;
        let rates: Vec<_> = counts.windows(WINDOW).map(rate).collect();
        Windows {
            first: rates.first().copied().unwrap_or_default(),
            last: rates.last().copied().unwrap_or_default(),
            least: rates.into_iter().fold(f64::INFINITY, f64::min),
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Converts CPU time in seconds to microseconds per answered connection.
    pub(super) fn microseconds(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds * 1e6 / (self.answered.max(1) as f64)
    }

    /// Returns the number of packets that were counted for this reason, whatever their verdict.
    pub(super) fn packets(&self, reason: &str) -> u64 {
        (self.verdicts.iter().flatten())
            .filter(|verdict| verdict.reason == reason)
            .map(|verdict| verdict.packets)
            .sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns figures as `lb-lab connections` could print them for a load on this setup.
    pub(in super::super) fn run(setup: &str, per_second: &[u64]) -> Run {
        Run {
            setup: setup.to_owned(),
            load: "wrk".to_owned(),
            busy_before: 0.01,
            answered: per_second.iter().sum(),
            failures: BTreeMap::from([("refused".to_owned(), 7)]),
            per_second: per_second.to_owned(),
            milliseconds: Times {
                p50: 1.0,
                p99: 2.0,
                with_connect: false,
            },
            cpu_seconds: CpuSeconds {
                machine: 20.0,
                softirq: 10.0,
                process: None,
            },
            time_waits: TimeWaits {
                client: 1,
                balancer: 0,
                webs: 2,
            },
            conntrack: None,
            verdicts: None,
        }
    }

    #[test]
    fn what_lb_lab_prints_is_read() {
        let printed = r#"{
            "runs": [{
                "setup": "lb", "load": "wrk", "busy_before": 0.02,
                "answered": 30, "failures": { "wrk: timeout": 2 }, "per_second": [10, 20],
                "milliseconds": { "p50": 0.9, "p99": 4.2, "with_connect": false },
                "cpu_seconds": { "machine": 0.03, "softirq": 0.01, "process": null },
                "time_waits": { "client": 1, "balancer": 0, "webs": 29 },
                "conntrack": null,
                "verdicts": [
                    { "verdict": "drop", "reason": "no_source_port", "packets": 5 }
                ]
            }],
            "broken": [{ "setup": "dnat", "load": "wrk", "why": "it did not start" }]
        }"#;
        let measured: Measured = serde_json::from_str(printed).expect("figures");
        let run = &measured.runs[0];
        assert_eq!((run.failed(), run.packets("no_source_port")), (2, 5));
        assert_eq!(run.microseconds(run.cpu_seconds.machine), 1_000.0);
        assert_eq!(measured.broken[0].setup, "dnat");
    }

    #[test]
    fn the_last_ten_seconds_are_compared_with_the_first_ten() {
        let mut per_second = vec![1_000; 10];
        per_second.extend([500; 5]);
        per_second.extend([800; 10]);
        // These three connections were completed after the load ended, so they are in no window.
        per_second.push(3);
        let windows = run("lb", &per_second).windows(25);
        assert_eq!((windows.first, windows.last), (1_000.0, 800.0));
        assert_eq!(windows.ratio(), 0.8);
        assert_eq!(windows.least, 650.0);
    }

    #[test]
    fn seconds_without_an_answer_count() {
        let windows = run("lb", &[1_000; 10]).windows(30);
        assert_eq!((windows.first, windows.last), (1_000.0, 0.0));
        assert_eq!(windows.least, 0.0);
    }

    #[test]
    fn a_reason_is_summed_over_its_verdicts() {
        let mut run = run("lb", &[10; 10]);
        assert_eq!(run.packets("no_source_port"), 0);
        let verdict = |verdict: &str, packets| Verdict {
            verdict: verdict.to_owned(),
            reason: "retried".to_owned(),
            packets,
        };
        run.verdicts = Some(vec![verdict("transmit", 3), verdict("redirect", 4)]);
        assert_eq!(run.packets("retried"), 7);
    }
}
