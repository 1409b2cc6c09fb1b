use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use lb_common::backend::BackendState;

use super::*;
use crate::{
    acme::CertificateStatus,
    dataplane::{Attachment, KernelMetrics, PortCounts, Traffic, VerdictCount, XdpMode},
    discovery::{DiscoveryMetrics, DiscoveryReading, QueryCounts, SourceState},
    metrics::{Format, render},
    proxy::{
        BackendConnections, CertificateInfo, DURATION_BOUNDS, Durations, HandshakeCount, Reason,
        ReasonCount, RequestCount,
    },
};

mod pair;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Returns a moment in the year 2027.
fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn traffic(service: &str, backend: Option<&str>) -> Traffic {
    Traffic {
        service: name(service),
        backend: backend.map(name),
        packets_in: 10,
        bytes_in: 1000,
        packets_out: 20,
        bytes_out: 2000,
        connections: 3,
    }
}

fn attachment(interface: &str, mode: XdpMode) -> Attachment {
    Attachment {
        interface: interface.to_owned(),
        mode,
    }
}

fn kernel() -> KernelMetrics {
    KernelMetrics {
        attachments: vec![
            attachment("eth0", XdpMode::Generic),
            attachment("eth1", XdpMode::Native),
        ],
        counters: dataplane::Counters {
            verdicts: vec![VerdictCount {
                verdict: "transmit",
                reason: "flow",
                packets: 60,
            }],
            traffic: vec![
                traffic("http", Some("web1")),
                traffic("http", Some("10.0.0.7:80")),
                traffic("https", None),
            ],
        },
        source_ports: [SourcePorts {
            service: name("http"),
            backend: name("web1"),
            ports: PortCounts {
                held: 7,
                resting: 2,
                free: 1015,
            },
        }]
        .into(),
    }
}

fn pools() -> PoolMetrics {
    let backend = |backend, state| BackendReading {
        pool: name("web"),
        backend: name(backend),
        state,
        ejected: (backend == "web1").then_some(true),
        check: Some(Duration::from_micros(1500)),
    };
    PoolMetrics {
        backends: vec![
            backend("web1", BackendState::Up),
            backend("10.0.0.7:80", BackendState::Draining),
        ],
        pools: vec![(name("web"), false), (name("api"), true)],
    }
}

fn ended(backend: Option<&str>, reason: Reason, count: u64) -> ReasonCount {
    ReasonCount {
        service: name("https"),
        backend: backend.map(|backend| (name("web"), name(backend))),
        reason,
        count,
    }
}

fn answered(backend: Option<&str>, pool: &str, code: u16, count: u64) -> RequestCount {
    RequestCount {
        service: name("https"),
        backend: backend.map(|backend| (name(pool), name(backend))),
        code,
        count,
    }
}

fn front() -> proxy::Counters {
    let mut buckets = [0; DURATION_BOUNDS.len() + 1];
    (buckets[1], buckets[4], buckets[DURATION_BOUNDS.len()]) = (5, 2, 1);
    let https = |count| vec![(name("https"), count)];
    proxy::Counters {
        // Backends that have the same name in two pools are counted in one series.
        requests: vec![
            answered(Some("web1"), "web", 200, 4),
            answered(Some("web1"), "api", 200, 3),
            answered(None, "", 503, 1),
        ],
        routed: vec![
            (name("https"), name("api"), 4),
            (name("https"), name("default"), 5),
        ],
        broken: vec![ended(Some("web1"), Reason::BackendResponseBodyClosed, 2)],
        durations: vec![(name("https"), Durations { buckets, sum: 1.25 })],
        handshakes: vec![HandshakeCount {
            service: name("https"),
            version: "1.3",
            resumed: true,
            count: 4,
        }],
        handshake_failures: vec![ended(None, Reason::ClientHandshakeAlert, 2)],
        open_connections: https(11),
        buffered_bytes: 65536,
        closed: vec![ended(None, Reason::LbKeepAliveRoom, 4)],
        refusals: vec![ended(None, Reason::ClientHeadHost, 3)],
        own_answers: vec![ended(None, Reason::LbQueueNoBackend, 6)],
        retries: https(1),
        retries_refused: https(7),
        queued: https(6),
        queue_waits: https(9),
        queue_rejections: https(2),
        panics: https(0),
        backend_connections: vec![BackendConnections {
            service: name("https"),
            pool: name("web"),
            backend: name("web1"),
            in_use: 5,
            ejections: 3,
        }],
    }
}

fn certificates() -> proxy::CertificateMetrics {
    proxy::CertificateMetrics(vec![CertificateInfo {
        service: name("https"),
        path: r#"/etc/lb/tls/a "quoted" \ name.pem"#.into(),
        names: vec!["example.org".to_owned()],
        not_before: SystemTime::UNIX_EPOCH,
        not_after: later(),
        fingerprint: [0; 32],
    }])
}

fn orders() -> acme::OrderMetrics {
    let progress = CertificateStatus {
        issued: 1,
        refused: 2,
        due: Some(later()),
        ..CertificateStatus::default()
    };
    acme::OrderMetrics(BTreeMap::from([(name("https"), progress)]))
}

fn discovery() -> DiscoveryMetrics {
    DiscoveryMetrics(vec![DiscoveryReading {
        pool: name("web"),
        backends: 4,
        leaving: 1,
        excluded: 2,
        source: SourceState {
            answered: Some(later()),
            failing_since: Some(later()),
            error: None,
        },
        queries: QueryCounts {
            answered: 9,
            empty: 8,
            failed: 7,
        },
    }])
}

/// Returns a registry with the collectors of all modules of the agent, on a host that has no peer.
fn alone() -> Registry {
    let mut registry = Registry::default();
    let build = Build { node: name("lb-a") };
    let log = access_log::Counted {
        written: 9,
        no_room: 8,
        not_written: 7,
    };
    registry.register_collector(Box::new(build));
    registry.register_collector(Box::new(kernel()));
    registry.register_collector(Box::new(pools()));
    registry.register_collector(Box::new(discovery()));
    registry.register_collector(Box::new(front()));
    registry.register_collector(Box::new(log));
    registry.register_collector(Box::new(certificates()));
    registry.register_collector(Box::new(orders()));
    registry
}

/// Returns a registry with the collectors of all modules of the agent, on a host with a peer. It
/// has every metric, even metrics that exclude each other.
fn everything() -> Registry {
    let mut registry = alone();
    pair::register(&mut registry);
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    registry.register_collector(Box::new(ProcessReading::now(started)));
    registry
}

fn text_of(collector: impl Collector) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    render(&registry, Format::Prometheus)
}

/// Returns whether the text of the metrics has this line, in which the encoder may write `.0` after
/// a whole number.
fn has(text: &str, line: &str) -> bool {
    text.lines()
        .any(|found| found == line || found.strip_suffix(".0").is_some_and(|found| found == line))
}

fn assert_has(text: &str, line: &str) {
    assert!(has(text, line), "{line} is missing:\n{text}");
}

#[test]
fn every_sample_stands_where_it_should() {
    let text = render(&everything(), Format::Prometheus);
    for line in [
        r#"lb_build_info{version="0.1.0",node="lb-a"} 1"#,
        r#"lb_xdp_mode{interface="eth0",mode="native"} 0"#,
        r#"lb_xdp_mode{interface="eth0",mode="generic"} 1"#,
        r#"lb_xdp_mode{interface="eth1",mode="native"} 1"#,
        r#"lb_xdp_packets_total{verdict="transmit",reason="flow"} 60"#,
        r#"lb_service_packets_total{service="http",direction="in"} 20"#,
        r#"lb_service_packets_total{service="http",direction="out"} 40"#,
        r#"lb_service_packets_total{service="https",direction="in"} 10"#,
        r#"lb_service_bytes_total{service="http",direction="out"} 4000"#,
        r#"lb_service_connections_total{service="http"} 6"#,
        r#"lb_backend_packets_total{service="http",backend="10.0.0.7:80",direction="in"} 10"#,
        r#"lb_backend_source_ports{service="http",backend="web1",state="held"} 7"#,
        r#"lb_backend_source_ports{service="http",backend="web1",state="resting"} 2"#,
        r#"lb_backend_source_ports{service="http",backend="web1",state="free"} 1015"#,
        r#"lb_backend_up{pool="web",backend="web1"} 1"#,
        r#"lb_backend_up{pool="web",backend="10.0.0.7:80"} 0"#,
        r#"lb_backend_state{pool="web",backend="10.0.0.7:80",state="draining"} 1"#,
        r#"lb_backend_check_seconds{pool="web",backend="web1"} 0.0015"#,
        r#"lb_discovery_backends{pool="web"} 4"#,
        r#"lb_discovery_leaving_backends{pool="web"} 1"#,
        r#"lb_discovery_excluded_backends{pool="web"} 2"#,
        r#"lb_discovery_failing{pool="web"} 1"#,
        r#"lb_discovery_last_answer_timestamp_seconds{pool="web"} 1800000000.0"#,
        r#"lb_discovery_queries_total{pool="web",outcome="answered"} 9"#,
        r#"lb_discovery_queries_total{pool="web",outcome="empty"} 8"#,
        r#"lb_discovery_queries_total{pool="web",outcome="failed"} 7"#,
        r#"lb_http_requests_total{service="https",backend="web1",code="200"} 7"#,
        r#"lb_http_requests_total{service="https",backend="",code="503"} 1"#,
        r#"lb_http_request_seconds_bucket{le="0.01",service="https"} 7"#,
        r#"lb_http_request_seconds_bucket{le="+Inf",service="https"} 8"#,
        r#"lb_http_request_seconds_count{service="https"} 8"#,
        r#"lb_http_request_seconds_sum{service="https"} 1.25"#,
        r#"lb_tls_handshakes_total{version="1.3",resumed="true"} 4"#,
        r#"lb_tls_handshake_failures_total{service="https",reason="client_handshake_alert"} 2"#,
        r#"lb_http_connections{service="https"} 11"#,
        r#"lb_http_refusals_total{service="https",reason="client_head_host"} 3"#,
        r#"lb_http_own_answers_total{service="https",backend="",reason="lb_queue_no_backend"} 6"#,
        "lb_http_buffered_bytes 65536",
        r#"lb_http_connections_closed_total{service="https",reason="lb_keep_alive_room"} 4"#,
        r#"lb_http_retries_total{service="https"} 1"#,
        r#"lb_http_retries_refused_total{service="https"} 7"#,
        r#"lb_http_queued_requests{service="https"} 6"#,
        r#"lb_http_queue_waits_total{service="https"} 9"#,
        r#"lb_http_queue_rejections_total{service="https"} 2"#,
        r#"lb_http_broken_total{service="https",backend="web1",reason="backend_response_body_closed"} 2"#,
        r#"lb_panics_total{service="https"} 0"#,
        "lb_access_log_lines_total 9",
        r#"lb_access_log_dropped_total{reason="no_room"} 8"#,
        r#"lb_access_log_dropped_total{reason="not_written"} 7"#,
        r#"lb_backend_connections{service="https",backend="web1"} 5"#,
        r#"lb_backend_ejected{pool="web",backend="web1"} 1"#,
        r#"lb_backend_ejections_total{service="https",backend="web1"} 3"#,
        r#"lb_acme_orders_total{service="https",outcome="refused"} 2"#,
        r#"lb_acme_renewal_due_seconds{service="https"} 1800000000.0"#,
        "process_start_time_seconds 1700000000",
    ] {
        assert_has(&text, line);
    }
    assert!(
        !text.contains(r#"service="https",direction="out""#),
        "XDP sees only what comes in"
    );
    assert!(
        !text.contains(r#"lb_backend_packets_total{service="https""#),
        "the kernel chose no backend there"
    );
}

#[test]
fn promtool_has_nothing_to_say() {
    let text = render(&everything(), Format::Prometheus);
    let Some(said) = promtool(&["check", "metrics"], &text) else {
        return;
    };
    assert_eq!(said, Ok(String::new()));
}

/// Runs promtool on `input`. Returns its output, or an error if it rejects the input. Returns
/// `None` if promtool is not installed (`cargo xtask setup` installs it), so that the other tests
/// still run.
fn promtool(arguments: &[&str], input: &str) -> Option<Result<String, String>> {
    let mut promtool = match Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no promtool");
            return None;
        }
        Err(error) => panic!("promtool does not start: {error}"),
    };
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some(if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    })
}

#[test]
fn each_family_is_exported_once_with_its_type_and_labels() {
    let text = render(&everything(), Format::Prometheus);
    let types: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let wanted: Vec<_> = metric_families()
        .map(|family| (family.name, family.kind.as_str()))
        .collect();
    assert_eq!(types, wanted);
}

#[test]
fn open_metrics_ends_as_it_has_to() {
    let text = render(&everything(), Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE lb_xdp_packets counter\n"));
}

/// The page of the documentation that lists the metrics.
const PAGE: &str = include_str!("../../../../../docs/metrics.md");

/// Returns the metrics in the tables of `docs/metrics.md`, whose rows are `| name | type | labels |
/// meaning |`: by name, the type and the labels of each.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = PAGE.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let labels = cells
            .get(3)?
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| *label != "–").map(str::to_owned);
        Some((
            name.to_owned(),
            ((*cells.get(2)?).to_owned(), labels.collect()),
        ))
    });
    rows.collect()
}

#[test]
fn the_reference_lists_exactly_what_is_exported() {
    let exported = metric_families().map(|family| {
        let labels = family.labels.iter().map(|label| (*label).to_owned());
        let kind = family.kind.as_str().to_owned();
        (family.name.to_owned(), (kind, labels.collect()))
    });
    assert_eq!(documented(), exported.collect());
}

/// Returns the PromQL queries and alerts in `docs/metrics.md`, from rows such as `| words |
/// `expression` …`.
fn expressions() -> Vec<&'static str> {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let words = cells.next()?;
        let expression = cells.next()?.strip_prefix('`')?;
        let is_query = !words.starts_with('`');
        is_query.then(|| expression.split('`').next()).flatten()
    });
    rows.collect()
}

#[test]
fn the_reference_asks_only_for_what_is_exported() {
    let is_exported = |word: &str| {
        metric_families().any(|family| {
            let rest = word.strip_prefix(family.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        })
    };
    let expressions = expressions();
    assert!(expressions.len() > 10, "{expressions:?}");
    for expression in expressions {
        let words = expression.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
        let unknown = words.filter(|word| word.starts_with("lb_") && !is_exported(word));
        assert_eq!(unknown.collect::<Vec<_>>(), [""; 0], "{expression}");
    }
}

#[test]
fn prometheus_takes_every_query_of_the_reference() {
    let mut rules = "groups:\n- name: reference\n  rules:\n".to_owned();
    for (index, expression) in expressions().into_iter().enumerate() {
        let quoted = expression.replace('\'', "''");
        rules.push_str(&format!("  - alert: rule_{index}\n    expr: '{quoted}'\n"));
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &rules).expect("written");
    let path = file.path().to_str().expect("text");
    if let Some(said) = promtool(&["check", "rules", path], "") {
        let said = said.unwrap_or_else(|said| panic!("{said}\n{rules}"));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}
