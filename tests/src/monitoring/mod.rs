//! Monitoring: what `deploy/prometheus` and `deploy/grafana` hold, and a real Prometheus with real
//! node_exporters in the test network.

pub mod dashboards;
pub mod expression;
pub mod files;
mod monitor;
pub mod rules;

pub use monitor::{Alert, MONITOR, Monitor, PROMETHEUS, Pace};
