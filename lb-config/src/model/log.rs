//! The parsed `[log]`.

use std::path::PathBuf;

/// `[log]`: the records of requests, for `lb errors` and the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How the lines of the agent's log are written. Default text.
    pub format: LineFormat,
    /// The level of the log, or levels by module. Default `info`.
    pub level: String,
    /// Maximum number of exchanges (requests with their responses) kept for `lb errors`. Default
    /// 256.
    pub errors: usize,
    /// The file in which the agent keeps the events of this host, for `lb events`; `None`: the
    /// default, which depends on the agent's environment.
    pub events_file: Option<PathBuf>,
    /// The access log, with a line for each request; `None`: there is none.
    pub access: Option<AccessLog>,
}

/// How a line of the agent's log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineFormat {
    /// Each line of the agent's log is compact text.
    Text,
    /// Each line of the agent's log is a JSON object.
    Json,
}

/// `[log.access]`: a line for each request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// The format of a line of the access log. Default JSON.
    pub format: AccessFormat,
    /// The target to which the lines of the access log are written. Default standard output.
    pub to: LogTarget,
    /// Whether to begin a trace for a request that arrives without one. Default false.
    pub trace: bool,
    /// Whether connections that ended early, before a request, have a line in the access log too.
    /// Default false.
    pub connections: bool,
}

/// Where the lines of the access log are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogTarget {
    /// The lines of the access log are written to standard output.
    Stdout,
    /// The lines of the access log are appended to this file.
    File(PathBuf),
    /// The lines of the access log are sent to the host's syslog, through `/dev/log`.
    Syslog,
}

/// The format of a line of the access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccessFormat {
    /// Each line of the access log is a JSON object with every field.
    Json,
    /// Each line of the access log is in the combined format of Apache and nginx.
    Combined,
    /// Each line of the access log is in a custom format, which consists of these parts.
    Own(Vec<FormatPart>),
}

/// A part of a custom format of the access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FormatPart {
    /// Text that is written as it is.
    Text(String),
    /// The value of a field of the request.
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
            /// Every field, in the order in which a JSON line has them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the field's name, in JSON and in custom formats.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the field's meaning, as a sentence.
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
        "When the head of the request had arrived, in UTC, in the format of RFC 3339.";
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
        "The host of the request.";
    Target "target"
        "The path and the query, as the client sent them.";
    Referer "referer"
        "The header Referer.";
    UserAgent "user_agent"
        "The header User-Agent.";
    Status "status"
        "The status that was sent to the client; absent if none was sent.";
    Reason "reason"
        "Why the answer is lb's own, or why the exchange ended early; absent if a backend's \
         response was sent completely.";
    EndedBy "ended_by"
        "The side that ended it, as in the reason: `client`, `backend` or `lb`.";
    Phase "phase"
        "The phase in which it ended, as in the reason.";
    Backend "backend"
        "The last backend that the request was sent to.";
    Attempts "attempts"
        "How often the request was sent to a backend, failed attempts included.";
    RequestBytes "request_bytes"
        "Bytes of the request's body that were sent to a backend; of a tunnel, bytes to the \
         backend.";
    ResponseBytes "response_bytes"
        "Bytes of the response's body that were sent to the client; of a tunnel, bytes to the \
         client.";
    TlsUs "tls_us"
        "Microseconds of the TLS handshake, on the first request of its connection.";
    QueueUs "queue_us"
        "Microseconds until a backend was chosen.";
    ConnectUs "connect_us"
        "Microseconds from there to the connection to the last backend; close to zero if an idle \
         connection was reused.";
    FirstByteUs "first_byte_us"
        "Microseconds from there to the first byte of the response.";
    TotalUs "total_us"
        "Microseconds from the end of the head to the end of the response, or of the tunnel.";
    TraceId "trace_id"
        "The trace ID of `traceparent` (W3C Trace Context).";
}
