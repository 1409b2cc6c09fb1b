use std::time::Instant;

use lb_ha::vrrp::{Cause, State};

use super::*;
use crate::{
    admin::AddressOwner,
    aws::{self, CallCount, Operation, OperationDurations},
    config::InterfaceAddress,
    dataplane::flows::FlowCounters,
    ha::{
        address::{AddressesView, Want},
        adverts,
        notify::{NotifyView, Outcome, Role},
        track::{Effect, Fact, Looks, Tracked, What},
    },
    peer::{Connected, PeerInfo, Refusal, View},
};

fn role(state: State) -> role::RoleMetrics {
    role::RoleMetrics {
        state,
        priority: 110,
        stepped_back: false,
        transitions: BTreeMap::from([
            ((State::Backup, Cause::Started), 1),
            ((State::Master, Cause::Silence), 1),
        ]),
    }
}

fn tracked(what: What, well: bool) -> Tracked {
    Tracked {
        fact: Fact {
            what,
            effect: Effect::Fault,
            well: Some(well),
            message: String::new(),
        },
        since: SystemTime::UNIX_EPOCH,
        looks: Looks::default(),
    }
}

fn addresses() -> AddressesView {
    let moving = InterfaceAddress {
        address: "172.31.0.200".parse().expect("an address"),
        prefix: 20,
    };
    let mut view = AddressesView::unseen("eth0", &[moving]);
    view.addresses[0].1 = true;
    view.want = Want::Held;
    view
}

fn ha() -> HaMetrics {
    let mut adverts = adverts::Counters {
        sent: 1000,
        received: 17,
        send_errors: 2,
        ..adverts::Counters::default()
    };
    adverts.refused.insert("source", 3);
    HaMetrics {
        adverts,
        tracked: vec![
            tracked(What::Interface("eth0".to_owned()), true),
            tracked(What::Script(name("disk")), false),
        ],
        notified: NotifyView {
            runs: BTreeMap::from([((Role::Master, Outcome::Succeeded), 1)]),
            ..NotifyView::default()
        },
        addresses: Some(addresses()),
    }
}

fn elastic_ip() -> elastic_ip::ElasticIpMetrics {
    let call = |operation, outcome, count| CallCount {
        operation,
        outcome,
        count,
    };
    let mut buckets = [0; aws::DURATION_BOUNDS.len() + 1];
    (buckets[4], buckets[7], buckets[aws::DURATION_BOUNDS.len()]) = (3, 1, 1);
    elastic_ip::ElasticIpMetrics {
        owner: AddressOwner::This,
        confirmed: Some(later()),
        counters: aws::Counters {
            calls: vec![
                call(Operation::AssociateAddress, "ok", 1),
                call(Operation::DescribeAddresses, "throttled", 4),
            ],
            durations: vec![OperationDurations {
                operation: Operation::DescribeAddresses,
                durations: aws::Durations { buckets, sum: 6.5 },
            }],
            last_error: None,
        },
        moves: 1,
    }
}

fn link() -> View {
    let traffic = |bytes| peer::Traffic { bytes, frames: 1 };
    View {
        dials: true,
        connected: Some(Connected {
            peer: PeerInfo {
                node: "lb-b".to_owned(),
                version: "0.1.0".to_owned(),
                address: "172.31.15.233".parse().expect("an address"),
                session: 1,
            },
            since: SystemTime::UNIX_EPOCH,
            round_trip: Some(Duration::from_micros(500)),
        }),
        ups: 1,
        downs: vec![(peer::DownReason::MALFORMED, 2)],
        sent: traffic(8192),
        received: traffic(4096),
        refused: vec![(Refusal::Secret, 5)],
        unreached: 0,
        dropped_words: 0,
        problem: None,
    }
}

fn flows() -> FlowMetrics {
    FlowMetrics {
        counters: FlowCounters {
            sent: 12_345,
            received: 18,
            imported: 17,
            overflowed: 6,
            last_pass_ended: Some(Instant::now()),
            skipped: vec![("table_full", 1)],
            ..FlowCounters::default()
        },
        synced: true,
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(role(State::Master)));
    registry.register_collector(Box::new(ha()));
    registry.register_collector(Box::new(elastic_ip()));
    registry.register_collector(Box::new(link()));
    registry.register_collector(Box::new(flows()));
}

#[test]
fn every_sample_of_the_pair_stands_where_it_should() {
    let text = render(&everything(), Format::Prometheus);
    for line in [
        r#"lb_vrrp_state{state="master"} 1"#,
        r#"lb_vrrp_state{state="backup"} 0"#,
        "lb_vrrp_priority 110",
        "lb_vrrp_stepped_back 0",
        "lb_vrrp_adverts_sent_total 1000",
        "lb_vrrp_adverts_received_total 17",
        r#"lb_vrrp_adverts_refused_total{reason="checksum"} 0"#,
        r#"lb_vrrp_adverts_refused_total{reason="source"} 3"#,
        "lb_vrrp_advert_errors_total 2",
        r#"lb_failovers_total{reason="silence"} 1"#,
        r#"lb_failovers_total{reason="preemption"} 0"#,
        r#"lb_vrrp_transitions_total{state="backup",reason="started"} 1"#,
        r#"lb_vrrp_transitions_total{state="fault",reason="fault"} 0"#,
        r#"lb_elastic_ip_owner{owner="self"} 1"#,
        r#"lb_elastic_ip_owner{owner="nobody"} 0"#,
        "lb_elastic_ip_confirmed_timestamp_seconds 1800000000",
        r#"lb_elastic_ip_calls_total{operation="DescribeAddresses",outcome="throttled"} 4"#,
        r#"lb_elastic_ip_call_seconds_bucket{le="1.0",operation="DescribeAddresses"} 4"#,
        r#"lb_elastic_ip_call_seconds_bucket{le="+Inf",operation="DescribeAddresses"} 5"#,
        r#"lb_elastic_ip_call_seconds_sum{operation="DescribeAddresses"} 6.5"#,
        "lb_elastic_ip_moves_total 1",
        "lb_virtual_ip_held 1",
        "lb_peer_link_up 1",
        "lb_peer_link_lag_seconds 0.0005",
        r#"lb_peer_link_refused_total{reason="secret"} 5"#,
        r#"lb_peer_link_refused_total{reason="malformed"} 2"#,
        r#"lb_peer_link_bytes_total{direction="in"} 4096"#,
        r#"lb_peer_link_bytes_total{direction="out"} 8192"#,
        "lb_peer_flows_synced 1",
        "lb_peer_flows_sent_total 12345",
        "lb_peer_flows_received_total 17",
        r#"lb_peer_flows_skipped_total{reason="table_full"} 1"#,
        "lb_peer_flow_events_lost_total 6",
        r#"lb_track_ok{name="interface eth0"} 1"#,
        r#"lb_track_ok{name="script disk"} 0"#,
        r#"lb_notify_runs_total{state="master",outcome="succeeded"} 1"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn each_change_of_state_that_can_happen_is_counted_from_0() {
    let text = text_of(role::RoleMetrics {
        transitions: BTreeMap::new(),
        ..role(State::Init)
    });
    let samples = |family: &str| -> BTreeSet<String> {
        let lines = text.lines();
        let samples = lines.filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
        samples.map(str::to_owned).collect()
    };
    let wanted = [
        ("init", vec!["stopped"]),
        (
            "backup",
            vec![
                "started",
                "handover",
                "higher_priority",
                "recovered",
                "stepped_back",
            ],
        ),
        ("master", FAILOVERS.to_vec()),
        ("fault", vec!["fault"]),
    ];
    let wanted = wanted.iter().flat_map(|(state, reasons)| {
        let line = move |reason| format!(r#"state="{state}",reason="{reason}"}} 0"#);
        reasons.iter().map(line)
    });
    assert_eq!(samples("lb_vrrp_transitions_total"), wanted.collect());
    let failovers = FAILOVERS.map(|reason| format!(r#"reason="{reason}"}} 0"#));
    assert_eq!(samples("lb_failovers_total"), failovers.into());
}

/// The reasons for which a host becomes active.
const FAILOVERS: [&str; 5] = [
    "silence",
    "goodbye",
    "preemption",
    "handover",
    "address_here",
];

#[test]
fn exactly_one_state_is_1() {
    for state in [State::Init, State::Backup, State::Master, State::Fault] {
        let text = text_of(role(state));
        let state = state.as_str();
        let states = text
            .lines()
            .filter(|line| line.starts_with("lb_vrrp_state{"));
        let ones: Vec<_> = states.filter(|line| !line.contains("} 0")).collect();
        assert_eq!(ones.len(), 1, "{text}");
        assert_has(&text, &format!(r#"lb_vrrp_state{{state="{state}"}} 1"#));
    }
}

#[test]
fn a_host_that_is_alone_exports_nothing_of_a_pair() {
    let text = render(&alone(), Format::Prometheus);
    for family in [
        "vrrp",
        "failovers",
        "elastic_ip",
        "virtual_ip",
        "peer",
        "track",
        "notify",
    ] {
        assert!(!text.contains(&format!("lb_{family}")), "{family}:\n{text}");
    }
}

#[test]
fn what_a_pair_does_not_have_is_absent() {
    let text = text_of(HaMetrics {
        addresses: None,
        ..ha()
    });
    assert!(!text.contains("lb_virtual_ip"), "{text}");
    let text = text_of(View {
        connected: None,
        ..link()
    });
    assert_has(&text, "lb_peer_link_up 0");
    assert!(!text.contains("lb_peer_link_lag"), "{text}");
}

#[test]
fn an_address_that_was_never_confirmed_has_no_time() {
    let text = text_of(elastic_ip::ElasticIpMetrics {
        owner: AddressOwner::Unknown,
        confirmed: None,
        ..elastic_ip()
    });
    assert_has(&text, r#"lb_elastic_ip_owner{owner="unknown"} 1"#);
    assert!(!text.contains("confirmed_timestamp"), "{text}");
}
