//! Timeouts of the HTTP front.

use std::time::Duration;

/// `[http.timeouts]` and `[service.timeouts]`: the longest waits for clients and backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Maximum duration of a client's TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Maximum time from the first byte of a client's request to the end of its head, and maximum
    /// wait for the first request of a connection. Default 10 s.
    pub head: Duration,
    /// Maximum pause within the body of a client's request. Default 30 s.
    pub body: Duration,
    /// Maximum pause between two requests of a client's connection. Default 60 s.
    pub keep_alive: Duration,
    /// Maximum time without progress in sending a response to a client or a request to a backend.
    /// Default 60 s.
    pub send: Duration,
    /// Maximum time to connect to a backend. Default 2 s.
    pub connect: Duration,
    /// Maximum time from sending a request to a backend to the end of the response's head. Default
    /// 60 s.
    pub response_head: Duration,
    /// Maximum pause within the body of a backend's response. Default 60 s.
    pub response_body: Duration,
    /// Maximum time for which a tunnel, which is a connection after an upgrade such as to
    /// WebSocket, may be idle. Default 1 h.
    pub tunnel: Duration,
    /// Maximum time for which a tunnel (a connection after an upgrade such as to WebSocket) may be
    /// idle after one side has closed it. Default 30 s.
    pub half_closed: Duration,
    /// Maximum time from the end of a request's head to the end of its response; `None` for no
    /// limit, which is the default.
    pub request: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
            send: Duration::from_secs(60),
            connect: Duration::from_secs(2),
            response_head: Duration::from_secs(60),
            response_body: Duration::from_secs(60),
            tunnel: Duration::from_secs(3600),
            half_closed: Duration::from_secs(30),
            request: None,
        }
    }
}
