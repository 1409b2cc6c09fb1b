//! The status of the certificates that the agent obtains by ACME.

use std::collections::BTreeMap;

use crate::{
    acme::CertificateStatus,
    admin::{Moment, ObtainedStatus},
    config::{Config, Name},
};

/// Returns the status of the certificate of each service whose certificate the agent obtains.
pub(super) fn status(
    config: &Config,
    progress: &BTreeMap<Name, CertificateStatus>,
) -> Vec<ObtainedStatus> {
    let obtained = config.services.iter().filter_map(|service| {
        let obtained = service.obtained()?;
        let progress = progress.get(&service.name);
        Some(ObtainedStatus {
            service: service.name.to_string(),
            domains: obtained.domains.clone(),
            file: obtained.file.clone(),
            next_order: progress.and_then(|one| one.next_order).map(Moment),
            is_standby: progress.is_some_and(|one| one.is_standby),
            failure: progress.and_then(|one| one.failure.clone()),
        })
    });
    obtained.collect()
}

/// Returns a sentence for each service whose last ACME order failed.
pub(super) fn problems(progress: &BTreeMap<Name, CertificateStatus>) -> Vec<String> {
    let failed = progress.iter().filter_map(|(service, progress)| {
        let failure = progress.failure.as_ref()?;
        Some(format!(
            "service {service} got no new certificate: {failure}; the old one stays in use, and `lb \
             certificate show {service}` has the time of the next order"
        ))
    });
    failed.collect()
}
