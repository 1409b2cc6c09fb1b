//! What `lb errors` shows: one exchange that ended early.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Moment;

/// Something that ended early, as `lb errors` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndedEarlyStatus {
    /// When it ended.
    pub time: Moment,
    /// Why, as `docs/reasons.md` has it.
    pub reason: String,
    /// Who ended it: `client`, `backend` or `lb`.
    pub ended_by: String,
    /// How far it was.
    pub phase: String,
    /// The same as a sentence.
    pub meaning: String,
    /// The service.
    pub service: String,
    /// The client.
    pub client: SocketAddr,
    /// The status that the client was sent.
    pub status: Option<u16>,
    /// The backend that had the request last.
    pub backend: Option<String>,
    /// How often the request was sent to a backend, or tried to be.
    pub attempts: u32,
    /// Microseconds after the head of the request had come.
    pub after_us: Option<u64>,
    /// The beginning of the request, escaped: its first line and Host.
    pub request: String,
    /// The beginning of what broke the rules, escaped: what is no printable ASCII as `\r`, `\n`, `\t`
    /// or `\xHH`.
    pub offending: String,
}

#[cfg(test)]
pub(crate) mod examples {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A response that was none.
    pub(crate) fn ended_early() -> EndedEarlyStatus {
        EndedEarlyStatus {
            time: Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            reason: "backend_response_head_malformed".to_owned(),
            ended_by: "backend".to_owned(),
            phase: "response_head".to_owned(),
            meaning: "What the backend sent is no head of a response.".to_owned(),
            service: "https".to_owned(),
            client: SocketAddr::from(([198, 51, 100, 10], 4711)),
            status: Some(502),
            backend: Some("web2".to_owned()),
            attempts: 2,
            after_us: Some(12_300),
            request: r"GET /a HTTP/1.1\r\nHost: example.org".to_owned(),
            offending: r"SSH-2.0-x\r\n".to_owned(),
        }
    }
}
