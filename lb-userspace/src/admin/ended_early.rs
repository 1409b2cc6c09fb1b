//! A request, handshake or connection that ended early, as `lb errors` shows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Moment;

/// A request, handshake or connection that ended early.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndedEarlyStatus {
    /// When the request, handshake or connection ended.
    pub time: Moment,
    /// Why the request, handshake or connection ended early: one of the words listed in
    /// `docs/reasons.md`.
    pub reason: String,
    /// Which party ended the request, handshake or connection: `client`, `backend` or `lb`.
    pub ended_by: String,
    /// The phase in which the request, handshake or connection ended, such as `response_head`.
    pub phase: String,
    /// What the reason means, as a sentence.
    pub meaning: String,
    /// The name of the service that the client connected to.
    pub service: String,
    /// The address and port of the client.
    pub client: SocketAddr,
    /// The HTTP status that was sent to the client; `null` if none was sent.
    pub status: Option<u16>,
    /// The name of the backend that the request was last sent to; `null` if it was sent to none.
    pub backend: Option<String>,
    /// How many times it was tried to send the request to a backend.
    pub attempts: u32,
    /// Time from when the request's head was complete until the request ended, in microseconds;
    /// `null` if no complete head was received.
    pub after_us: Option<u64>,
    /// The beginning of the request, escaped: the request line and the field Host.
    pub request: String,
    /// The beginning of the bytes that violated the protocol. Bytes other than printable ASCII are
    /// escaped as `\r`, `\n`, `\t` or `\xHH`.
    pub offending: String,
}

#[cfg(test)]
pub(crate) mod examples {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Returns an example: a backend sent a response whose head is malformed.
    pub(crate) fn ended_early() -> EndedEarlyStatus {
        EndedEarlyStatus {
            time: Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            reason: "backend_response_head_malformed".to_owned(),
            ended_by: "backend".to_owned(),
            phase: "response_head".to_owned(),
            meaning: "The backend sent a malformed response head.".to_owned(),
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
