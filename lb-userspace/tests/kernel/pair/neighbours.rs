//! Tests of the next hops of connections that were imported from the peer.

use super::*;

#[test]
fn the_network_is_asked_for_a_client_next_door_when_its_answers_are_dropped() {
    on_a_host(|| {
        let stage = other_host();
        let neighbour = [172, 31, 0, 99];
        let mut told = record(1, 6, 20_000);
        told.client.source = neighbour;
        assert_eq!(import(&stage, &bytes(&[Chunk::Records(vec![told])])), 1);
        let answer = || sent(&stage, told.from_backend(), ACK).0;
        assert_eq!((answer(), neighbours()), (XDP_DROP, String::new()));
        assert_eq!(counted(&stage, "drop", "no_neighbour"), 1);
        eventually("it is asked for", SOON, || !neighbours().is_empty());
        ip("neighbour replace 172.31.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud reachable");
        assert_eq!(answer(), XDP_TX);
    });
}

/// Returns the host's neighbour entry of the client 172.31.0.99, as `ip` prints it.
fn neighbours() -> String {
    ip("neighbour show 172.31.0.99")
}

fn ip(arguments: &str) -> String {
    let done = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("ip runs");
    assert!(
        done.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}
