//! A line of the access log, and the formats in which it is written.

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

/// The values of one line of the access log: those of a request, or of a connection that ended
/// early. An empty string, `None` and the status 0 mean that the value is absent.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// When the head of the request was completely received.
    pub time: SystemTime,
    /// The name of the service that the client connected to.
    pub service: &'a str,
    /// The IP address of the client.
    pub client: IpAddr,
    /// The TCP port of the client.
    pub client_port: u16,
    /// The protocol of the request, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The TLS version of the client's connection; empty without TLS.
    pub tls_version: &'a str,
    /// Whether the client resumed a TLS session; `None` without TLS.
    pub tls_resumed: Option<bool>,
    /// The method of the request.
    pub method: &'a [u8],
    /// The host that was requested.
    pub host: &'a [u8],
    /// The path of the request, with its query.
    pub target: &'a [u8],
    /// The value of the request's Referer field.
    pub referer: &'a [u8],
    /// The value of the request's User-Agent field.
    pub user_agent: &'a [u8],
    /// The status of the response; 0 if none was sent.
    pub status: u16,
    /// Why the request ended early; `None` if it did not.
    pub why: Option<EndReason>,
    /// The name of the backend that the request was last sent to.
    pub backend: &'a str,
    /// How many times it was tried to send the request to a backend.
    pub attempts: u32,
    /// Number of bytes of the request's body that were sent to the backend.
    pub request_bytes: u64,
    /// Number of bytes of the response's body that were sent to the client.
    pub response_bytes: u64,
    /// How long the TLS handshake of the client's connection took; `None` without TLS, and for all
    /// requests of a connection but the first.
    pub tls: Option<Duration>,
    /// Time from when the request's head was complete until a backend was chosen; `None` if none
    /// was chosen.
    pub queue: Option<Duration>,
    /// Time from when a backend was chosen until the connection to it was established; `None` if it
    /// was not.
    pub connect: Option<Duration>,
    /// Time from when the connection to the backend was established until the first byte of the
    /// response arrived; `None` if no byte arrived.
    pub first_byte: Option<Duration>,
    /// Time from when the request's head was complete until the request ended.
    pub total: Duration,
    /// The trace ID of the request, from its field `traceparent`.
    pub trace_id: &'a [u8],
}

/// Why a request ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndReason {
    /// Why the request ended early: one of the words listed in `docs/reasons.md`.
    pub reason: &'static str,
    /// The party that ended the request: the client, the backend or `lb`.
    pub ended_by: &'static str,
    /// The phase of the request in which it ended.
    pub phase: &'static str,
}

/// The value of one field of a line of the access log, in the type that the log formats need.
enum Value<'a> {
    Absent,
    Text(&'a [u8]),
    Number(u64),
    Flag(bool),
    Address(IpAddr),
    Time(SystemTime),
}

impl Line<'_> {
    /// Appends the line in the log format `format` to `out`, without a line feed.
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

    /// Appends the line in Apache's combined format to `out`: `%h %l %u %t "%r" %>s %b
    /// "%{Referer}i" "%{User-agent}i"`.
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

    /// Appends the value of a field as all log formats but JSON have it: as text, or as `-` if it
    /// is absent.
    fn write_text(&self, out: &mut Vec<u8>) {
        // Writing to a buffer in memory does not fail.
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
