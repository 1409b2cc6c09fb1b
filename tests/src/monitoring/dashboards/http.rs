//! The dashboard of requests, connections and TLS of the HTTP front.

use super::{Dashboard, Panel, lines, stacked, stat};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-http",
    title: "lb: HTTP and TLS",
    description: "Requests, their times and failures, the queues and connections, and TLS handshakes.",
    hosts: "lb_build_info",
    job: "lb",
    rows: &[
        ("Requests", REQUESTS),
        ("Failures", FAILURES),
        ("Connections and queues", CONNECTIONS),
        ("TLS", TLS),
        ("Access log", ACCESS_LOG),
    ],
};

const REQUESTS: &[Panel] = &[
    stacked(
        "Requests by status",
        "reqps",
        "Requests per second by service and status.",
        &[(
            r#"sum by (service, code) (rate(lb_http_requests_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{code}}",
        )],
    ),
    stacked(
        "Requests by backend",
        "reqps",
        "Requests per second by the backend that got them last; without a name: none did.",
        &[(
            r#"sum by (backend) (rate(lb_http_requests_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{backend}}",
        )],
    ),
    lines(
        "Duration of requests",
        "s",
        "Time from the end of a request's head to the end of its response: median, and the slowest 10 and 1 %.",
        &[
            (
                r#"histogram_quantile(0.5, sum by (service, le) (rate(lb_http_request_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                "{{service}} 50 %",
            ),
            (
                r#"histogram_quantile(0.9, sum by (service, le) (rate(lb_http_request_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                "{{service}} 90 %",
            ),
            (
                r#"histogram_quantile(0.99, sum by (service, le) (rate(lb_http_request_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                "{{service}} 99 %",
            ),
        ],
    )
    .limits(&[(1.0, "yellow"), (2.0, "red")]),
    lines(
        "Mean duration",
        "s",
        "Mean time of a request.",
        &[(
            r#"sum by (service) (rate(lb_http_request_seconds_sum{job="$job",instance=~"$instance"}[$__rate_interval])) / sum by (service) (rate(lb_http_request_seconds_count{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}}",
        )],
    )
    .wide(12),
    stacked(
        "Requests by route",
        "reqps",
        "Requests per second by the route that matched; only of services with routes.",
        &[(
            r#"sum by (service, route) (rate(lb_http_route_requests_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{route}}",
        )],
    )
    .wide(12),
];

const FAILURES: &[Panel] = &[
    lines(
        "Answered with 5xx",
        "percentunit",
        "Share of the requests of each service that were answered with 5xx, by a backend or by lb.",
        &[(
            "service:lb_http_errors:ratio_rate2m{job=\"$job\"}",
            "{{service}}",
        )],
    )
    .limits(&[(0.01, "yellow"), (0.05, "red")]),
    lines(
        "Answered by lb for a fault of a backend",
        "reqps",
        "Requests per second that lb answered in place of a backend, by reason.",
        &[(
            r#"sum by (service, backend, reason) (rate(lb_http_own_answers_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{backend}} {{reason}}",
        )],
    ),
    lines(
        "Refused for a fault of the client",
        "reqps",
        "Requests per second that lb refused: syntax, limits, time-outs.",
        &[(
            r#"sum by (service, reason) (rate(lb_http_refusals_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{reason}}",
        )],
    ),
    lines(
        "Broken off",
        "reqps",
        "Requests per second whose response did not reach the client completely.",
        &[(
            r#"sum by (service, backend, reason) (rate(lb_http_broken_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{backend}} {{reason}}",
        )],
    ),
    lines(
        "Retries",
        "reqps",
        "Retries per second on another backend, and those that the budget did not allow.",
        &[
            (
                r#"sum by (service) (rate(lb_http_retries_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                "{{service}}",
            ),
            (
                r#"sum by (service) (rate(lb_http_retries_refused_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                "{{service}} not allowed",
            ),
        ],
    ),
    lines(
        "Ejected backends",
        "none",
        "1 while a backend is ejected because it fails requests.",
        &[(
            r#"lb_backend_ejected{job="$job",instance=~"$instance"}"#,
            "{{pool}}/{{backend}} by {{instance}}",
        )],
    ),
    lines(
        "Ejections",
        "none",
        "Ejections within the last hour.",
        &[(
            r#"sum by (service, backend) (increase(lb_backend_ejections_total{job="$job",instance=~"$instance"}[1h]))"#,
            "{{service}} {{backend}}",
        )],
    )
    .wide(12),
    stat(
        "Panics",
        "none",
        "Panics that ended a connection since the agent started; each is a bug.",
        &[(
            r#"sum by (instance) (lb_panics_total{job="$job",instance=~"$instance"})"#,
            "{{instance}}",
        )],
    )
    .limits(&[(1.0, "red")])
    .wide(12),
];

const CONNECTIONS: &[Panel] = &[
    lines(
        "Connections of clients",
        "none",
        "Open client connections of each service.",
        &[(
            r#"sum by (service) (lb_http_connections{job="$job",instance=~"$instance"})"#,
            "{{service}}",
        )],
    ),
    lines(
        "Connections that ended early",
        "cps",
        "Client connections per second that ended early without a request in flight, by reason.",
        &[(
            r#"sum by (service, reason) (rate(lb_http_connections_closed_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{reason}}",
        )],
    ),
    stacked(
        "Requests in flight at backends",
        "none",
        "Connections to each backend that have a request in flight.",
        &[(
            r#"sum by (service, backend) (lb_backend_connections{job="$job",instance=~"$instance"})"#,
            "{{service}} {{backend}}",
        )],
    ),
    lines(
        "Queue",
        "none",
        "Requests that wait in the queue of a pool for a backend below its limit.",
        &[(
            r#"sum by (service) (lb_http_queued_requests{job="$job",instance=~"$instance"})"#,
            "{{service}}",
        )],
    ),
    lines(
        "Requests that waited, and that were rejected",
        "reqps",
        "Requests per second that waited in the queue, and those that it rejected with 503.",
        &[
            (
                r#"sum by (service) (rate(lb_http_queue_waits_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                "{{service}} waited",
            ),
            (
                r#"sum by (service) (rate(lb_http_queue_rejections_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                "{{service}} rejected",
            ),
        ],
    ),
    lines(
        "Buffered bytes",
        "bytes",
        "Bytes of responses that wait to be sent to clients, limited by buffer_bytes.",
        &[(
            r#"lb_http_buffered_bytes{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    ),
];

const TLS: &[Panel] = &[
    stacked(
        "Handshakes",
        "cps",
        "TLS handshakes per second, by version and whether an earlier session was resumed.",
        &[(
            r#"sum by (version, resumed) (rate(lb_tls_handshakes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "TLS {{version}}, resumed: {{resumed}}",
        )],
    ),
    lines(
        "Handshakes that fail, by reason",
        "cps",
        "TLS handshakes per second that failed or timed out.",
        &[(
            r#"sum by (service, reason) (rate(lb_tls_handshake_failures_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{reason}}",
        )],
    ),
    lines(
        "Share of handshakes that fail",
        "percentunit",
        "Failed handshakes as a share of all; scanners cause some.",
        &[(
            r#"instance:lb_tls_handshake_failures:ratio_rate2m{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .limits(&[(0.1, "yellow"), (0.2, "red")]),
];

const ACCESS_LOG: &[Panel] = &[
    lines(
        "Lines",
        "none",
        "Lines per second that were written to the access log.",
        &[(
            r#"rate(lb_access_log_lines_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}}",
        )],
    )
    .wide(12),
    lines(
        "Dropped lines",
        "none",
        "Lines per second that were dropped; no_room: the disk is slow, not_written: it is full.",
        &[(
            r#"rate(lb_access_log_dropped_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} {{reason}}",
        )],
    )
    .limits(&[(1.0, "red")])
    .wide(12),
];
