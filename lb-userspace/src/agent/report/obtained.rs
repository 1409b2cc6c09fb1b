//! What is told of the certificates that the agent obtains.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    acme::Progress,
    admin::{Moment, ObtainedStatus},
    config::{Config, Name},
};

/// Each service whose certificate is obtained.
pub(super) fn status(config: &Config, progress: &BTreeMap<Name, Progress>) -> Vec<ObtainedStatus> {
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

/// Orders that failed, and have not succeeded since.
pub(super) fn problems(progress: &BTreeMap<Name, Progress>) -> Vec<String> {
    let failed = progress.iter().filter_map(|(service, progress)| {
        let failure = progress.failure.as_ref()?;
        Some(format!(
            "service {service} got no new certificate: {failure}; the old one stays, and `lb \
             certificate show {service}` says when it is ordered again"
        ))
    });
    failed.collect()
}

/// When each certificate is due to be renewed.
pub(super) fn due(progress: &BTreeMap<Name, Progress>) -> Vec<(Name, SystemTime)> {
    let due = progress
        .iter()
        .filter_map(|(service, progress)| Some((service.clone(), progress.due?)));
    due.collect()
}

/// Orders by service and outcome.
pub(super) fn readings(progress: &BTreeMap<Name, Progress>) -> Vec<(Name, &'static str, u64)> {
    let orders = progress.iter().flat_map(|(service, progress)| {
        let Progress {
            issued,
            refused,
            unreachable,
            ..
        } = *progress;
        [
            ("issued", issued),
            ("refused", refused),
            ("unreachable", unreachable),
        ]
        .map(|(outcome, orders)| (service.clone(), outcome, orders))
    });
    orders.collect()
}
