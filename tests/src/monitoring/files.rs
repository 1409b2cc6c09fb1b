//! The files of `deploy/prometheus`, with which the Prometheus of the test network runs.

/// The configuration file of Prometheus, with the hosts that it scrapes.
pub const CONFIGURATION: &str = include_str!("../../../deploy/prometheus/prometheus.yml");

/// The files with the alert and recording rules of Prometheus, each by its name and content.
pub const RULES: &[(&str, &str)] = &[
    (
        "lb-certificates.yml",
        include_str!("../../../deploy/prometheus/rules/lb-certificates.yml"),
    ),
    (
        "lb-pair.yml",
        include_str!("../../../deploy/prometheus/rules/lb-pair.yml"),
    ),
    (
        "lb-recording.yml",
        include_str!("../../../deploy/prometheus/rules/lb-recording.yml"),
    ),
    (
        "lb-traffic.yml",
        include_str!("../../../deploy/prometheus/rules/lb-traffic.yml"),
    ),
    (
        "node.yml",
        include_str!("../../../deploy/prometheus/rules/node.yml"),
    ),
];
