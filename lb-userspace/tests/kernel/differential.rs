//! Differential test: the XDP program in the kernel, and the same packet logic compiled as a
//! library for the host, turn the same packets into the same bytes with the same verdicts.

use std::{collections::HashMap, time::Duration};

use lb::config::Balance;
use lb_common::{
    host::HostTables,
    limits::HOLD_SECONDS,
    service::Pick,
    verdict::{COUNTERS, Verdict},
};

use crate::{
    eventually, on_a_host,
    pair::{pass, records, told},
    stage::{BACKENDS, Setup, Stage},
};

mod clock;
mod tables;
mod traffic;

use clock::{Clock, Seen};
use tables::{DNAT_PORT, ENTRIES, host_tables, small};
use traffic::Traffic;

/// Number of packets that a test sends unless `LB_DIFFERENTIAL_PACKETS` sets another number.
const PACKETS: usize = 20_000;

/// Returns the number of packets that a test sends.
fn packets() -> usize {
    std::env::var("LB_DIFFERENTIAL_PACKETS")
        .map_or(PACKETS, |text| text.parse().expect("a number of packets"))
}

#[test]
fn host_and_kernel_give_each_packet_the_same_bytes_and_verdict() {
    for (balance, pick) in [
        (Balance::RoundRobin, Pick::RoundRobin),
        (Balance::Maglev, Pick::FlowHash),
    ] {
        on_a_host(move || {
            let stage = Stage::raise_as(&Setup {
                balance,
                services: &[(80, &BACKENDS)],
                max_connections: ENTRIES / 4,
                source_addresses: &[],
            });
            let mut host = host_tables(&stage, pick);
            host.rebuild();
            let traffic = Traffic::new(&[80]);
            let kernel = compare(&stage, host, traffic);
            assert!(kernel[&("drop", "held")] > 0, "{kernel:?}");
            let steered = kernel[&("transmit", "flow")] + kernel[&("transmit", "new_flow")];
            assert!(
                steered > packets() as u64 / 8,
                "only {steered} packets were steered"
            );
        });
    }
}

#[test]
fn host_and_kernel_agree_where_tables_fill_and_ports_run_out() {
    for (balance, pick) in [
        (Balance::RoundRobin, Pick::RoundRobin),
        (Balance::Source, Pick::SourceHash),
    ] {
        on_a_host(move || {
            let (stage, host) = small(balance, pick);
            let traffic = Traffic::new(&[80, 80, DNAT_PORT]);
            let kernel = compare(&stage, host, traffic);
            for what in [
                ("drop", "table_full"),
                ("drop", "no_source_port"),
                ("drop", "refused"),
                ("transmit", "retried"),
                ("redirect", "flow"),
                ("redirect", "new_flow"),
                ("redirect", "retried"),
            ] {
                assert!(kernel[&what] > 0, "no {what:?}: {kernel:?}");
            }
        });
    }
}

/// Feeds packets to the XDP program in the kernel and to the library with the same packet logic,
/// compares the results, and returns the kernel's counters.
fn compare(
    stage: &Stage,
    mut host: HostTables,
    mut traffic: Traffic,
) -> HashMap<(&'static str, &'static str), u64> {
    let mut out = Vec::new();
    let mut changes = stage.dataplane.flows().export().expect("it tells");
    let mut told_by_kernel = records(&pass(&mut changes));
    let mut told_by_host = Vec::new();
    host.settings.export = 1;
    let mut clock = Clock::new(host.settings.hertz);
    let seen = Seen::of_table();
    seen.set_clock(&mut clock, stage, &mut host);
    for number in 0..packets() {
        let packet = traffic.next();
        host.now = clock.early_in_a_tick();
        hold_now_and_then(number, stage, &mut host);
        if number < PACKETS {
            let (control, _) = stage.feed_empty(&packet, &mut out);
            assert_eq!(
                (control, &out),
                (2, &packet),
                "the way to the kernel and back changes nothing"
            );
            host.now = clock.early_in_a_tick();
        }
        let (action, _) = stage.feed(&packet, &mut out);
        if clock.has_moved() {
            host.now = seen.last_after(host.now);
        }
        let mut bytes = packet.clone();
        let verdict = host.steer(&mut bytes);
        assert_eq!(
            (action, &out),
            (action_of(verdict), &bytes),
            "packet {number} ({verdict:?} on the host): {packet:02x?}"
        );
        traffic.learn(verdict, &packet, &bytes);
        // The kernel's ring buffer of exported changes of connections is read here, before it
        // overflows.
        if number % 1000 == 999 {
            told_by_host.extend(host.take_exported());
            told_by_kernel.extend(records(&told(&mut changes)));
            let told = told_by_kernel.len().min(told_by_host.len());
            assert_eq!(told_by_kernel[..told], told_by_host[..told]);
            told_by_kernel.drain(..told);
            told_by_host.drain(..told);
            traffic.told += told;
        }
    }
    told_by_host.extend(host.take_exported());
    eventually("the kernel tells as much", Duration::from_secs(20), || {
        told_by_kernel.extend(records(&told(&mut changes)));
        told_by_kernel.len() >= told_by_host.len()
    });
    assert_eq!(told_by_kernel, told_by_host);
    let told = traffic.told + told_by_host.len();
    assert!(told > packets() / 500, "{told}");
    let counted = stage.dataplane.counters().expect("the kernel's counters");
    let kernel: HashMap<_, _> = counted
        .verdicts
        .iter()
        .map(|count| ((count.verdict, count.reason), count.packets))
        .collect();
    for counter in COUNTERS {
        let here = host.counted_at(counter.index);
        assert_eq!(
            kernel[&(counter.verdict, counter.reason)],
            here,
            "{counter:?}"
        );
    }
    assert!(
        kernel.values().filter(|&&packets| packets > 0).count() >= 12,
        "{kernel:?}"
    );
    println!("{} packets: {kernel:?}", packets());
    kernel
}

/// Makes both the XDP program in the kernel and the library with the same packet logic hold new
/// connections (drop their SYNs) during the last hundred of every thousand packets.
fn hold_now_and_then(number: usize, stage: &Stage, host: &mut HostTables) {
    let turn = number % 1000;
    if turn == 900 || turn == 0 {
        let on = turn == 900;
        stage.dataplane.hold(on).expect("the kernel agrees");
        host.settings.hold = u8::from(on);
        host.settings.held_until = host.now.0.wrapping_add(host.settings.hertz * HOLD_SECONDS);
    }
}

/// Returns the XDP action that corresponds to a verdict (linux/bpf.h, `enum xdp_action`).
fn action_of(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) => 1,
        Verdict::Pass(_) => 2,
        Verdict::Transmit(_) => 3,
        Verdict::Redirect(..) => 4,
    }
}
