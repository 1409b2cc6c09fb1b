//! The dashboard of what the XDP program does with packets.

use super::{Dashboard, Panel, lines, stacked, stat, table};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-data-plane",
    title: "lb: data plane",
    description: "What the XDP program does with packets, and how close its tables are to their limits.",
    hosts: "lb_build_info",
    job: "lb",
    rows: &[
        ("Verdicts", VERDICTS),
        ("Services and backends", SERVICES),
        ("Limits and resources", LIMITS),
    ],
};

const VERDICTS: &[Panel] = &[
    stacked(
        "Packets by verdict",
        "pps",
        "Packets per second that the interfaces received, each under exactly one verdict.",
        &[(
            r#"sum by (verdict) (rate(lb_xdp_packets_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{verdict}}",
        )],
    ),
    lines(
        "Dropped, by reason",
        "pps",
        "Why packets were dropped. no_source_port and table_full mean that a limit is reached.",
        &[(
            r#"sum by (instance, reason) (rate(lb_xdp_packets_total{job="$job",instance=~"$instance",verdict="drop"}[$__rate_interval])) > 0"#,
            "{{reason}} on {{instance}}",
        )],
    ),
    lines(
        "Passed to the host, by reason",
        "pps",
        "Why packets were passed to the host's network stack; agent: of a service that the agent serves.",
        &[(
            r#"sum by (reason) (rate(lb_xdp_packets_total{job="$job",instance=~"$instance",verdict="pass"}[$__rate_interval])) > 0"#,
            "{{reason}}",
        )],
    ),
    table(
        "Mode of the XDP program",
        "none",
        "native: in the driver. generic: works with every driver, at a higher cost.",
        &[(
            r#"lb_xdp_mode{job="$job",instance=~"$instance"} == 1"#,
            "{{instance}} {{interface}} {{mode}}",
        )],
    ),
    lines(
        "Retried at another backend",
        "pps",
        "SYN segments per second that were offered to another backend, after one that refused or did not answer.",
        &[(
            r#"sum by (instance) (rate(lb_xdp_packets_total{job="$job",instance=~"$instance",reason="retried"}[$__rate_interval]))"#,
            "{{instance}}",
        )],
    )
    .wide(12),
];

const SERVICES: &[Panel] = &[
    lines(
        "New connections",
        "cps",
        "Connections per second that clients opened to each service.",
        &[(
            r#"sum by (service) (rate(lb_service_connections_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}}",
        )],
    ),
    lines(
        "Packets",
        "pps",
        "Packets per second of each service; in: from clients.",
        &[(
            r#"sum by (service, direction) (rate(lb_service_packets_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{direction}}",
        )],
    ),
    lines(
        "Bytes",
        "Bps",
        "Bytes per second of each service, IP headers included.",
        &[(
            r#"sum by (service, direction) (rate(lb_service_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{service}} {{direction}}",
        )],
    ),
    stacked(
        "Packets by backend",
        "pps",
        "Packets per second to each backend: how the load is distributed.",
        &[(
            r#"sum by (backend) (rate(lb_backend_packets_total{job="$job",instance=~"$instance",direction="in"}[$__rate_interval]))"#,
            "{{backend}}",
        )],
    )
    .wide(24),
];

const LIMITS: &[Panel] = &[
    lines(
        "Available source ports",
        "percentunit",
        "Share of the source ports towards a backend that a new connection may use.",
        &[(
            r#"sum by (instance, service, backend) (lb_backend_source_ports{job="$job",instance=~"$instance",state!="held"}) / sum by (instance, service, backend) (lb_backend_source_ports{job="$job",instance=~"$instance"})"#,
            "{{service}} to {{backend}}, {{instance}}",
        )],
    )
    .low(&[(0.2, "yellow"), (0.4, "green")]),
    lines(
        "Held source ports",
        "none",
        "Connections of each backend that hold a source port, which is the number of open connections.",
        &[(
            r#"sum by (backend) (lb_backend_source_ports{job="$job",instance=~"$instance",state="held"})"#,
            "{{backend}}",
        )],
    ),
    lines(
        "CPU time of the agent",
        "percentunit",
        "CPUs that the agent uses, where 1 is one CPU. The packets that XDP processes are not included: see softirq on the dashboard of the machines.",
        &[(
            r#"rate(process_cpu_seconds_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}}",
        )],
    ),
    lines(
        "Memory of the agent",
        "bytes",
        "Resident memory of the agent.",
        &[(
            r#"process_resident_memory_bytes{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    ),
    lines(
        "File descriptors",
        "percentunit",
        "Share of the file descriptors that the agent may have which are open.",
        &[(
            r#"process_open_fds{job="$job",instance=~"$instance"} / process_max_fds{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .limits(&[(0.6, "yellow"), (0.8, "red")]),
    stat(
        "Age of the agent",
        "s",
        "Time since the agent was started.",
        &[(
            r#"time() - process_start_time_seconds{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .wide(8),
];
