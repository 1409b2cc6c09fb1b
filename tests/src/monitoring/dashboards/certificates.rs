//! The dashboard of certificates and their renewal.

use super::{Dashboard, Panel, lines, stat, table};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "lb-certificates",
    title: "lb: certificates",
    description: "When certificates expire, and how those that the agent obtains are renewed.",
    hosts: "lb_build_info",
    job: "lb",
    rows: &[("Expiry", EXPIRY), ("Renewal", RENEWAL)],
};

const EXPIRY: &[Panel] = &[
    table(
        "Time left",
        "s",
        "Time until each certificate expires, the next one first.",
        &[(
            r#"sort(min by (service, name, file) (lb_certificate_expiry_seconds{job="$job",instance=~"$instance"}) - time())"#,
            "{{service}} {{name}}",
        )],
    )
    .low(&[
        (86_400.0, "orange"),
        (432_000.0, "yellow"),
        (1_209_600.0, "green"),
    ])
    .wide(16),
    stat(
        "Next expiry",
        "s",
        "Time until the first certificate expires.",
        &[(
            r#"min(lb_certificate_expiry_seconds{job="$job",instance=~"$instance"} - time())"#,
            "first",
        )],
    )
    .low(&[(86_400.0, "orange"), (432_000.0, "green")])
    .wide(8),
    lines(
        "Time left",
        "s",
        "Time until each certificate expires; a line that falls below a third of the lifetime is a renewal that is overdue.",
        &[(
            r#"min by (service, name) (lb_certificate_expiry_seconds{job="$job",instance=~"$instance"}) - time()"#,
            "{{service}} {{name}}",
        )],
    )
    .wide(16),
    stat(
        "Expiry differs between the hosts",
        "s",
        "Difference between the expiries of a certificate on the two hosts: 0 if they have the same one.",
        &[(
            r#"max by (service, name, file) (lb_certificate_expiry_seconds{job="$job"}) - min by (service, name, file) (lb_certificate_expiry_seconds{job="$job"})"#,
            "{{service}} {{name}}",
        )],
    )
    .limits(&[(1.0, "yellow")])
    .wide(8),
];

const RENEWAL: &[Panel] = &[
    table(
        "Renewal due",
        "dateTimeAsIso",
        "When the certificate of each service is due to be renewed; 1970 if there is none yet.",
        &[(
            r#"1000 * max by (service) (lb_acme_renewal_due_seconds{job="$job",instance=~"$instance"})"#,
            "{{service}}",
        )],
    ),
    lines(
        "Orders",
        "none",
        "Orders of certificates within the last day, by outcome.",
        &[(
            r#"sum by (service, outcome) (increase(lb_acme_orders_total{job="$job",instance=~"$instance"}[1d]))"#,
            "{{service}} {{outcome}}",
        )],
    )
    .wide(12),
];
