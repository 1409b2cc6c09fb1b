//! The part of the metrics that all modules share: families, encoding of samples, and the text
//! formats.
//!
//! A module of the agent that counts something declares its metric families and encodes them
//! itself: `dataplane/metrics.rs`, `proxy/counters/metrics.rs`, and so on, each a [`Collector`]
//! over the module's own snapshot. The agent registers the collectors for each scrape
//! (`agent/report/metrics.rs`) and keeps nothing between scrapes. This module depends on no other
//! one.

mod family;
mod format;
mod process;
mod samples;

pub use family::Family;
pub(crate) use family::families;
pub use format::Format;
pub(crate) use process::FAMILIES as PROCESS_FAMILIES;
pub use process::ProcessReading;
pub use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, registry::Registry,
};
pub use samples::{Samples, flag, unix_seconds};

/// Encodes all metrics of a registry as text.
#[must_use]
pub fn render(registry: &Registry, format: Format) -> String {
    let mut text = String::with_capacity(16 * 1024);
    // Writing to a string in memory does not fail.
    let _written = prometheus_client::encoding::text::encode(&mut text, registry);
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => format::to_prometheus(&text),
    }
}
