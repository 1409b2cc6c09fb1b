//! The metrics of the certificates that the agent obtains by ACME.

use std::{collections::BTreeMap, fmt};

use super::CertificateStatus;
use crate::{
    config::Name,
    metrics::{Collector, DescriptorEncoder, Samples, families, unix_seconds},
};

families! {
    ACME_ORDERS: Counter "lb_acme_orders_total" ["service", "outcome"]
        "Completed certificate orders, by outcome.";
    ACME_RENEWAL_DUE: Gauge "lb_acme_renewal_due_seconds" ["service"]
        "When a certificate is due to be renewed, in seconds since 1970-01-01 UTC; 0 if there is none yet.";
}

/// The status of the certificates at the moment of a scrape, by service.
#[derive(Clone, Debug, Default)]
pub struct OrderMetrics(pub BTreeMap<Name, CertificateStatus>);

impl Collector for OrderMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut orders = Samples::begin(&mut encoder, &ACME_ORDERS)?;
        for (service, progress) in &self.0 {
            for (outcome, count) in [
                ("issued", progress.issued),
                ("refused", progress.refused),
                ("unreachable", progress.unreachable),
            ] {
                orders.counter(&[service.as_str(), outcome], &count)?;
            }
        }
        let mut due = Samples::begin(&mut encoder, &ACME_RENEWAL_DUE)?;
        for (service, progress) in &self.0 {
            if let Some(moment) = progress.due {
                due.gauge(&[service.as_str()], unix_seconds(moment))?;
            }
        }
        Ok(())
    }
}
