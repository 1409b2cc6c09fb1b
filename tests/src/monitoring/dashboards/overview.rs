//! The dashboard that shows whether both hosts of a pair work, which one is active, and what
//! clients get.

use super::{Dashboard, Panel, UP, lines, stacked, stat, table, timeline};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-overview",
    title: "lb: overview of the pair",
    description: "Whether both hosts work, which one is active, and what clients get.",
    hosts: "lb_build_info",
    job: "lb",
    rows: &[
        ("The pair", PAIR),
        ("Clients", CLIENTS),
        ("Backends", BACKENDS),
        ("Discovery", DISCOVERY),
    ],
};

const PAIR: &[Panel] = &[
    stat(
        "Agents",
        "none",
        "Whether the agent of each host answers Prometheus.",
        &[(r#"up{job="$job",instance=~"$instance"}"#, "{{instance}}")],
    )
    .words(UP)
    .low(&[(1.0, "green")]),
    stat(
        "Active hosts",
        "none",
        "Number of hosts that are active: 1 in a healthy pair.",
        &[(
            r#"sum by (pair) (lb_vrrp_state{job="$job",state="master"})"#,
            "active hosts",
        )],
    )
    .low(&[(1.0, "green"), (2.0, "red")]),
    stat(
        "Link",
        "none",
        "Whether the link to the other agent is up, on each host.",
        &[(
            r#"lb_peer_link_up{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .words(UP)
    .low(&[(1.0, "green")]),
    stat(
        "Backends that are not up",
        "none",
        "Number of backends that are draining or down, as each host sees them.",
        &[(
            r#"count by (instance) (lb_backend_up{job="$job",instance=~"$instance"}) - sum by (instance) (lb_backend_up{job="$job",instance=~"$instance"})"#,
            "{{instance}}",
        )],
    )
    .limits(&[(1.0, "yellow"), (3.0, "red")]),
    stat(
        "Next expiry of a certificate",
        "s",
        "Time until the first certificate expires.",
        &[(
            r#"min(lb_certificate_expiry_seconds{job="$job",instance=~"$instance"} - time())"#,
            "first",
        )],
    )
    .low(&[(86_400.0, "orange"), (432_000.0, "green")]),
    stat(
        "Alerts that fire",
        "none",
        "Number of alerts of the rules of lb that fire now; the runbook has an entry for each.",
        &[(
            r#"count(ALERTS{alertstate="firing"}) or vector(0)"#,
            "alerts",
        )],
    )
    .limits(&[(1.0, "red")]),
    timeline(
        "Active host",
        "Which host is active: exactly one at any time, but for a moment during a change.",
        &[(
            r#"lb_vrrp_state{job="$job",instance=~"$instance",state="master"}"#,
            "{{instance}}",
        )],
        &[("0", "standby", "blue"), ("1", "active", "green")],
    ),
    table(
        "Hosts",
        "none",
        "Version and name of each agent.",
        &[(r#"lb_build_info{job="$job",instance=~"$instance"}"#, "")],
    ),
];

const CLIENTS: &[Panel] = &[
    stacked(
        "Requests",
        "reqps",
        "Requests per second of each service that the agent serves.",
        &[(
            r#"sum by (service) (rate(lb_http_requests_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}}",
        )],
    ),
    lines(
        "Requests that fail",
        "percentunit",
        "Share of the requests that were answered with 5xx.",
        &[(
            r#"sum by (service) (rate(lb_http_requests_total{job="$job",instance=~"$instance",code=~"5.."}[$__rate_interval])) / sum by (service) (rate(lb_http_requests_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}}",
        )],
    )
    .limits(&[(0.01, "yellow"), (0.05, "red")]),
    lines(
        "Slowest 1 %",
        "s",
        "Time within which 99 % of the requests were answered.",
        &[(
            r#"histogram_quantile(0.99, sum by (service, le) (rate(lb_http_request_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
            "{{service}}",
        )],
    )
    .limits(&[(1.0, "yellow"), (2.0, "red")]),
    stacked(
        "New connections",
        "cps",
        "Connections per second that clients opened to each service.",
        &[(
            r#"sum by (service) (rate(lb_service_connections_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}}",
        )],
    ),
    stacked(
        "Traffic",
        "Bps",
        "Bytes per second of each service, as the XDP program sees them.",
        &[(
            r#"sum by (service, direction) (rate(lb_service_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{direction}}",
        )],
    ),
    lines(
        "Dropped packets",
        "pps",
        "Packets per second that the XDP program dropped, by reason; the data plane's dashboard has more.",
        &[(
            r#"sum by (reason) (rate(lb_xdp_packets_total{job="$job",instance=~"$instance",verdict="drop"}[$__rate_interval]))"#,
            "{{reason}}",
        )],
    ),
];

const BACKENDS: &[Panel] = &[
    timeline(
        "States of the backends",
        "Whether a backend gets new connections; each host checks for itself.",
        &[(
            r#"lb_backend_up{job="$job",instance=~"$instance"}"#,
            "{{pool}}/{{backend}} by {{instance}}",
        )],
        &[("0", "not up", "red"), ("1", "up", "green")],
    ),
    lines(
        "Health checks",
        "s",
        "Duration of the last health check of each backend.",
        &[(
            r#"max by (pool, backend) (lb_backend_check_seconds{job="$job",instance=~"$instance"})"#,
            "{{pool}}/{{backend}}",
        )],
    )
    .limits(&[(0.5, "yellow"), (1.0, "red")])
    .wide(12),
];

const DISCOVERY: &[Panel] = &[
    timeline(
        "Sources of backends",
        "Whether the source of each pool that discovers its backends answers; each host asks for itself.",
        &[(
            r#"lb_discovery_failing{job="$job",instance=~"$instance"}"#,
            "{{pool}} by {{instance}}",
        )],
        &[("0", "answers", "green"), ("1", "fails", "red")],
    ),
    lines(
        "Discovered backends",
        "none",
        "Backends that the source of each pool has, that are leaving, and that cannot be used.",
        &[
            (
                r#"max by (pool) (lb_discovery_backends{job="$job",instance=~"$instance"})"#,
                "{{pool}}",
            ),
            (
                r#"max by (pool) (lb_discovery_leaving_backends{job="$job",instance=~"$instance"})"#,
                "{{pool}} leaving",
            ),
            (
                r#"max by (pool) (lb_discovery_excluded_backends{job="$job",instance=~"$instance"})"#,
                "{{pool}} excluded",
            ),
        ],
    ),
    lines(
        "Time since the last answer",
        "s",
        "Time since the source of each pool last answered with backends.",
        &[(
            r#"time() - min by (pool) (lb_discovery_last_answer_timestamp_seconds{job="$job",instance=~"$instance"})"#,
            "{{pool}}",
        )],
    ),
    lines(
        "Queries of the sources",
        "reqps",
        "Queries per second of the source of each pool, by outcome.",
        &[(
            r#"sum by (pool, outcome) (rate(lb_discovery_queries_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{pool}} {{outcome}}",
        )],
    ),
];
