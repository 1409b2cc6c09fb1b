//! A line of the access log and its formats.

use std::{
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use super::{
    escape::{push_json, push_text},
    time::{push_combined, push_rfc3339},
};
use crate::config::{AccessField, AccessFormat, FormatPart};

/// The values of one line: those of a request, or of a connection that ended early. An empty
/// string, `None` and the status 0 mean that a value is absent.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// When the head of the request was complete.
    pub time: SystemTime,
    /// The name of the service.
    pub service: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The protocol of the request, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The TLS version; empty without TLS.
    pub tls_version: &'a str,
    /// Whether the client resumed a TLS session; `None` without TLS.
    pub tls_resumed: Option<bool>,
    /// The method of the request.
    pub method: &'a [u8],
    /// The requested host.
    pub host: &'a [u8],
    /// The path of the request, with its query.
    pub target: &'a [u8],
    /// The Referer field.
    pub referer: &'a [u8],
    /// The User-Agent field.
    pub user_agent: &'a [u8],
    /// The status of the response.
    pub status: u16,
    /// Why the request ended early, if it did.
    pub why: Option<EndReason>,
    /// The name of the backend.
    pub backend: &'a str,
    /// Number of attempts to send the request to a backend.
    pub attempts: u32,
    /// Body bytes sent to the backend.
    pub request_bytes: u64,
    /// Body bytes sent to the client.
    pub response_bytes: u64,
    /// Duration of the connection's TLS handshake.
    pub tls: Option<Duration>,
    /// Time from the end of the head until a backend was chosen.
    pub queue: Option<Duration>,
    /// Time from the choice of a backend until the connection was established.
    pub connect: Option<Duration>,
    /// Time from the established connection until the first byte of the response.
    pub first_byte: Option<Duration>,
    /// Time from the end of the head until the end of the request.
    pub total: Duration,
    /// The trace ID of the request, from `traceparent`.
    pub trace_id: &'a [u8],
}

/// Why a request ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndReason {
    /// The reason, as listed in `docs/reasons.md`.
    pub reason: &'static str,
    /// The party that ended the request.
    pub ended_by: &'static str,
    /// The phase that the request was in when it ended.
    pub phase: &'static str,
}

/// The value of one field of a line.
enum Value<'a> {
    Absent,
    Text(&'a [u8]),
    Number(u64),
    Flag(bool),
    Address(IpAddr),
    Time(SystemTime),
}

impl Line<'_> {
    /// Appends the line in this format, without a line feed.
    pub fn write_to(&self, format: &AccessFormat, out: &mut Vec<u8>) {
        match format {
            AccessFormat::Json => self.write_json(out),
            AccessFormat::Combined => self.write_combined(out),
            AccessFormat::Own(parts) => {
                for part in parts {
                    match part {
                        FormatPart::Text(text) => out.extend_from_slice(text.as_bytes()),
                        FormatPart::Field(field) => self.value(*field).write_text(out),
                    }
                }
            }
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut before = b'{';
        for field in AccessField::ALL {
            out.push(before);
            before = b',';
            out.push(b'"');
            out.extend_from_slice(field.name().as_bytes());
            out.extend_from_slice(b"\":");
            self.value(*field).write_json(out);
        }
        out.push(b'}');
    }

    /// Appends the line in Apache's combined format: `%h %l %u %t "%r" %>s %b "%{Referer}i"
    /// "%{User-agent}i"`.
    fn write_combined(&self, out: &mut Vec<u8>) {
        let text = |field| self.value(field);
        text(AccessField::Client).write_text(out);
        out.extend_from_slice(b" - - [");
        push_combined(out, self.time);
        out.extend_from_slice(b"] \"");
        if self.method.is_empty() {
            out.push(b'-');
        } else {
            push_text(out, self.method);
            out.push(b' ');
            push_text(out, self.target);
            out.push(b' ');
            push_text(out, self.protocol.as_bytes());
        }
        out.extend_from_slice(b"\" ");
        text(AccessField::Status).write_text(out);
        out.push(b' ');
        text(AccessField::ResponseBytes).write_text(out);
        for field in [AccessField::Referer, AccessField::UserAgent] {
            out.extend_from_slice(b" \"");
            text(field).write_text(out);
            out.push(b'"');
        }
    }

    fn value(&self, field: AccessField) -> Value<'_> {
        let micros = |time: Option<Duration>| {
            time.map_or(Value::Absent, |time| {
                Value::Number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
            })
        };
        let word = |word: fn(EndReason) -> &'static str| {
            self.why
                .map_or(Value::Absent, |why| Value::Text(word(why).as_bytes()))
        };
        match field {
            AccessField::Time => Value::Time(self.time),
            AccessField::Service => Value::text(self.service.as_bytes()),
            AccessField::Client => Value::Address(self.client),
            AccessField::ClientPort => Value::Number(self.client_port.into()),
            AccessField::Protocol => Value::text(self.protocol.as_bytes()),
            AccessField::TlsVersion => Value::text(self.tls_version.as_bytes()),
            AccessField::TlsResumed => self.tls_resumed.map_or(Value::Absent, Value::Flag),
            AccessField::Method => Value::text(self.method),
            AccessField::Host => Value::text(self.host),
            AccessField::Target => Value::text(self.target),
            AccessField::Referer => Value::text(self.referer),
            AccessField::UserAgent => Value::text(self.user_agent),
            AccessField::Status if self.status == 0 => Value::Absent,
            AccessField::Status => Value::Number(self.status.into()),
            AccessField::Reason => word(|why| why.reason),
            AccessField::EndedBy => word(|why| why.ended_by),
            AccessField::Phase => word(|why| why.phase),
            AccessField::Backend => Value::text(self.backend.as_bytes()),
            AccessField::Attempts => Value::Number(self.attempts.into()),
            AccessField::RequestBytes => Value::Number(self.request_bytes),
            AccessField::ResponseBytes => Value::Number(self.response_bytes),
            AccessField::TlsUs => micros(self.tls),
            AccessField::QueueUs => micros(self.queue),
            AccessField::ConnectUs => micros(self.connect),
            AccessField::FirstByteUs => micros(self.first_byte),
            AccessField::TotalUs => micros(Some(self.total)),
            AccessField::TraceId => Value::text(self.trace_id),
        }
    }
}

impl<'a> Value<'a> {
    fn text(text: &'a [u8]) -> Self {
        if text.is_empty() {
            Self::Absent
        } else {
            Self::Text(text)
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Absent => out.extend_from_slice(b"null"),
            Self::Text(text) => push_json(out, text),
            Self::Number(_) | Self::Flag(_) => self.write_text(out),
            Self::Address(_) | Self::Time(_) => {
                out.push(b'"');
                self.write_text(out);
                out.push(b'"');
            }
        }
    }

    /// Appends the value for all formats but JSON: as text, or `-` if it is absent.
    fn write_text(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _written = match self {
            Self::Absent => out.write_all(b"-"),
            Self::Text(text) => {
                push_text(out, text);
                Ok(())
            }
            Self::Number(number) => write!(out, "{number}"),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Address(address) => write!(out, "{address}"),
            Self::Time(time) => {
                push_rfc3339(out, *time);
                Ok(())
            }
        };
    }
}
