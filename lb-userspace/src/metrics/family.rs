//! Metric families: name, type, labels and help text. Each room declares its own.

use prometheus_client::metrics::MetricType;

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// The name in Prometheus's text format, with `_total` for a counter.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The help text: one sentence.
    pub help: &'static str,
    /// The names of the labels, in the order of the values of a sample.
    pub labels: &'static [&'static str],
}

/// Declares the families of a room: a constant for each, and `FAMILIES` with all of them in the order of
/// the exposition. A test compares these with the reference page, `docs/metrics.md`.
macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            const $constant: $crate::metrics::Family = $crate::metrics::Family {
                name: $name,
                kind: prometheus_client::metrics::MetricType::$kind,
                help: $help,
                labels: &[$($label),*],
            };
        )*

        /// The families of this room, in the order of the exposition.
        pub(crate) const FAMILIES: &[$crate::metrics::Family] = &[$($constant),*];
    };
}

pub(crate) use families;
