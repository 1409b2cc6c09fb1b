//! The dashboard of the hosts' roles, the Elastic IP, and the adverts and flows that the hosts of a
//! pair send each other.

use super::{Dashboard, Panel, UP, lines, stat, timeline};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-failover",
    title: "lb: failover",
    description: "Roles and why they changed, the Elastic IP, and what the hosts of a pair exchange.",
    hosts: "lb_build_info",
    job: "lb",
    rows: &[
        ("Roles", ROLES),
        ("Adverts and tracked items", ADVERTS),
        ("The Elastic IP", ADDRESS),
        ("The link and the flows", LINK),
    ],
};

const ROLES: &[Panel] = &[
    timeline(
        "Roles",
        "The role of each host over time.",
        &[(
            r#"sum by (instance) (lb_vrrp_state{job="$job",instance=~"$instance",state="master"} or 2 * lb_vrrp_state{job="$job",instance=~"$instance",state="backup"} or 3 * lb_vrrp_state{job="$job",instance=~"$instance",state="fault"} or 4 * lb_vrrp_state{job="$job",instance=~"$instance",state="init"})"#,
            "{{instance}}",
        )],
        &[
            ("1", "master", "green"),
            ("2", "backup", "blue"),
            ("3", "fault", "red"),
            ("4", "init", "yellow"),
        ],
    ),
    lines(
        "Changes of the active host",
        "none",
        "How often each host became active within the last hour, and why.",
        &[(
            r#"increase(lb_failovers_total{job="$job",instance=~"$instance"}[1h])"#,
            "{{instance}} {{reason}}",
        )],
    )
    .wide(12),
    lines(
        "Transitions",
        "none",
        "How often each host entered a state within the last hour, and why.",
        &[(
            r#"increase(lb_vrrp_transitions_total{job="$job",instance=~"$instance"}[1h])"#,
            "{{instance}} {{state}} {{reason}}",
        )],
    ),
    lines(
        "Priority",
        "none",
        "The effective priority of each host, with the weights of tracked items. The higher one is active.",
        &[(
            r#"lb_vrrp_priority{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    ),
    timeline(
        "Stepped back",
        "Whether a host has stepped back: it would not take over from a peer that fails.",
        &[(
            r#"lb_vrrp_stepped_back{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
        &[("0", "no", "green"), ("1", "stepped back", "red")],
    )
    .wide(8),
];

const ADVERTS: &[Panel] = &[
    lines(
        "Adverts",
        "pps",
        "Adverts per second: only the active host sends them, and the standby receives as many.",
        &[
            (
                r#"rate(lb_vrrp_adverts_sent_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} sent",
            ),
            (
                r#"rate(lb_vrrp_adverts_received_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} received",
            ),
        ],
    ),
    lines(
        "Refused adverts and errors",
        "pps",
        "Adverts per second that were refused, and errors of sending. own and router_id are normal with several virtual routers.",
        &[
            (
                r#"rate(lb_vrrp_adverts_refused_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} {{reason}}",
            ),
            (
                r#"rate(lb_vrrp_advert_errors_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} errors",
            ),
        ],
    ),
    timeline(
        "Tracked items",
        "Whether each tracked item of a host is healthy.",
        &[(
            r#"lb_track_ok{job="$job",instance=~"$instance"}"#,
            "{{name}} of {{instance}}",
        )],
        &[("0", "fails", "red"), ("1", "healthy", "green")],
    )
    .wide(8),
    lines(
        "Runs of [ha.notify]",
        "none",
        "Runs of the commands within the last hour, by state and outcome.",
        &[(
            r#"increase(lb_notify_runs_total{job="$job",instance=~"$instance"}[1h])"#,
            "{{instance}} {{state}} {{outcome}}",
        )],
    )
    .wide(24),
];

const ADDRESS: &[Panel] = &[
    timeline(
        "Owner of the Elastic IP",
        "Whether the Elastic IP is on the host, by its last look-up.",
        &[(
            r#"lb_elastic_ip_owner{job="$job",instance=~"$instance",owner="self"}"#,
            "{{instance}}",
        )],
        &[("0", "elsewhere", "blue"), ("1", "here", "green")],
    )
    .wide(8),
    lines(
        "Age of the confirmation",
        "s",
        "Time since the EC2 API confirmed that the address is on the active host.",
        &[(
            r#"(time() - lb_elastic_ip_confirmed_timestamp_seconds{job="$job",instance=~"$instance"}) and on (instance) lb_vrrp_state{job="$job",state="master"} == 1"#,
            "{{instance}}",
        )],
    )
    .limits(&[(15.0, "yellow"), (30.0, "red")]),
    lines(
        "Calls to the EC2 API",
        "cps",
        "Calls per second by action and outcome.",
        &[(
            r#"sum by (operation, outcome) (rate(lb_elastic_ip_calls_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
            "{{operation}} {{outcome}}",
        )],
    ),
    lines(
        "Duration of calls",
        "s",
        "Time within which 95 % of the calls to the EC2 API ended.",
        &[(
            r#"histogram_quantile(0.95, sum by (operation, le) (rate(lb_elastic_ip_call_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
            "{{operation}}",
        )],
    )
    .limits(&[(1.0, "yellow"), (3.0, "red")]),
    lines(
        "Moves",
        "none",
        "How often each host moved the Elastic IP to itself within the last hour.",
        &[(
            r#"increase(lb_elastic_ip_moves_total{job="$job",instance=~"$instance"}[1h])"#,
            "{{instance}}",
        )],
    ),
    timeline(
        "Private address that moves",
        "Whether the host has the addresses that move on its interface.",
        &[(
            r#"lb_virtual_ip_held{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
        &[("0", "not here", "blue"), ("1", "here", "green")],
    )
    .wide(8),
];

const LINK: &[Panel] = &[
    stat(
        "Link",
        "none",
        "Whether the link to the peer's agent is up.",
        &[(
            r#"lb_peer_link_up{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .words(UP)
    .low(&[(1.0, "green")])
    .wide(8),
    stat(
        "Flows",
        "none",
        "Whether the host has all flows of its peer, so that established connections survive a failover to it.",
        &[(
            r#"lb_peer_flows_synced{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .words(&[("0", "not synced", "red"), ("1", "synced", "green")])
    .low(&[(1.0, "green")])
    .wide(8),
    stat(
        "Refused connections to the link",
        "none",
        "Connections to the link's port that were refused since the agent started.",
        &[(
            r#"sum by (instance, reason) (lb_peer_link_refused_total{job="$job",instance=~"$instance"})"#,
            "{{instance}} {{reason}}",
        )],
    )
    .limits(&[(1.0, "yellow")])
    .wide(8),
    lines(
        "Round-trip time of the link",
        "s",
        "Time of the last ping over the link.",
        &[(
            r#"lb_peer_link_lag_seconds{job="$job",instance=~"$instance"}"#,
            "{{instance}}",
        )],
    )
    .limits(&[(0.05, "yellow"), (0.2, "red")]),
    lines(
        "Bytes over the link",
        "Bps",
        "Bytes per second over the link.",
        &[(
            r#"rate(lb_peer_link_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} {{direction}}",
        )],
    ),
    lines(
        "Flows",
        "none",
        "Flows per second that were sent to the peer, received from it, skipped, and events that were lost.",
        &[
            (
                r#"rate(lb_peer_flows_sent_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} sent",
            ),
            (
                r#"rate(lb_peer_flows_received_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} received",
            ),
            (
                r#"sum by (instance) (rate(lb_peer_flows_skipped_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                "{{instance}} skipped",
            ),
            (
                r#"rate(lb_peer_flow_events_lost_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                "{{instance}} events lost",
            ),
        ],
    ),
];
