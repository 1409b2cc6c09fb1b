//! Timeouts of the HTTP front.

use std::time::Duration;

/// `[http.timeouts]` and `[service.timeouts]`: the longest waits for clients and backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// The longest TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// The longest time from the first byte of a request to the end of its head, and the longest
    /// wait for the first request of a connection. Default 10 s.
    pub head: Duration,
    /// The longest pause within a request's body. Default 30 s.
    pub body: Duration,
    /// The longest pause between two requests of a connection. Default 60 s.
    pub keep_alive: Duration,
    /// The longest time without progress in sending a response to a client or a request to a
    /// backend. Default 60 s.
    pub send: Duration,
    /// The longest time to connect to a backend. Default 2 s.
    pub connect: Duration,
    /// The longest time from sending a request to the end of its response's head. Default 60 s.
    pub response_head: Duration,
    /// The longest pause within a response's body. Default 60 s.
    pub response_body: Duration,
    /// How long a tunnel may be idle. Default 1 h.
    pub tunnel: Duration,
    /// How long a tunnel with one side closed may be idle. Default 30 s.
    pub half_closed: Duration,
    /// The longest time from the end of a request's head to the end of its response. Default: no
    /// limit.
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
