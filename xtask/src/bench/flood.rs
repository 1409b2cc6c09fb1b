//! A benchmark of the effect of a SYN flood on other clients.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{FloodArguments, machine::Machine, write_json};
use crate::{
    checks::{HOST_PACKAGES, cargo},
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    table::{Column, Table},
    workspace::Workspace,
};

/// Minimum share (0 to 1) of the legitimate clients that must be served during the flood.
const SERVED: f64 = 0.99;

/// Builds the agent and `lb-lab`, which simulates a network of hosts with network namespaces, and
/// floods the agent there.
///
/// # Errors
/// The set-up or a build failed; or an established connection was lost, more than 1% of the
/// legitimate clients were not served, or a packet was not counted. In the latter three cases the
/// figures are printed anyway.
pub(crate) fn run(workspace: &Workspace, arguments: &FloodArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Bench)?;
    ebpf::build_and_report(workspace)?;
    child::run(
        cargo(workspace)
            .args(["build", "--release"])
            .args(HOST_PACKAGES)
            .args(["--bin", "lb", "--bin", "lb-lab"]),
    )?;
    let mut lab = Privilege::Root.command("env")?;
    let lb = workspace.release_binary("lb");
    lab.arg(format!("LB_BINARY={}", lb.display()))
        .arg(workspace.release_binary("lb-lab"))
        .args(["flood", "--seconds", &arguments.seconds.to_string()])
        .args(["--established", &arguments.established.to_string()])
        .args(arguments.rate.map(|rate| format!("--rate={rate}")))
        // `lb-lab` reports its progress on standard error.
        .stderr(Stdio::inherit());
    let measured = child::output(&mut lab).context("the flood was not measured")?;
    let figures = Figures {
        machine: Machine::this(),
        outcome: serde_json::from_str(&measured).with_context(|| {
            format!("lb-lab printed something other than its figures: {measured}")
        })?,
    };
    println!(
        "\n{}\n{}",
        figures.outcome.table(),
        figures.outcome.verdicts()
    );
    println!("{}", figures.machine);
    println!(
        "SYN segments of random senders, sent on one core into the cable of the balancer, beside \
         connections through the same service that each ask once every 5 s, and 200 new connections \
         a second, given up after 10 s of silence. Sender, balancer, web servers and clients share \
         this machine."
    );
    if let Some(path) = &arguments.json {
        write_json(path, &figures)?;
    }
    figures.outcome.is_as_promised()
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    outcome: Outcome,
}

/// The figures that `lb-lab flood` prints.
#[derive(Deserialize, Serialize)]
struct Outcome {
    flood: Flood,
    established: Established,
    honest: Honest,
    /// Number of packets that the balancer's interface received.
    received: u64,
    /// Difference between `received` and the number of packets that verdicts count.
    unexplained: u64,
    verdicts: Vec<Verdict>,
}

#[derive(Deserialize, Serialize)]
struct Flood {
    packets: u64,
    seconds: f64,
}

#[derive(Deserialize, Serialize)]
struct Established {
    connections: u64,
    answers: u64,
    lost: BTreeMap<String, u64>,
}

#[derive(Deserialize, Serialize)]
struct Honest {
    answered: u64,
    slowest_milliseconds: f64,
    failed: BTreeMap<String, u64>,
}

#[derive(Deserialize, Serialize)]
struct Verdict {
    verdict: String,
    reason: String,
    packets: u64,
}

impl Outcome {
    fn lost(&self) -> u64 {
        self.established.lost.values().sum()
    }

    /// Returns the share (0 to 1) of the legitimate clients that were served.
    fn served(&self) -> f64 {
        let failed: u64 = self.honest.failed.values().sum();
        self.honest.answered as f64 / (self.honest.answered + failed).max(1) as f64
    }

    fn table(&self) -> Table<2> {
        let mut table = Table::new([Column::Left("flood"), Column::Right("")]);
        let Flood { packets, seconds } = self.flood;
        for (what, figure) in [
            (
                "packets a second",
                format!("{:.0}", packets as f64 / seconds),
            ),
            ("seconds", format!("{seconds:.1}")),
            (
                "connections established before",
                self.established.connections.to_string(),
            ),
            ("answers on them", self.established.answers.to_string()),
            ("lost of them", self.lost().to_string()),
            (
                "honest clients served",
                format!("{:.2}%", self.served() * 100.0),
            ),
            (
                "the slowest of them, ms",
                format!("{:.0}", self.honest.slowest_milliseconds),
            ),
            ("packets received", self.received.to_string()),
            ("packets in no counter", self.unexplained.to_string()),
        ] {
            table.row([what.to_owned(), figure]);
        }
        table
    }

    fn verdicts(&self) -> Table<3> {
        let mut table = Table::new([
            Column::Left("verdict"),
            Column::Left("reason"),
            Column::Right("packets"),
        ]);
        for counted in &self.verdicts {
            let Verdict {
                verdict,
                reason,
                packets,
            } = counted;
            table.row([verdict.clone(), reason.clone(), packets.to_string()]);
        }
        table
    }

    fn is_as_promised(&self) -> anyhow::Result<()> {
        let Self {
            established,
            honest,
            ..
        } = self;
        ensure!(
            self.lost() == 0,
            "established connections were lost: {:?}",
            established.lost
        );
        ensure!(
            self.served() >= SERVED,
            "{:.2}% of the honest clients were served, where {:.0}% are to be: {:?}",
            self.served() * 100.0,
            SERVED * 100.0,
            honest.failed
        );
        ensure!(
            self.unexplained == 0,
            "packets that are in no counter: {}",
            self.unexplained
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lb_lab_prints_is_judged() {
        let printed = r#"{
            "flood": { "packets": 120000, "seconds": 60.0 },
            "established": { "connections": 10, "answers": 100, "lost": {} },
            "honest": { "answered": 99, "slowest_milliseconds": 1010.5, "failed": { "refused": 1 } },
            "received": 130000, "unexplained": 0,
            "verdicts": [{ "verdict": "drop", "reason": "table_full", "packets": 7 }]
        }"#;
        let mut outcome: Outcome = serde_json::from_str(printed).expect("figures");
        let table = outcome.table().to_string();
        let packets = table.lines().find(|line| line.contains("packets a second"));
        assert!(
            packets.is_some_and(|line| line.ends_with(" 2000")),
            "{table}"
        );
        assert!(outcome.verdicts().to_string().contains("table_full"));
        outcome.is_as_promised().expect("99% are enough");
        outcome.honest.answered = 98;
        outcome.is_as_promised().expect_err("less than 99%");
        outcome.honest.answered = 990;
        outcome.unexplained = 1;
        outcome
            .is_as_promised()
            .expect_err("a packet is in no counter");
        outcome.unexplained = 0;
        outcome.established.lost.insert("it broke".to_owned(), 1);
        outcome.is_as_promised().expect_err("a connection was lost");
    }
}
