//! Metric families: their names, types, labels and help texts. Each room declares its own.

use prometheus_client::metrics::MetricType;

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// The name in Prometheus's text format.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The help text: one sentence.
    pub help: &'static str,
    /// The names of the labels, in the order in which a sample gives their values.
    pub labels: &'static [&'static str],
}

/// Declares the families of a room: a constant for each, and `FAMILIES` with all of them in the order of
/// the exposition, which the test of the reference page reads.
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
