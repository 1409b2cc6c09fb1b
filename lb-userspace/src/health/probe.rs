//! Checks a backend once, by a TCP connection or an HTTP request.

use std::{io, net::SocketAddr, ops::RangeInclusive, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::config::{Check, CheckKind};

/// Maximum number of bytes that are read of a response. The response's head must fit into them.
const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of header fields in a backend's response.
const MAX_HEADERS: usize = 100;

/// Why a health check failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The backend refused the connection.
    #[error("connection refused")]
    Refused,
    /// The check did not end within this time.
    #[error("no response within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The connection to the backend failed in another way.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The backend closed the connection before the end of the response's head.
    #[error("the backend closed the connection before its response")]
    Closed,
    /// The backend's reply is not an HTTP/1 response.
    #[error("not an HTTP/1 response: {0}")]
    NotHttp(String),
    /// The response has a status that does not count as healthy.
    #[error("status {found}, expected {} to {}", wanted.start(), wanted.end())]
    Status {
        /// The status that the backend sent.
        found: u16,
        /// The range of statuses that count as healthy.
        wanted: RangeInclusive<u16>,
    },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Connection(error.to_string()),
        }
    }
}

/// Checks a backend once. This takes at most `check.timeout`.
///
/// # Errors
/// Why the backend failed the check.
pub async fn probe(backend: SocketAddr, check: &Check) -> Result<(), Failure> {
    match timeout(check.timeout, attempt(backend, &check.kind)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Failure::TimedOut(check.timeout)),
    }
}

async fn attempt(backend: SocketAddr, kind: &CheckKind) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(backend).await?;
    match kind {
        CheckKind::Tcp => reset_on_close(&stream),
        CheckKind::Http { path, host, expect } => {
            let host = host.clone().unwrap_or_else(|| backend.to_string());
            let head = request(path, &host);
            stream.write_all(head.as_bytes()).await?;
            let found = read_status(&mut stream).await?;
            reset_on_close(&stream)?;
            if expect.contains(&found) {
                return Ok(());
            }
            Err(Failure::Status {
                found,
                wanted: expect.clone(),
            })
        }
    }
}

/// Has the connection closed by a reset, which avoids thousands of sockets in TIME_WAIT on this
/// host.
fn reset_on_close(stream: &TcpStream) -> Result<(), Failure> {
    let socket = socket2::SockRef::from(stream);
    Ok(socket.set_linger(Some(Duration::ZERO))?)
}

fn request(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lb/{} (health check)\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Reads the head of the response, and of the body only the bytes that arrive with it. Returns the
/// status.
async fn read_status(stream: &mut TcpStream) -> Result<u16, Failure> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut head).await?;
        if let Some(status) = parse_status(&head)? {
            return Ok(status);
        }
        if read == 0 {
            return Err(Failure::Closed);
        }
        if head.len() >= MAX_HEAD {
            return Err(Failure::NotHttp(format!(
                "its head has more than {MAX_HEAD} bytes"
            )));
        }
    }
}

/// Parses the status of the final response in `head`; `None` while its head is incomplete.
/// Responses with status 1xx precede the final one (RFC 9110, section 15.2).
fn parse_status(mut head: &[u8]) -> Result<Option<u16>, Failure> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(head);
        let length = match parsed.map_err(|error| Failure::NotHttp(error.to_string()))? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        match response.code {
            Some(100..=199) => head = &head[length..],
            code => return Ok(code),
        }
    }
}

#[cfg(test)]
mod tests;
