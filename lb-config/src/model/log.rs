//! `[log]`.

use std::path::PathBuf;

/// `[log]`: what is kept of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How many exchanges that ended early `lb errors` shows. Default 256.
    pub errors: usize,
    /// A line for each request; `None`: there is no access log.
    pub access: Option<AccessLog>,
}

/// `[log.access]`: a line for each request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// How a line is written. Default JSON.
    pub format: AccessFormat,
    /// Where the lines go. Default standard output.
    pub to: LogTarget,
    /// Whether a trace begins here where a request belongs to none. Default no.
    pub trace: bool,
    /// Whether connections that ended early without a request get a line too. Default no.
    pub connections: bool,
}

/// Where lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
    /// The host's syslog, by `/dev/log`.
    Syslog,
}

/// How a line is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccessFormat {
    /// A JSON object with every field.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// The operator's own.
    Own(Vec<FormatPart>),
}

/// A part of a format of one's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FormatPart {
    /// As it stands.
    Text(String),
    /// A field of the request.
    Field(AccessField),
}

macro_rules! access_fields {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A field of a line of the access log.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum AccessField {
            $(#[doc = $meaning] $variant,)*
        }

        impl AccessField {
            /// Every field, in the order of JSON lines.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, in JSON and in formats.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it is, as a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

access_fields! {
    Time "time"
        "When the head of the request had come, UTC, as RFC 3339 has it.";
    Service "service"
        "The service.";
    Client "client"
        "The client's address.";
    ClientPort "client_port"
        "The client's port.";
    Protocol "protocol"
        "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.";
    TlsVersion "tls_version"
        "`1.2` or `1.3`; absent without TLS.";
    TlsResumed "tls_resumed"
        "`true` or `false`: whether an earlier TLS session was resumed.";
    Method "method"
        "The method.";
    Host "host"
        "The host that was asked for.";
    Target "target"
        "The path and the query, as the client sent them.";
    Referer "referer"
        "The header Referer.";
    UserAgent "user_agent"
        "The header User-Agent.";
    Status "status"
        "The status that the client was sent; absent where it was sent none.";
    Reason "reason"
        "Why the answer is lb's own, or why the exchange ended early; absent where a backend answered and the client has it all.";
    EndedBy "ended_by"
        "Who ended it, as in the reason: `client`, `backend` or `lb`.";
    Phase "phase"
        "How far it was, as in the reason.";
    Backend "backend"
        "The backend that had the request last.";
    Attempts "attempts"
        "How often the request was sent to a backend, or tried to be.";
    RequestBytes "request_bytes"
        "Bytes of the request's body that a backend took; of a tunnel, bytes to the backend.";
    ResponseBytes "response_bytes"
        "Bytes of the response's body that were handed to the client; of a tunnel, bytes to it.";
    TlsUs "tls_us"
        "Microseconds of the TLS handshake, on the first request of its connection.";
    QueueUs "queue_us"
        "Microseconds until a backend was chosen.";
    ConnectUs "connect_us"
        "Microseconds from there until there was a connection to the backend that had it last; next to nothing where one was kept.";
    FirstByteUs "first_byte_us"
        "Microseconds from there to the first byte of the response.";
    TotalUs "total_us"
        "Microseconds from the end of the head to the end of the response, or of the tunnel.";
    TraceId "trace_id"
        "The trace ID of `traceparent` (W3C Trace Context).";
}
