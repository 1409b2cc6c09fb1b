//! Tests of the XDP program in the kernel, driven by the agent's code.
//!
//! Needs root, because each test moves its thread to a network namespace.

mod concurrent;
mod differential;
mod handover;
mod pair;
mod pins;
mod rings;
#[path = "../stage/mod.rs"]
mod stage;
mod verified;

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_common::{flow::FlowKey, host::TcpPacket};
use stage::{Stage, VIP};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Runs a closure on a new thread. The test stage that the closure creates moves that thread to a
/// network namespace.
fn on_a_host<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(act)
        .join()
        .expect("the host's thread ends well")
}

/// Waits until a condition holds; fails after the time `limit`.
fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the addresses and ports of the packets that client number `number` sends to the steered
/// service.
fn client(number: u32) -> FlowKey {
    let [_, a, b, c] = number.to_be_bytes();
    TcpPacket::key(([100, 64 + a, b, c], 40_000), (VIP, 80))
}

/// Feeds one packet with these TCP flags. Returns the XDP action and the packet that results.
fn sent(stage: &Stage, key: FlowKey, flags: u8) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    let (action, _) = stage.feed(&TcpPacket::new(key, flags).bytes(), &mut out);
    (action, out)
}

/// Opens a connection; returns the addresses and ports of its backend's packets.
fn opened(stage: &Stage, client: FlowKey) -> FlowKey {
    let (action, out) = sent(stage, client, SYN);
    assert_eq!(action, XDP_TX, "a new flow");
    let octets = |at: usize| [out[at], out[at + 1], out[at + 2], out[at + 3]];
    let port = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
    let back = TcpPacket::key((octets(30), port(36)), (octets(26), port(34)));
    assert_eq!(sent(stage, back, SYN_ACK).0, XDP_TX);
    assert_eq!(sent(stage, client, ACK).0, XDP_TX);
    back
}

/// Returns the number of packets that were counted with this verdict and this reason.
fn counted(stage: &Stage, verdict: &str, reason: &str) -> u64 {
    let counters = stage.dataplane.counters().expect("the kernel's counters");
    let mut counts = counters.verdicts.iter();
    counts
        .find(|count| (count.verdict, count.reason) == (verdict, reason))
        .expect("there is such a reason")
        .packets
}
