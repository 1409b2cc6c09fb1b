//! Nanoseconds a packet of the XDP program, by `BPF_PROG_TEST_RUN`; `cargo xtask bench xdp` runs it.
//!
//! Each figure is the average of what the kernel reports for single runs (`repeat = 1`: with more
//! the kernel would feed the rewritten packet back in), taken in interleaved rounds, and the median
//! over the rounds. The empty program, measured in the same rounds, is what the measuring costs.

use std::collections::BTreeMap;

use lb::config::Balance;
use lb_common::{flow::FlowKey, host::TcpPacket};

#[path = "../tests/stage/mod.rs"]
mod stage;

use stage::{Stage, VIP};

const ROUNDS: usize = 31;
const RUNS: u32 = 4000;
/// Connections that take their turns.
const MANY: u32 = 16_384;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn main() {
    let stage = Stage::raise(Balance::RoundRobin);
    let mut out = Vec::new();
    let client = TcpPacket::key(([198, 51, 100, 10], 40_000), (VIP, 80));
    let known = TcpPacket::new(client, ACK).bytes();
    let back = established(&stage, &mut out);
    let not_ours = to(VIP, 22);
    let elsewhere = to([172, 31, 0, 99], 80);
    let many = many_flows(&stage, &mut out);
    let mut turn = many.iter().cycle();
    let mut fresh = Fresh { number: 0 };

    let mut rounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut note = |name, nanoseconds| rounds.entry(name).or_default().push(nanoseconds);
        note(
            "empty_ns",
            average(
                RUNS,
                |out| stage.feed_empty(&known, out).1.as_nanos(),
                &mut out,
            ),
        );
        note(
            "known_flow_ns",
            average(RUNS, |out| stage.feed(&known, out).1.as_nanos(), &mut out),
        );
        note(
            "known_flow_back_ns",
            average(RUNS, |out| stage.feed(&back, out).1.as_nanos(), &mut out),
        );
        note(
            "not_ours_ns",
            average(
                RUNS,
                |out| stage.feed(&not_ours, out).1.as_nanos(),
                &mut out,
            ),
        );
        note(
            "elsewhere_ns",
            average(
                RUNS,
                |out| stage.feed(&elsewhere, out).1.as_nanos(),
                &mut out,
            ),
        );
        let next = |out: &mut Vec<u8>| stage.feed(turn.next().expect("endless"), out).1.as_nanos();
        note("many_flows_ns", average(RUNS, next, &mut out));
        let new = |out: &mut Vec<u8>| stage.feed(&fresh.syn(), out).1.as_nanos();
        note("new_flow_ns", average(RUNS / 8, new, &mut out));
    }
    let counted = stage.dataplane.counters().expect("the kernel's counters");
    let dropped =
        |count: &&lb::dataplane::VerdictCount| count.verdict == "drop" && count.packets > 0;
    assert!(
        counted.verdicts.iter().find(dropped).is_none(),
        "every packet went its way"
    );
    let figures: Vec<String> = rounds
        .into_iter()
        .map(|(name, mut values)| format!("\"{name}\": {:.1}", median(&mut values)))
        .collect();
    println!("{{{}}}", figures.join(", "));
}

/// A packet from the client that is not for a service: to the host itself, as an operator's SSH
/// session, or to a service's port at another address, which takes a look at all tables.
fn to(destination: [u8; 4], port: u16) -> Vec<u8> {
    let key = TcpPacket::key(([198, 51, 100, 10], 40_000), (destination, port));
    TcpPacket::new(key, ACK).bytes()
}

/// Opens the connection of the known flow; returns a packet of the other direction.
fn established(stage: &Stage, out: &mut Vec<u8>) -> Vec<u8> {
    let client = TcpPacket::key(([198, 51, 100, 10], 40_000), (VIP, 80));
    opened(stage, client, out)
}

/// Opens far more connections than a CPU remembers; returns a packet of each from its client.
fn many_flows(stage: &Stage, out: &mut Vec<u8>) -> Vec<Vec<u8>> {
    (0..MANY)
        .map(|number| {
            let [.., high, low] = number.to_be_bytes();
            let client = TcpPacket::key(([198, 18, high, low], 40_000), (VIP, 80));
            opened(stage, client, out);
            TcpPacket::new(client, ACK).bytes()
        })
        .collect()
}

/// Opens a connection; returns a packet from its backend.
fn opened(stage: &Stage, client: FlowKey, out: &mut Vec<u8>) -> Vec<u8> {
    stage.feed(&TcpPacket::new(client, SYN).bytes(), out);
    let octets = |at: usize| [out[at], out[at + 1], out[at + 2], out[at + 3]];
    let port = u16::from_be_bytes([out[34], out[35]]);
    let back = TcpPacket::key((octets(30), 80), (octets(26), port));
    stage.feed(&TcpPacket::new(back, 0x12).bytes(), out);
    let (action, _) = stage.feed(&TcpPacket::new(client, ACK).bytes(), out);
    assert_eq!(action, 3, "XDP_TX: the flow is known");
    TcpPacket::new(back, ACK).bytes()
}

/// SYNs of connections that were never seen.
struct Fresh {
    number: u32,
}

impl Fresh {
    fn syn(&mut self) -> Vec<u8> {
        self.number += 1;
        let [_, a, b, c] = self.number.to_be_bytes();
        let key = TcpPacket::key(([100, 64 + a, b, c], 1024), (VIP, 80));
        TcpPacket::new(key, SYN).bytes()
    }
}

fn average(runs: u32, mut run: impl FnMut(&mut Vec<u8>) -> u128, out: &mut Vec<u8>) -> f64 {
    let total: u128 = (0..runs).map(|_| run(out)).sum();
    total as f64 / f64::from(runs)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
