//! The read-only HTTP server of the agent: `/metrics`, `/healthz`, `/api/v1/status`, `/`.
//!
//! It speaks HTTP/1.1 with one request per connection: enough for a scrape every few seconds and an
//! occasional browser, with the smallest attack surface.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    Source,
    accept::{Shutdown, accept},
    page,
};
use crate::metrics::Format;

/// The limit of concurrent connections; further connections wait in the kernel's backlog.
const MAX_CONNECTIONS: u32 = 256;
/// The maximum length of a request's head, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// The maximum number of header fields of a request.
const MAX_HEADERS: usize = 64;
/// Time limit for a client to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// Time limit for a client to receive the response.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// For how long, and up to how many bytes, the server reads and discards input after it has sent
/// the response. Without this, closing a socket with unread input would reset the connection, and
/// the client might lose the response.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Serves connections until `shutdown` is given, then until the exchanges in flight have ended.
pub(super) async fn serve(listener: TcpListener, source: Arc<dyn Source>, shutdown: Shutdown) {
    let exchange = |stream| {
        let source = Arc::clone(&source);
        async move {
            // An error means that the client disconnected or timed out, which needs no action.
            let _ended = exchange(stream, source).await;
        }
    };
    accept(listener, MAX_CONNECTIONS, shutdown, exchange).await;
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Request {
    is_head: bool,
    route: Route,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Page,
    Metrics(Format),
    Healthz,
    Status,
}

struct Response {
    code: u16,
    content_type: &'static str,
    body: String,
}

async fn exchange(mut stream: TcpStream, source: Arc<dyn Source>) -> io::Result<()> {
    let request = match timeout(HEAD_DEADLINE, read_request(&mut stream)).await {
        Ok(request) => request?,
        Err(_elapsed) => Err(Response::text(408, "No request received in time.\n")),
    };
    let (is_head, response) = match request {
        Ok(Request { is_head, route }) => {
            let made = tokio::task::spawn_blocking(move || respond(route, &*source)).await;
            (is_head, made.map_err(io::Error::other)?)
        }
        Err(refusal) => (false, refusal),
    };
    let bytes = response.to_bytes(is_head);
    timeout(ANSWER_DEADLINE, stream.write_all(&bytes)).await??;
    stream.shutdown().await?;
    let (time, most) = LINGER;
    let mut rest = stream.take(most as u64);
    let _drained = timeout(time, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}

/// Reads a request's head from the connection and parses it. The inner error is the response to
/// send if the request is malformed or unsupported.
async fn read_request(stream: &mut TcpStream) -> io::Result<Result<Request, Response>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&head) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(refusal) => return Ok(Err(refusal)),
            Ok(None) if head.len() >= MAX_HEAD => {
                return Ok(Err(Response::text(
                    431,
                    "The request's head is too long.\n",
                )));
            }
            Ok(None) => {}
        }
    }
}

/// Parses a request's head. Returns `None` while the head is incomplete, and the response to send
/// as an error.
fn parse(head: &[u8]) -> Result<Option<Request>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::text(431, "The request has too many headers.\n"));
        }
        Err(error) => {
            return Err(Response::text(
                400,
                &format!("Malformed HTTP/1 request: {error}.\n"),
            ));
        }
    }
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => {
            return Err(Response::text(
                405,
                "Only GET and HEAD are supported: use the `lb` command for changes.\n",
            ));
        }
    };
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let route = match path {
        "/" => Route::Page,
        "/metrics" => Route::Metrics(format_of(request.headers)),
        "/healthz" => Route::Healthz,
        "/api/v1/status" => Route::Status,
        _ => {
            let known = "404 Not Found. Available: /, /metrics, /healthz, /api/v1/status.\n";
            return Err(Response::text(404, known));
        }
    };
    Ok(Some(Request { is_head, route }))
}

fn format_of(headers: &[httparse::Header<'_>]) -> Format {
    let wants_open_metrics = headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("accept")
            && header
                .value
                .windows(Format::OPEN_METRICS.len())
                .any(|window| window.eq_ignore_ascii_case(Format::OPEN_METRICS.as_bytes()))
    });
    if wants_open_metrics {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn respond(route: Route, source: &dyn Source) -> Response {
    match route {
        Route::Page => Response::new(200, HTML, page::render(&source.status())),
        Route::Metrics(format) => Response::new(200, format.content_type(), source.metrics(format)),
        Route::Healthz => healthz(&source.status().problems),
        Route::Status => match serde_json::to_string_pretty(&source.status()) {
            Ok(json) => Response::new(200, JSON, json + "\n"),
            Err(error) => Response::text(500, &format!("{error}\n")),
        },
    }
}

fn healthz(problems: &[String]) -> Response {
    if problems.is_empty() {
        return Response::text(200, "ok\n");
    }
    Response::text(503, &(problems.join("\n") + "\n"))
}

impl Response {
    fn new(code: u16, content_type: &'static str, body: String) -> Self {
        Self {
            code,
            content_type,
            body,
        }
    }

    fn text(code: u16, body: &str) -> Self {
        Self::new(code, TEXT, body.to_owned())
    }

    fn to_bytes(&self, is_head: bool) -> Vec<u8> {
        let code = http::StatusCode::from_u16(self.code).unwrap_or_default();
        let reason = code.canonical_reason().unwrap_or_default();
        let allow = if self.code == 405 {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
             frame-ancestors 'none'\r\nConnection: close\r\n\r\n",
            self.code,
            self.content_type,
            self.body.len()
        );
        let body = if is_head { "" } else { &self.body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests;
