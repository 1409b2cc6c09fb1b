//! Tests of replication: one host continues the connections of another host.

mod neighbours;

use std::{
    collections::HashSet,
    process::Command,
    time::{Duration, Instant},
};

use lb::{
    config::Balance,
    dataplane::flows::{Chunk, decode, encode},
};
use lb_common::{flow::FlowKey, host::TcpPacket, record::Record, tcp::State};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use crate::{
    ACK, FIN_ACK, RST, SYN, XDP_DROP, XDP_PASS, XDP_TX, client, counted, eventually, on_a_host,
    opened, sent,
    stage::{BACKENDS, FURTHER, MAX_CONNECTIONS, SOURCE_PORTS, Setup, Stage, VIP},
};

const SOON: Duration = Duration::from_secs(20);

/// Creates a test stage (a network namespace with the XDP program) for a second host, whose
/// backends have other indices than those of the first host.
fn other_host() -> Stage {
    let mut backends = BACKENDS;
    backends.reverse();
    Stage::raise_before(Balance::RoundRobin, &backends)
}

/// Returns the chunks of flow records that the active host has sent to its peer since the last
/// call.
pub(crate) fn told(chunks: &mut Receiver<Vec<u8>>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| match chunks.try_recv() {
        Ok(chunk) => Some(chunk),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => panic!("it keeps exporting"),
    })
    .collect()
}

fn is_end(chunk: &[u8]) -> bool {
    matches!(decode(chunk), Ok(Chunk::End { whole: true, .. }))
}

/// Returns the chunks of flow records that the active host sends to its peer until it has sent all
/// flows of its connection table once (a pass).
pub(crate) fn pass(chunks: &mut Receiver<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut pass = Vec::new();
    eventually("a pass ends", SOON, || {
        pass.extend(told(chunks));
        pass.iter().any(|chunk| is_end(chunk))
    });
    pass
}

pub(crate) fn records(chunks: &[Vec<u8>]) -> Vec<Record> {
    let chunks = chunks.iter().map(|bytes| decode(bytes).expect("a chunk"));
    chunks
        .flat_map(|chunk| match chunk {
            Chunk::Records(records) => records,
            Chunk::Begin { .. } | Chunk::End { .. } => Vec::new(),
        })
        .collect()
}

fn import(stage: &Stage, chunks: &[Vec<u8>]) -> usize {
    let flows = stage.dataplane.flows();
    let imported = chunks
        .iter()
        .map(|bytes| flows.import(bytes).expect("it is taken in"));
    imported.map(|imported| imported.flows).sum()
}

/// Returns segments with data for both directions of these connections.
fn segments(connections: &[(FlowKey, FlowKey)]) -> Vec<Vec<u8>> {
    let keys = connections.iter().flat_map(|(there, back)| [*there, *back]);
    keys.map(|key| {
        let payload = b"trickles on".to_vec();
        TcpPacket {
            payload,
            ..TcpPacket::new(key, ACK)
        }
        .bytes()
    })
    .collect()
}

/// Feeds packets to the program; returns for each the XDP action and the packet that results.
fn steered(stage: &Stage, packets: &[Vec<u8>]) -> Vec<(u32, Vec<u8>)> {
    let steered = packets.iter().map(|packet| {
        let mut out = Vec::new();
        let (action, _) = stage.feed(packet, &mut out);
        (action, out)
    });
    steered.collect()
}

/// Asserts that both hosts chose the same backends, source ports, bytes and checksums; shows the
/// first difference.
fn assert_alike(found: &[(u32, Vec<u8>)], expected: &[(u32, Vec<u8>)]) {
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "packet {number}");
    }
}

#[test]
fn the_other_host_carries_connections_on_as_the_first_would_have() {
    let (first, second) = (0..50, 50..100);
    let (chunks, connections, packets, expected) = on_a_host(move || {
        let stage = Stage::raise(Balance::RoundRobin);
        let open = |number| (client(number), opened(&stage, client(number)));
        let mut connections: Vec<_> = first.map(open).collect();
        // The backend does not answer this SYN, so the connection is not exported to the peer.
        sent(&stage, client(1000), SYN);
        let mut receiver = stage.dataplane.flows().export().expect("exporting");
        let mut chunks = pass(&mut receiver);
        connections.extend(second.map(open));
        eventually("changes are exported", SOON, || {
            chunks.extend(told(&mut receiver));
            records(&chunks).len() >= 100
        });
        assert_eq!(records(&chunks).len(), 100);
        let packets = segments(&connections);
        let expected = steered(&stage, &packets);
        (chunks, connections, packets, expected)
    });
    assert!(expected.iter().all(|(action, _)| *action == XDP_TX));

    on_a_host(move || {
        let stage = other_host();
        assert_eq!(import(&stage, &chunks), 100);
        assert_alike(&steered(&stage, &packets), &expected);
        let taken: HashSet<FlowKey> = connections.iter().map(|(_, back)| *back).collect();
        for number in 2000..4000 {
            let back = opened(&stage, client(number));
            assert!(
                !taken.contains(&back),
                "{back:?} is a connection's of the first host"
            );
        }
        // The connections of the first host, which were imported, continue beside those that were
        // opened on this host.
        assert_alike(&steered(&stage, &packets), &expected);
    });
}

#[test]
fn connections_through_a_further_source_address_are_counted_and_not_sent() {
    on_a_host(|| {
        let stage = Stage::raise_as(&Setup {
            balance: Balance::RoundRobin,
            services: &[(80, &BACKENDS)],
            max_connections: MAX_CONNECTIONS,
            source_addresses: &[FURTHER],
        });
        let open = |number| opened(&stage, client(number));
        // Half of the connections are sent to the peer in the first pass over the connection table,
        // the other half when they are established.
        let mut connections: Vec<FlowKey> = (0..50).map(open).collect();
        let mut receiver = stage.dataplane.flows().export().expect("exporting");
        let mut chunks = pass(&mut receiver);
        connections.extend((50..100).map(open));
        let (own, further): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .partition(|back| back.destination == VIP);
        assert!(own.len() > 20 && further.len() > 20, "{further:?}");
        assert!(
            further
                .iter()
                .all(|back| back.destination == FURTHER.octets())
        );
        eventually("all others are exported", SOON, || {
            chunks.extend(told(&mut receiver));
            let skipped = stage.dataplane.flows().counters().skipped;
            records(&chunks).len() >= own.len()
                && skipped.contains(&("source_address", further.len() as u64))
        });
        let mut expected: Vec<_> = own
            .iter()
            .map(|back| (back.source, back.destination_port))
            .collect();
        let mut found: Vec<_> = records(&chunks)
            .iter()
            .map(|one| (one.backend, one.source_port))
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_connection_that_ends_at_the_active_host_ends_at_the_other() {
    let (chunks, back) = on_a_host(|| {
        let stage = Stage::raise(Balance::RoundRobin);
        let mut receiver = stage.dataplane.flows().export().expect("exporting");
        let mut chunks = pass(&mut receiver);
        let back = opened(&stage, client(1));
        sent(&stage, client(1), FIN_ACK);
        sent(&stage, back, FIN_ACK);
        eventually("it is exported", SOON, || {
            chunks.extend(told(&mut receiver));
            records(&chunks).len() == 3
        });
        (chunks, back)
    });
    let states: Vec<u8> = records(&chunks).iter().map(|record| record.state).collect();
    let expected = [State::ESTABLISHED, State::CLOSING_BY_CLIENT, State::CLOSED];
    assert_eq!(states, expected.map(|state| state.0));
    on_a_host(move || {
        let stage = other_host();
        assert_eq!(import(&stage, &chunks), 3);
        // The imported connection is over, so this SYN of its client opens a new flow. Otherwise
        // the SYN would go to the connection's backend.
        let (action, _) = sent(&stage, client(1), SYN);
        assert_eq!(action, XDP_TX);
        let verdicts = stage.dataplane.counters().expect("counters").verdicts;
        let new = verdicts
            .iter()
            .find(|one| (one.verdict, one.reason) == ("transmit", "new_flow"));
        assert_eq!(
            new.expect("is there").packets,
            1,
            "the old one {back:?} is over"
        );
    });
}

/// Returns the record of a flow, as a peer sends it.
fn record(number: u32, backend: u8, source_port: u16) -> Record {
    Record {
        client: client(number),
        backend: [10, 0, 0, backend],
        backend_port: 80,
        source_port,
        state: State::ESTABLISHED.0,
        further_source: 0,
        idle: 0,
        padding: 0,
    }
}

fn bytes(chunks: &[Chunk]) -> Vec<Vec<u8>> {
    chunks.iter().map(encode).collect()
}

#[test]
fn a_whole_pass_removes_flows_that_the_peer_no_longer_has() {
    on_a_host(|| {
        let stage = other_host();
        let [stays, goes] = [record(1, 6, 20_000), record(2, 7, 20_001)];
        let pass = |pass, records: &[Record], whole| {
            let records = Chunk::Records(records.to_vec());
            bytes(&[Chunk::Begin { pass }, records, Chunk::End { pass, whole }])
        };
        let removed = || stage.dataplane.flows().counters().removed;
        let went_on = || {
            let connections = [stays, goes].map(|record| (record.client, record.from_backend()));
            let steered = steered(&stage, &segments(&connections));
            steered
                .iter()
                .map(|(action, _)| *action)
                .collect::<Vec<_>>()
        };
        import(&stage, &pass(1, &[stays, goes], true));
        assert_eq!(went_on(), [XDP_TX; 4]);
        import(&stage, &pass(2, &[stays], false));
        assert_eq!(went_on(), [XDP_TX; 4], "it was not a whole pass");
        let mut passes = 2;
        eventually("one connection goes", SOON, || {
            passes += 1;
            import(&stage, &pass(passes, &[stays], true));
            // In the background, the host removes the flows that a whole pass over the peer's
            // connections did not contain. It stops doing so when the next pass begins, so this
            // pause comes before that.
            std::thread::sleep(Duration::from_millis(300));
            removed() == 1
        });
        assert_eq!(went_on(), [XDP_TX, XDP_TX, XDP_PASS, XDP_PASS]);
        let counters = stage.dataplane.flows().counters();
        assert_eq!(counters.passes_received, u64::from(passes) - 1);
    });
}

#[test]
fn what_this_host_cannot_carry_on_is_left_out_and_counted_by_reason() {
    on_a_host(|| {
        let stage = other_host();
        let other_service = |port| {
            let mut record = record(1, 6, 20_000);
            record.client.destination_port = port;
            record
        };
        let over = Record {
            state: State::CLOSED.0,
            ..record(5, 6, 20_003)
        };
        let reserved = record(3, 6, SOURCE_PORTS.end() + 1);
        let records = vec![
            record(1, 6, 20_000),
            // These two flows cannot be imported: the service of the first does not exist, and that
            // of the second is one that the agent serves itself.
            other_service(81),
            other_service(443),
            record(2, 99, 20_001),
            reserved,
            over,
        ];
        let chunk = encode(&Chunk::Records(records));
        let flows = stage.dataplane.flows();
        assert_eq!(flows.import(&chunk).expect("it is read").flows, 1);
        assert!(flows.import(&chunk[1..]).is_err());
        let counters = flows.counters();
        let left_out: Vec<_> = counters
            .skipped
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            left_out,
            [
                &("unknown_service", 2),
                &("unknown_backend", 1),
                &("source_port", 1),
                &("over", 1)
            ]
        );
        assert_eq!(
            (counters.received, counters.imported, counters.malformed),
            (6, 1, 1)
        );
    });
}

#[test]
fn a_host_that_exports_flows_imports_none_until_it_stops() {
    on_a_host(|| {
        let stage = other_host();
        let flows = stage.dataplane.flows();
        let chunk = encode(&Chunk::Records(vec![record(1, 6, 20_000)]));
        let mut receiver = flows.export().expect("exporting");
        pass(&mut receiver);
        assert_eq!(flows.import(&chunk).expect("it is read").flows, 0);
        drop(receiver);
        eventually("it stops exporting", SOON, || !flows.counters().exporting);
        eventually("it imports connections", SOON, || {
            flows.import(&chunk).expect("it is read").flows == 1
        });
    });
}

#[test]
fn an_active_host_imports_no_flows_even_without_a_peer() {
    on_a_host(|| {
        let stage = other_host();
        let flows = stage.dataplane.flows();
        let chunk = encode(&Chunk::Records(vec![record(1, 6, 20_000)]));
        flows.set_active(true);
        assert_eq!(flows.import(&chunk).expect("it is read").flows, 0);
        let skipped = flows.counters().skipped;
        assert!(skipped.contains(&("active", 1)), "{skipped:?}");
        // An export of flows that began and ended with the link to the peer does not make an active
        // host accept imported flows.
        let mut receiver = flows.export().expect("exporting");
        pass(&mut receiver);
        drop(receiver);
        eventually("it stops exporting", SOON, || !flows.counters().exporting);
        assert_eq!(flows.import(&chunk).expect("it is read").flows, 0);
        flows.set_active(false);
        eventually("it imports connections", SOON, || {
            flows.import(&chunk).expect("it is read").flows == 1
        });
    });
}

#[test]
fn another_connection_in_an_old_one_s_place_leaves_nothing_of_it() {
    on_a_host(|| {
        let stage = other_host();
        // This host had the virtual IP before the import, and other connections use the client's
        // port and the source port that NAT gave the client's connection.
        let old = opened(&stage, client(1));
        let other = opened(&stage, client(2));
        let told = record(1, other.source[3], other.destination_port);
        assert_eq!(import(&stage, &bytes(&[Chunk::Records(vec![told])])), 1);
        let now = steered(&stage, &segments(&[(client(1), told.from_backend())]));
        assert_eq!(now.iter().map(|one| one.0).collect::<Vec<_>>(), [XDP_TX; 2]);
        assert_eq!(
            now[0].1[26..38],
            told_to_backend(&told),
            "the exported port and backend"
        );
        assert_eq!(
            sent(&stage, client(2), ACK).0,
            XDP_PASS,
            "its port is another's"
        );
        assert_eq!(
            sent(&stage, old, ACK).0,
            XDP_PASS,
            "its client has another connection"
        );
    });
}

/// Returns the addresses and ports, in bytes, of a client's packet towards the backend.
fn told_to_backend(record: &Record) -> Vec<u8> {
    let ports = [
        record.source_port.to_be_bytes(),
        record.backend_port.to_be_bytes(),
    ];
    [&VIP[..], &record.backend, ports.as_flattened()].concat()
}

#[test]
fn lost_changes_are_counted_and_sent_in_the_next_pass() {
    const BUSY: u32 = 38_000;
    const LAST: u32 = 500;
    let (chunks, packets, expected) = on_a_host(|| {
        let stage = Stage::raise(Balance::RoundRobin);
        let mut receiver = stage.dataplane.flows().export().expect("exporting");
        let mut chunks = pass(&mut receiver);
        // The receiver of the exported chunks reads nothing: first the channel to it fills up, then
        // the ring buffer of the kernel.
        for number in 0..BUSY {
            let back = opened(&stage, client(number));
            for (key, flags) in [(back, FIN_ACK), (client(number), FIN_ACK), (back, RST)] {
                assert_eq!(sent(&stage, key, flags).0, XDP_TX);
            }
        }
        let last = BUSY..BUSY + LAST;
        let connections: Vec<_> = last
            .map(|number| (client(number), opened(&stage, client(number))))
            .collect();
        let packets = segments(&connections);
        let expected = steered(&stage, &packets);
        eventually("the overflow is counted and a pass follows", SOON, || {
            chunks.extend(told(&mut receiver));
            let passes = chunks.iter().filter(|chunk| is_end(chunk)).count();
            passes == 2 && stage.dataplane.flows().counters().overflowed > u64::from(LAST)
        });
        (chunks, packets, expected)
    });
    on_a_host(move || {
        let stage = other_host();
        import(&stage, &chunks);
        assert_alike(&steered(&stage, &packets), &expected);
    });
}

#[test]
fn a_hundred_thousand_connections_are_carried_over() {
    const MANY: u32 = 100_000;
    let backends: Vec<u8> = (6..26).collect();
    let those = backends.clone();
    let (chunks, packets, expected) = on_a_host(move || {
        let stage = Stage::raise_before(Balance::RoundRobin, &those);
        let connections: Vec<_> = (0..MANY)
            .map(|number| (client(number), opened(&stage, client(number))))
            .collect();
        let began = Instant::now();
        let mut receiver = stage.dataplane.flows().export().expect("exporting");
        let chunks = pass(&mut receiver);
        println!("{MANY} connections exported in {:?}", began.elapsed());
        let packets = segments(&connections[connections.len() - 1000..]);
        let expected = steered(&stage, &packets);
        (chunks, packets, expected)
    });
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    println!("{bytes} bytes in {} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() <= 65_536));
    on_a_host(move || {
        let stage = Stage::raise_before(Balance::RoundRobin, &backends);
        for what in ["taken in", "refreshed"] {
            let began = Instant::now();
            assert_eq!(import(&stage, &chunks), MANY as usize);
            println!("{MANY} connections {what} in {:?}", began.elapsed());
        }
        assert_alike(&steered(&stage, &packets), &expected);
    });
}
