//! The metrics: what was read at the moment of a scrape, as text for Prometheus.
//!
//! Nothing is kept between scrapes: the kernel's maps, the roster and the HTTP front hold the
//! counts, and [`Readings`] is what they said. `docs/metrics.md` is the reference; a test holds it
//! to [`FAMILIES`].

mod collector;
mod family;
mod format;
mod process;
mod readings;

pub use family::{FAMILIES, Family};
pub use format::Format;
pub use process::ProcessReading;
pub use readings::{
    BackendReading, CallSecondsReading, CertificateReading, ElasticIpReading, FlowsReading,
    HaReading, HandshakeReading, LatencyReading, LinkReading, Readings, RequestReading,
};

/// The readings as text.
#[must_use]
pub fn render(readings: Readings, format: Format) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(readings));
    let mut text = String::with_capacity(16 * 1024);
    // Writing to a string does not fail.
    let _written = prometheus_client::encoding::text::encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => format::to_prometheus(&text),
    }
}

#[cfg(test)]
mod tests;
