//! Requests to the admin server.

use super::{origin::Origin, response::Response};
use crate::metrics::Format;

/// The maximum length of a request's head, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;
/// The maximum length of the body of a request that changes something, in bytes.
const MAX_COMMAND: usize = 4 * 1024;
/// The maximum number of headers of a request.
const MAX_HEADERS: usize = 64;

const PATHS: &str = "404 Not Found. Available: /, /metrics, /healthz, /api/v1/status.\n";

/// The head of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) is_head: bool,
    pub(super) route: Route,
    /// Length of the head, in bytes.
    pub(super) length: usize,
}

/// What a request asks the admin server for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    Page,
    Style,
    Script,
    Metrics(Format),
    Healthz,
    Status,
    /// The updates of the status page, as server-sent events.
    Stream,
    Command(Command),
}

/// A request to change something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Command {
    /// The operator token that the client sent; `None` if it sent none.
    pub(super) token: Option<String>,
    pub(super) origin: Origin,
    /// Length of the request's body, in bytes.
    pub(super) body: usize,
}

/// Parses a request's head; `None` while it is incomplete. An error is the response to a request
/// that is malformed or not supported.
pub(super) fn parse(head: &[u8]) -> Result<Option<Request>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::text(431, "The request has too many headers.\n"));
        }
        Err(error) => {
            let said = format!("Malformed HTTP/1 request: {error}.\n");
            return Err(Response::text(400, &said));
        }
    };
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let method = request.method.unwrap_or_default();
    let route = if path == "/api/v1/command" {
        Route::Command(command(method, request.headers)?)
    } else {
        readable(method, path, request.headers)?
    };
    Ok(Some(Request {
        is_head: method == "HEAD",
        route,
        length,
    }))
}

fn readable(method: &str, path: &str, headers: &[httparse::Header<'_>]) -> Result<Route, Response> {
    if !matches!(method, "GET" | "HEAD") {
        let said = "Only GET and HEAD are supported: use the `lb` command for changes.\n";
        return Err(Response::not_allowed("Allow: GET, HEAD\r\n", said));
    }
    match path {
        "/" => Ok(Route::Page),
        "/status.css" => Ok(Route::Style),
        "/live.js" => Ok(Route::Script),
        "/metrics" => Ok(Route::Metrics(format_of(headers))),
        "/healthz" => Ok(Route::Healthz),
        "/api/v1/status" => Ok(Route::Status),
        "/api/v1/stream" => Ok(Route::Stream),
        _ => Err(Response::text(404, PATHS)),
    }
}

fn command(method: &str, headers: &[httparse::Header<'_>]) -> Result<Command, Response> {
    if method != "POST" {
        let said = "Only POST is supported: a command changes something.\n";
        return Err(Response::not_allowed("Allow: POST\r\n", said));
    }
    let value = |name: &str| {
        let header = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| str::from_utf8(header.value).ok())
    };
    let length = value("content-length").and_then(|length| length.trim().parse().ok());
    let body = match length {
        Some(length) if length <= MAX_COMMAND => length,
        Some(_longer) => return Err(Response::text(413, "The command is too long.\n")),
        None => {
            return Err(Response::text(
                411,
                "Content-Length is missing or invalid.\n",
            ));
        }
    };
    let token = value("authorization").and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(Command {
        token: token.map(|(_, token)| token.trim().to_owned()),
        origin: Origin::of(headers),
        body,
    })
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
