//! Requests and connections that ended early, for `lb errors`.

use crate::{
    admin::{EndedEarlyStatus, Moment},
    proxy::EndedEarly,
};

/// Converts a request or connection that ended early to the form of the admin protocol.
pub(super) fn status(entry: EndedEarly) -> EndedEarlyStatus {
    let micros = |after: std::time::Duration| u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
    EndedEarlyStatus {
        time: Moment(entry.time),
        reason: entry.reason.word().to_owned(),
        ended_by: entry.reason.by().word().to_owned(),
        phase: entry.reason.phase().word().to_owned(),
        meaning: entry.reason.meaning().to_owned(),
        service: entry.service.to_string(),
        client: entry.client,
        status: Some(entry.status).filter(|status| *status != 0),
        backend: entry.backend.map(|backend| backend.to_string()),
        attempts: entry.attempts,
        after_us: entry.after.map(micros),
        request: entry.request.escape_ascii().to_string(),
        offending: entry.offending.escape_ascii().to_string(),
    }
}
