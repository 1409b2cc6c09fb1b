//! The metrics of the certificates that the front has in use.

use std::fmt;

use super::CertificateInfo;
use crate::metrics::{Collector, DescriptorEncoder, Samples, families, unix_seconds};

families! {
    CERTIFICATE_EXPIRY: Gauge "lb_certificate_expiry_seconds" ["service", "name", "file"]
        "When a certificate expires, in seconds since 1970-01-01 UTC.";
}

/// The certificates that the front has in use at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics(pub Vec<CertificateInfo>);

impl Collector for CertificateMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut expiry = Samples::begin(&mut encoder, &CERTIFICATE_EXPIRY)?;
        for one in &self.0 {
            let name = one.names.first().map_or("", String::as_str);
            let file = one.path.display().to_string();
            let labels = [one.service.as_str(), name, &file];
            expiry.gauge(&labels, unix_seconds(one.not_after))?;
        }
        Ok(())
    }
}
