//! What the outcome of a request shows about its backend, and the log messages of ejections.

use std::sync::{Arc, Weak};

use tokio::task::spawn_local;

use super::{
    admission_control::AdmissionControl,
    outliers::{Ejection, FailureRecord},
    reason::{By, Reason},
    upstream::PoolBackend,
};
use crate::config::{Name, Outlier};

/// What the result of a request shows about the backend that had it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Observation {
    /// The backend sent a complete response with this status.
    Answered(u16),
    /// The request ended at the backend without a complete response.
    Ended {
        /// Why the request ended.
        failure: Reason,
        /// Whether the request was sent over a connection that earlier requests had used.
        reused: bool,
    },
}

impl Observation {
    /// Returns whether the backend failed the request by these rules; `None` if the result says
    /// nothing about the backend.
    pub(super) fn is_failure(self, rules: &Outlier) -> Option<bool> {
        match self {
            Self::Answered(status) => Some(rules.is_failure(status)),
            Self::Ended { failure, reused } => fails(failure, reused).then_some(true),
        }
    }
}

/// Returns whether a request ended because of what its backend did, or did not do in time. `reused`
/// says whether the connection had served earlier requests.
fn fails(failure: Reason, reused: bool) -> bool {
    match failure {
        // A backend may close an idle connection at any time, so the end of a reused connection
        // shows nothing about the backend.
        Reason::BackendResponseHeadClosed | Reason::BackendResponseHeadReset => !reused,
        // Health checks or the operator took the backend down, so the request does not count as
        // failed.
        Reason::BackendConnectDown | Reason::BackendResponseHeadDown => false,
        Reason::LbResponseHeadTimeout => true,
        failure => failure.by() == By::Backend,
    }
}

/// Counts and logs the ejection of a backend, and schedules the log message of the ejection's end.
pub(super) fn ejected(
    pool: &Name,
    backend: &PoolBackend,
    ejection: Ejection,
    admission: Option<Arc<AdmissionControl>>,
) {
    let Ejection {
        time,
        failures,
        ejections,
    } = ejection;
    let name = backend.name.clone();
    backend.counters.ejections.add(1);
    tracing::warn!(
        %pool, backend = %name, failures, ejections, ?time, event = "backend_ejected",
        "backend ejected for failing requests"
    );
    // The requests that are queued for this backend must look for another one.
    if let Some(admission) = &admission {
        admission.wake_all();
    }
    let pool = pool.clone();
    let record = backend.record.borrow().as_ref().map(Arc::downgrade);
    spawn_local(async move {
        tokio::time::sleep(time).await;
        // If the pool no longer ejects backends, the backend's failure record is gone, and the end
        // of the ejection is not logged.
        if record
            .as_ref()
            .and_then(Weak::<FailureRecord>::upgrade)
            .is_none()
        {
            return;
        }
        tracing::info!(
            %pool, backend = %name, event = "backend_ejection_ended", "ejection of backend ended"
        );
        if let Some(admission) = admission {
            admission.wake_all();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Percent;

    #[test]
    fn what_backends_do_is_told_from_what_others_do() {
        let rules = Outlier {
            consecutive_failures: 1,
            statuses: vec![500..=500, 502..=504],
            ejection_time: Duration::from_secs(1),
            max_ejection_time: Duration::from_secs(1),
            max_ejected: Percent::new(50),
        };
        let answered = |status| Observation::Answered(status).is_failure(&rules);
        for (status, fails) in [(101, false), (200, false), (404, false), (501, false)] {
            assert_eq!(answered(status), Some(fails), "{status}");
        }
        for status in [500, 502, 503, 504] {
            assert_eq!(answered(status), Some(true), "{status}");
        }
        let ended = |failure, reused| Observation::Ended { failure, reused }.is_failure(&rules);
        for failure in [
            Reason::BackendConnectRefused,
            Reason::BackendConnectTimeout,
            Reason::BackendResponseHeadClosed,
            Reason::BackendResponseHeadTimeout,
            Reason::BackendResponseHeadMalformed,
            Reason::BackendResponseBodyReset,
            Reason::BackendRequestBodyTimeout,
            Reason::LbResponseHeadTimeout,
        ] {
            assert_eq!(ended(failure, false), Some(true), "{failure:?}");
        }
        assert_eq!(ended(Reason::BackendResponseHeadReset, true), None);
        assert_eq!(ended(Reason::BackendResponseHeadTimeout, true), Some(true));
        for failure in [
            Reason::BackendConnectDown,
            Reason::BackendResponseHeadDown,
            Reason::ClientResponseBodyClosed,
            Reason::ClientResponseHeadCancelled,
            Reason::ClientRequestBodyTimeout,
            Reason::LbConnectNoDescriptor,
            Reason::LbConnectTimeout,
            Reason::LbQueueFull,
        ] {
            assert_eq!(ended(failure, false), None, "{failure:?}");
        }
    }
}
