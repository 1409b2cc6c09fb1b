//! The access log's record of a request in flight. It exists only while an access log is
//! configured.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, header};

use super::{
    front::{Client, Front},
    message::Request,
    reason::Reason,
    request_state::{RequestState, RequestTimes},
    trace::{self, TraceId},
};
use crate::access_log::{AccessLog, EndReason, Line};

/// Limit of each value that is copied from the client's request, in bytes.
const VALUE_BYTES: usize = 2048;

/// What the access log keeps of a request until the request ends.
#[derive(Debug)]
pub(super) struct LogEntry {
    log: Rc<AccessLog>,
    time: SystemTime,
    protocol: &'static str,
    /// The values copied from the client's request, concatenated.
    values: Vec<u8>,
    /// For each value, the offset of its end in `values`.
    ends: [usize; VALUES],
    trace: Option<TraceId>,
}

/// Number of values that are copied from the client's request.
const VALUES: usize = 5;

impl LogEntry {
    /// Begins the log entry of a request that came over this protocol (such as `HTTP/1.1`).
    pub(super) fn begin(log: Rc<AccessLog>, protocol: &'static str) -> Self {
        Self {
            log,
            time: SystemTime::now(),
            protocol,
            values: Vec::new(),
            ends: [0; VALUES],
            trace: None,
        }
    }

    /// Copies the values that the access log shows from an HTTP/1 request.
    pub(super) fn keep_http1(&mut self, request: &Request<'_, '_>) {
        let field = |name: &str| {
            let mut fields = request.fields.iter();
            let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
            found.map_or(&b""[..], |field| field.value)
        };
        if request.http10 {
            self.protocol = "HTTP/1.0";
        }
        self.keep([
            request.method.0.as_bytes(),
            request.host.unwrap_or_default().as_bytes(),
            request.target.as_bytes(),
            field("referer"),
            field("user-agent"),
        ]);
    }

    /// Copies the values that the access log shows from an HTTP/2 request.
    pub(super) fn keep_http2(&mut self, parts: &http::request::Parts) {
        let field = |headers: &HeaderMap, name| {
            let value = headers.get(name);
            value.map_or(Vec::new(), |value| value.as_bytes().to_vec())
        };
        let authority = parts.uri.authority().map(|one| one.as_str().as_bytes());
        let host = authority.map_or_else(|| field(&parts.headers, header::HOST), <[u8]>::to_vec);
        let target = parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        self.keep([
            parts.method.as_str().as_bytes(),
            &host,
            target.as_bytes(),
            &field(&parts.headers, header::REFERER),
            &field(&parts.headers, header::USER_AGENT),
        ]);
    }

    /// Finds the trace ID of a request in the head for the backend, or begins a trace there if the
    /// access log is configured to.
    pub(super) fn follow_trace(&mut self, head: &mut Vec<u8>) {
        let begins = self.log.settings().trace;
        self.trace = trace::follow(head, || begins.then(random).flatten());
    }

    fn keep(&mut self, values: [&[u8]; VALUES]) {
        self.values.clear();
        for (value, end) in values.into_iter().zip(&mut self.ends) {
            let value = &value[..value.len().min(VALUE_BYTES)];
            self.values.extend_from_slice(value);
            *end = self.values.len();
        }
    }

    fn value(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[number]]
    }

    /// Passes the line of a request that has ended to the access log.
    pub(super) fn write(
        &self,
        (front, client): (&Front, &Client),
        state: &RequestState,
        (status, reason): (u16, Option<Reason>),
        began: Instant,
    ) {
        let backend = state.backend();
        let RequestTimes {
            chosen,
            connected,
            first_byte,
            ..
        } = &state.times;
        let between = |from: Option<Instant>, to: &Cell<Option<Instant>>| {
            Some(to.get()?.saturating_duration_since(from?))
        };
        self.log.push(&Line {
            time: self.time,
            protocol: self.protocol,
            method: self.value(0),
            host: self.value(1),
            target: self.value(2),
            referer: self.value(3),
            user_agent: self.value(4),
            status,
            why: reason.map(end_reason),
            backend: backend.as_ref().map_or("", |backend| backend.name.as_str()),
            attempts: state.attempts(),
            request_bytes: state.request_bytes.get(),
            response_bytes: state.response_bytes.get(),
            tls: client.tls.take_duration(),
            queue: between(Some(began), chosen),
            connect: between(chosen.get(), connected),
            first_byte: between(connected.get(), first_byte),
            total: began.elapsed(),
            trace_id: self.trace.as_ref().map_or(b"", |trace| &trace[..]),
            ..of_connection(front, client)
        });
    }
}

/// Returns random bytes for a new trace; `None` if the system has no random bytes, in which case no
/// trace begins.
fn random() -> Option<trace::Random> {
    let mut random = trace::Random::default();
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(random)
}

/// Writes a line to the access log, if one is configured, for a connection that ended early without
/// a request in flight.
pub(super) fn write_connection(front: &Front, client: &Client, reason: Reason) {
    let Some(log) = front.access_log() else {
        return;
    };
    if log.settings().connections {
        log.push(&Line {
            why: Some(end_reason(reason)),
            tls: client.tls.take_duration(),
            ..of_connection(front, client)
        });
    }
}

/// Returns a log line with only the fields that all requests of a connection share.
fn of_connection<'a>(front: &'a Front, client: &Client) -> Line<'a> {
    Line {
        time: SystemTime::now(),
        service: front.name.as_str(),
        client: client.address,
        client_port: client.port,
        protocol: "",
        tls_version: client.tls.version(),
        tls_resumed: client.tls.resumed(),
        method: b"",
        host: b"",
        target: b"",
        referer: b"",
        user_agent: b"",
        status: 0,
        why: None,
        backend: "",
        attempts: 0,
        request_bytes: 0,
        response_bytes: 0,
        tls: None,
        queue: None,
        connect: None,
        first_byte: None,
        total: std::time::Duration::ZERO,
        trace_id: b"",
    }
}

fn end_reason(reason: Reason) -> EndReason {
    EndReason {
        reason: reason.word(),
        ended_by: reason.by().word(),
        phase: reason.phase().word(),
    }
}
