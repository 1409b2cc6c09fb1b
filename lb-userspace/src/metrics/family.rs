//! Metric families: name, type, labels and help text. Each module of the agent declares the
//! families of its own metrics.

use prometheus_client::metrics::MetricType;

/// A metric family: all samples that have one name, and what describes them.
#[derive(Debug)]
pub struct Family {
    /// The name as Prometheus's text format has it: that of a counter ends with `_total`.
    pub name: &'static str,
    /// The type of the metric: counter, gauge or histogram.
    pub kind: MetricType,
    /// The help text of the family: one sentence.
    pub help: &'static str,
    /// The names of the labels. A sample has its label values in this order.
    pub labels: &'static [&'static str],
}

/// Declares the metric families of a module of the agent: a constant for each family, and
/// `FAMILIES` with all of them in the order in which a scrape shows them. A test compares the
/// families with the reference page, `docs/metrics.md`.
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

        /// The metric families of this module, in the order in which a scrape shows them.
        pub(crate) const FAMILIES: &[$crate::metrics::Family] = &[$($constant),*];
    };
}

pub(crate) use families;
