//! The dashboard of CPU, memory, disks and network of the hosts, from the metrics of node_exporter.

use super::{Dashboard, Panel, UP, lines, stacked, stat};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-node",
    title: "lb: machines",
    description: "CPU, memory, disks and network of the balancers and web servers, by node_exporter.",
    hosts: "node_uname_info",
    job: "node_exporter",
    rows: &[
        ("CPU and memory", CPU),
        ("Network", NETWORK),
        ("Disks", DISKS),
    ],
};

const CPU: &[Panel] = &[
    stat(
        "Machines",
        "none",
        "Whether node_exporter of each machine answers Prometheus.",
        &[(r#"up{job="$job",instance=~"$instance"}"#, "{{instance}}")],
    )
    .words(UP)
    .low(&[(1.0, "green")])
    .wide(24),
    lines(
        "CPU in use",
        "percentunit",
        "Share of the CPU time that is not idle.",
        &[(
            r#"1 - avg by (instance) (rate(node_cpu_seconds_total{job="$job",instance=~"$instance",mode="idle"}[$__rate_interval]))"#,
            "{{instance}}",
        )],
    )
    .limits(&[(0.7, "yellow"), (0.9, "red")]),
    stacked(
        "CPU time in softirq",
        "percentunit",
        "CPUs that process packets, the XDP program included, where 1 is one CPU.",
        &[(
            r#"sum by (instance) (rate(node_cpu_seconds_total{job="$job",instance=~"$instance",mode="softirq"}[$__rate_interval]))"#,
            "{{instance}}",
        )],
    ),
    lines(
        "Load",
        "none",
        "Mean number of processes that run or wait, over one minute.",
        &[(
            r#"node_load1{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    ),
    lines(
        "Memory in use",
        "percentunit",
        "Share of the memory that is not available to processes.",
        &[(
            r#"1 - node_memory_MemAvailable_bytes{job="$job",instance=~"$instance"} / node_memory_MemTotal_bytes{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .limits(&[(0.8, "yellow"), (0.9, "red")]),
    stat(
        "Up since",
        "s",
        "Time since the machine was started.",
        &[(
            r#"time() - node_boot_time_seconds{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .wide(16),
];

const NETWORK: &[Panel] = &[
    lines(
        "Received",
        "Bps",
        "Bytes per second that each interface received.",
        &[(
            r#"rate(node_network_receive_bytes_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval])"#,
            "{{instance}} {{device}}",
        )],
    ),
    lines(
        "Sent",
        "Bps",
        "Bytes per second that each interface sent.",
        &[(
            r#"rate(node_network_transmit_bytes_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval])"#,
            "{{instance}} {{device}}",
        )],
    ),
    lines(
        "Errors and drops of interfaces",
        "pps",
        "Packets per second that an interface lost. Those that the XDP program drops are on the data plane's dashboard.",
        &[
            (
                r#"rate(node_network_receive_errs_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval]) + rate(node_network_transmit_errs_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval])"#,
                "{{instance}} {{device}} errors",
            ),
            (
                r#"rate(node_network_receive_drop_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval]) + rate(node_network_transmit_drop_total{job="$job",instance=~"$instance",device!="lo"}[$__rate_interval])"#,
                "{{instance}} {{device}} drops",
            ),
        ],
    ),
    lines(
        "Retransmitted segments",
        "pps",
        "TCP segments per second that the machine itself sent again.",
        &[(
            r#"rate(node_netstat_Tcp_RetransSegs{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}}",
        )],
    )
    .wide(12),
    lines(
        "TCP connections",
        "none",
        "Established TCP connections of the machine itself; those that XDP steers are not among them on a balancer.",
        &[(
            r#"node_netstat_Tcp_CurrEstab{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .wide(12),
];

const DISKS: &[Panel] = &[
    lines(
        "File systems in use",
        "percentunit",
        "Share of each file system that is in use.",
        &[(
            r#"1 - node_filesystem_avail_bytes{job="$job",instance=~"$instance"} / (node_filesystem_size_bytes{job="$job",instance=~"$instance"} > 0)"#,
            "{{instance}} {{mountpoint}}",
        )],
    )
    .limits(&[(0.8, "yellow"), (0.9, "red")])
    .wide(12),
    lines(
        "Disks in use",
        "percentunit",
        "Share of the time during which a disk had requests.",
        &[(
            r#"rate(node_disk_io_time_seconds_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} {{device}}",
        )],
    )
    .limits(&[(0.7, "yellow"), (0.9, "red")])
    .wide(12),
];
