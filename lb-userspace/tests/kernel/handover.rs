//! Tests that the XDP program holds new connections (drops their SYNs) while a host hands the
//! active role over to its peer.

use lb::{
    config::{self, Balance},
    dataplane::Dataplane,
};
use lb_common::host::TcpPacket;

use crate::{
    ACK, SYN, XDP_DROP, XDP_PASS, XDP_TX, client, counted, on_a_host, opened, sent,
    stage::{self, Stage, VIP},
};

#[test]
fn a_held_syn_is_dropped_and_counted_and_passes_after_the_release() {
    on_a_host(|| {
        let stage = Stage::raise(Balance::RoundRobin);
        let back = opened(&stage, client(1));
        let to_agent = TcpPacket::key(([198, 51, 100, 10], 40_000), (VIP, 443));
        let to_host = TcpPacket::key(([198, 51, 100, 10], 40_000), (VIP, 22));

        stage.dataplane.hold(true).expect("the kernel agrees");
        for key in [client(2), to_agent] {
            let (action, bytes) = sent(&stage, key, SYN);
            assert_eq!(action, XDP_DROP);
            assert_eq!(bytes, TcpPacket::new(key, SYN).bytes(), "without a word");
        }
        assert_eq!(counted(&stage, "drop", "held"), 2);
        for key in [client(1), back] {
            assert_eq!(sent(&stage, key, ACK).0, XDP_TX, "it goes on");
        }
        assert_eq!(sent(&stage, to_agent, ACK).0, XDP_PASS);
        assert_eq!(sent(&stage, to_host, SYN).0, XDP_PASS, "it is not ours");

        stage.dataplane.hold(false).expect("the kernel agrees");
        assert_eq!(sent(&stage, client(2), SYN).0, XDP_TX);
        assert_eq!(sent(&stage, to_agent, SYN).0, XDP_PASS);
        assert_eq!(counted(&stage, "drop", "held"), 2);
    });
}

#[test]
fn the_next_agent_ends_a_hold_and_its_flows_go_on() {
    on_a_host(|| {
        let mut stage = Stage::raise(Balance::RoundRobin);
        let back = opened(&stage, client(1));
        stage.dataplane.hold(true).expect("the kernel agrees");
        assert_eq!(sent(&stage, client(2), SYN).0, XDP_DROP);
        // The agent is replaced during a hold (the XDP program drops the SYNs of new connections).
        // Dropping the first agent's data plane releases the lock on the pins.
        stage.dataplane = replaced(stage.dataplane, &stage::settings());
        assert!(stage.dataplane.adopted());
        assert_eq!(sent(&stage, client(2), SYN).0, XDP_TX);
        assert_eq!(sent(&stage, back, ACK).0, XDP_TX);
    });
}

/// Replaces an agent by another one: drops its data plane `dataplane`, and returns a data plane
/// that has adopted the pins of the first.
pub(crate) fn replaced(dataplane: Dataplane, settings: &config::Dataplane) -> Dataplane {
    drop(dataplane);
    Dataplane::open(&stage::node(), settings, None).expect("the pins are adopted")
}
