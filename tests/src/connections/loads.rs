//! The loads of the measurement: wrk, and this package's own generator of short connections.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    host::joined,
    load::{Churn, ChurnReport, Closing},
    tcp,
    topology::{CLIENT, ELASTIC_IP},
};
use serde_json::{Value, json};

use super::Load;

/// Number of client addresses in the load where the client closes first. Of the 64,512 ports of an
/// address, Linux gives out half before its search becomes slow, and a closed connection keeps its
/// port for the 60 s of TIME-WAIT, so one address can open only 540 connections per second.
const CLOSING_CLIENTS: u8 = 64;

/// Maximum delay in reading a count of connections: if a count is read later than that, it cannot
/// be taken for the count at the end of its second.
const LATE: Duration = Duration::from_millis(500);

/// Number of client addresses in the loads `ManyClients` and `ManyClientsClose`.
const MANY_CLIENTS: u8 = 200;

/// Result of running a load.
pub(super) struct Outcome {
    /// Number of connections that ended in each second, from the start of the load.
    pub(super) per_second: Vec<u64>,
    /// Number of connections that were answered.
    pub(super) answered: u64,
    /// Number of failed connections by reason.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) times: Times,
}

/// Durations of connections in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    /// Median of the durations, in milliseconds.
    pub(super) p50: f64,
    /// 99th percentile of the durations, in milliseconds.
    pub(super) p99: f64,
    /// Whether the durations include the time to connect.
    pub(super) with_connect: bool,
}

impl Load {
    /// Configures the load's source addresses and port range on the client, and returns the
    /// addresses.
    pub(super) fn prepare(self, lab: &Lab) -> Result<Vec<Ipv4Addr>> {
        let count = match self {
            // wrk closes as soon as it has the answer. Through HAProxy that is before the server's
            // close arrives, so the client keeps the connection in TIME-WAIT: its 28,232 ports
            // would then limit the load to 470 connections per second.
            Self::Wrk => {
                lab.client.script("sysctl -qw net.ipv4.tcp_tw_reuse=1")?;
                return Ok(vec![CLIENT]);
            }
            Self::ClientCloses => CLOSING_CLIENTS,
            Self::ManyClients | Self::ManyClientsClose => MANY_CLIENTS,
        };
        // All these addresses share the client host's limit on connections in TIME-WAIT, above
        // which the kernel forgets such connections immediately. Separate hosts would not share a
        // limit.
        lab.client.script(
            "sysctl -qw net.ipv4.ip_local_port_range='1024 65535'\n\
             sysctl -qw net.ipv4.tcp_max_tw_buckets=4000000",
        )?;
        lab.add_client_addresses(count)
    }

    /// Runs the load for this many seconds, and returns its result.
    pub(super) fn send(self, lab: &Lab, sources: Vec<Ipv4Addr>, seconds: u32) -> Result<Outcome> {
        let closing = match self {
            Self::Wrk => return wrk(&lab.client, seconds),
            Self::ManyClients => Closing::Server,
            Self::ClientCloses | Self::ManyClientsClose => Closing::Client,
        };
        let churn = Churn {
            sources,
            ..Churn::new(closing, Duration::from_secs(seconds.into()))
        };
        Ok(Outcome::of(churn.run(&lab.client)?))
    }
}

impl Times {
    pub(super) fn json(self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "with_connect": self.with_connect })
    }
}

impl Outcome {
    fn of(report: ChurnReport) -> Self {
        let part = |part| {
            let time = report.percentile(part).unwrap_or_default();
            time.as_secs_f64() * 1e3
        };
        Self {
            times: Times {
                p50: part(0.5),
                p99: part(0.99),
                with_connect: true,
            },
            answered: report.answers(),
            per_second: report.per_second,
            failures: report.failures,
        }
    }
}

/// Runs wrk, which prints only totals. The rate over time is therefore read from the client's
/// kernel, which counts the connections that it opened; at most sixteen of them are unfinished.
fn wrk(client: &Host, seconds: u32) -> Result<Outcome> {
    let host = client.clone();
    let lasts = format!("{seconds}s");
    let url = format!("http://{ELASTIC_IP}/");
    let mut counts = vec![tcp::active_opens(client)?];
    let began = Instant::now();
    let wrk = thread::spawn(move || {
        host.run(
            "wrk",
            &[
                "-c16",
                "-t1",
                "-d",
                &lasts,
                "--timeout",
                "5s",
                "--latency",
                "-H",
                "Connection: close",
                &url,
            ],
        )
    });
    for second in 1..=seconds {
        let due = Duration::from_secs(second.into());
        thread::sleep(due.saturating_sub(began.elapsed()));
        counts.push(tcp::active_opens(client)?);
        // wrk continues while this process is stopped, so counts that are read late would include
        // connections of the next second.
        let late = began.elapsed().saturating_sub(due);
        ensure!(
            late < LATE,
            "second {second} of wrk's load was read {late:?} too late: the lab was stopped, or the \
             machine is overloaded; measure again while nothing else runs"
        );
    }
    let printed = joined(wrk)?;
    let summary = Summary::parse(&printed)
        .with_context(|| format!("wrk printed something other than its figures:\n{printed}"))?;
    Ok(Outcome {
        per_second: counts.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        answered: summary.requests,
        failures: summary.failures,
        times: summary.times,
    })
}

/// Figures that wrk prints at its end.
struct Summary {
    requests: u64,
    failures: BTreeMap<String, u64>,
    times: Times,
}

impl Summary {
    /// Parses lines such as `50% 1.20ms`, `99% 7.53ms`, `211436 requests in 30.02s, 35.29MB read`,
    /// `Socket errors: connect 0, read 3, write 0, timeout 1` and `Non-2xx or 3xx responses: 7`.
    fn parse(printed: &str) -> Option<Self> {
        let after = |what: &str| {
            let lines = printed.lines().map(str::trim);
            lines.filter_map(|line| line.strip_prefix(what)).next()
        };
        let (requests, _) = printed.split_once(" requests in ")?;
        let mut failures = BTreeMap::new();
        if let Some(errors) = after("Socket errors: ") {
            for error in errors.split(", ") {
                let (kind, count) = error.split_once(' ')?;
                failures.insert(format!("wrk: {kind}"), count.parse().ok()?);
            }
        }
        if let Some(count) = after("Non-2xx or 3xx responses: ") {
            failures.insert("wrk: status".to_owned(), count.parse().ok()?);
        }
        failures.retain(|_, count| *count > 0);
        Some(Self {
            requests: requests.split_whitespace().next_back()?.parse().ok()?,
            failures,
            times: Times {
                p50: milliseconds(after("50%")?)?,
                p99: milliseconds(after("99%")?)?,
                with_connect: false,
            },
        })
    }
}

/// Converts a time as wrk prints it (`843.00us`, `1.20ms`, `1.50s`, `2.00m`) to milliseconds;
/// `None` for any other text.
fn milliseconds(time: &str) -> Option<f64> {
    let time = time.trim();
    let unit = time.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = time.split_at(unit);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Running 30s test @ http://203.0.113.74/
  1 threads and 16 connections
  Latency Distribution
     50%  843.00us
     75%    1.33ms
     90%    2.01ms
     99%    1.05s
  211436 requests in 30.02s, 35.29MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec:   7043.17
";

    #[test]
    fn wrk_says_what_was_answered_and_what_failed() {
        let summary = Summary::parse(PRINTED).expect("figures");
        assert_eq!(summary.requests, 211_436);
        let failures = [("wrk: read".to_owned(), 3), ("wrk: timeout".to_owned(), 1)];
        assert_eq!(summary.failures, BTreeMap::from(failures));
        assert_eq!((summary.times.p50, summary.times.p99), (0.843, 1050.0));
    }

    #[test]
    fn what_is_not_of_wrk_is_not_read() {
        assert!(Summary::parse("unable to connect to 203.0.113.74:http").is_none());
    }
}
