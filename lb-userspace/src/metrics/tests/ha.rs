use super::*;

/// A host that has something of everything, even what excludes each other.
pub(super) fn reading() -> HaReading {
    HaReading {
        state: "master",
        priority: 110,
        stepped_back: false,
        adverts_sent: 1000,
        adverts_received: 17,
        adverts_refused: vec![("checksum", 0), ("source", 3)],
        advert_errors: 2,
        failovers: vec![("silence", 1), ("handover", 0)],
        transitions: vec![("backup", "started", 1), ("master", "silence", 1)],
        tracked: vec![("interface".to_owned(), true), ("disk".to_owned(), false)],
        notify_runs: vec![("master", "success", 1)],
        elastic_ip: Some(ElasticIpReading {
            owner: "self",
            confirmed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            calls: vec![
                ("AssociateAddress", "ok", 1),
                ("DescribeAddresses", "throttled", 4),
            ],
            call_seconds: vec![CallSecondsReading {
                operation: "DescribeAddresses",
                buckets: vec![(0.1, 3), (1.0, 1), (f64::INFINITY, 1)],
                sum: 6.5,
            }],
            moves: 1,
        }),
        virtual_ip_held: Some(true),
        link: Some(LinkReading {
            up: true,
            lag: Some(0.0005),
            refused: vec![("secret", 5)],
            bytes_in: 4096,
            bytes_out: 8192,
        }),
        flows: Some(FlowsReading {
            synced: true,
            sent: 12_345,
            received: 17,
            skipped: vec![("table_full", 1)],
            events_lost: 6,
        }),
    }
}

fn rendered(ha: Option<HaReading>) -> String {
    let readings = Readings { ha, ..readings() };
    render(readings, Format::Prometheus)
}

#[test]
fn every_sample_of_the_pair_stands_where_it_should() {
    let text = rendered(Some(reading()));
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
        r#"lb_vrrp_transitions_total{state="backup",reason="started"} 1"#,
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
        r#"lb_peer_link_bytes_total{direction="in"} 4096"#,
        r#"lb_peer_link_bytes_total{direction="out"} 8192"#,
        "lb_peer_flows_synced 1",
        "lb_peer_flows_sent_total 12345",
        "lb_peer_flows_received_total 17",
        r#"lb_peer_flows_skipped_total{reason="table_full"} 1"#,
        "lb_peer_flow_events_lost_total 6",
        r#"lb_track_ok{name="interface"} 1"#,
        r#"lb_track_ok{name="disk"} 0"#,
        r#"lb_notify_runs_total{state="master",outcome="success"} 1"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn exactly_one_state_is_1() {
    for state in ["init", "backup", "master", "fault"] {
        let text = rendered(Some(HaReading {
            state,
            ..HaReading::default()
        }));
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
    let text = rendered(None);
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
    let text = rendered(Some(HaReading {
        state: "backup",
        virtual_ip_held: Some(false),
        ..HaReading::default()
    }));
    assert_has(&text, r#"lb_vrrp_state{state="backup"} 1"#);
    assert_has(&text, "lb_virtual_ip_held 0");
    for family in ["lb_elastic_ip", "lb_peer"] {
        assert!(!text.contains(family), "{family}:\n{text}");
    }
}

#[test]
fn an_address_that_was_never_confirmed_has_no_time() {
    let text = rendered(Some(HaReading {
        elastic_ip: Some(ElasticIpReading {
            owner: "unknown",
            ..ElasticIpReading::default()
        }),
        ..HaReading::default()
    }));
    assert_has(&text, r#"lb_elastic_ip_owner{owner="unknown"} 1"#);
    assert!(!text.contains("confirmed_timestamp"), "{text}");
}
