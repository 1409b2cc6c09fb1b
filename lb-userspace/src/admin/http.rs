//! The HTTP server for Prometheus and browsers: `/metrics`, `/healthz`, `/api/v1/status`, and the
//! status page at `/` with `/api/v1/stream` and `/api/v1/command`.
//!
//! HTTP/1.1 with one request per connection: enough for a scrape every few seconds and a few
//! browsers, with the smallest attack surface.

use std::{io, sync::Arc, time::Duration};

use super::{
    Command, Source,
    accept::{Shutdown, accept},
    live::Live,
    page::{self, Actions},
    protocol, socket,
    tls::{AdminTls, Operator},
    token::OperatorToken,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

mod origin;
mod permit;
mod request;
mod response;
mod stream;

use request::{MAX_HEAD, Request, Route};
use response::Response;

/// The limit of concurrent connections; further connections wait in the kernel's backlog.
const MAX_CONNECTIONS: u32 = 256;
/// The limit of browsers that follow the updates of the status page at the same time.
const MAX_STREAMS: usize = 64;
/// Time limit for a TLS handshake, for a request's head, and for its body.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// Time limit for a client to receive the response.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// For how long, and up to how many bytes, the server reads and discards input after it has sent
/// the response. Without this, closing a socket with unread input would reset the connection, and
/// the client might lose the response.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// The HTTP server: the sources of its answers, and what it requires of its clients.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) source: Arc<dyn Source>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) live: Live,
    /// The operator token by which a client may change something; `None` if no token allows it.
    pub(super) token: Option<OperatorToken>,
    /// Accepts TLS connections; `None` if the server speaks plain HTTP.
    pub(super) tls: Option<AdminTls>,
    streams: Arc<Semaphore>,
}

impl Server {
    /// Creates a server. Requests that change something are sent to `commands`.
    pub(super) fn new(
        source: Arc<dyn Source>,
        commands: mpsc::Sender<Command>,
        token: Option<OperatorToken>,
        tls: Option<AdminTls>,
    ) -> Self {
        Self {
            live: Live::new(Arc::clone(&source)),
            source,
            commands,
            token,
            tls,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Serves HTTP requests until `shutdown` is given, then until the exchanges in flight have
    /// ended.
    pub(super) async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let ending = shutdown.clone();
        let exchange = |stream| {
            let (server, ending) = (self.clone(), ending.clone());
            async move {
                // An error means that the client disconnected or timed out.
                let _ended = server.handshake(stream, ending).await;
            }
        };
        accept(listener, MAX_CONNECTIONS, shutdown, exchange).await;
    }

    async fn handshake(self, stream: TcpStream, shutdown: Shutdown) -> io::Result<()> {
        match self.tls.clone() {
            None => self.exchange(stream, None, shutdown).await,
            Some(tls) => {
                let (stream, operator) = timeout(HEAD_DEADLINE, tls.accept(stream)).await??;
                self.exchange(stream, operator, shutdown).await
            }
        }
    }

    /// Answers the request of a connection. `operator` is the operator whose certificate the client
    /// has shown.
    async fn exchange<S>(
        self,
        mut stream: S,
        operator: Option<Operator>,
        shutdown: Shutdown,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = match timeout(HEAD_DEADLINE, read_request(&mut stream)).await {
            Ok(request) => request?,
            Err(_elapsed) => Err(Response::text(408, "No request received in time.\n")),
        };
        let operator = operator.as_ref();
        let actions = self.actions(operator);
        let (is_head, response) = match request {
            Ok((Request { is_head, route, .. }, body)) => match route {
                Route::Stream if !is_head => match Arc::clone(&self.streams).try_acquire_owned() {
                    Ok(_place) => {
                        return stream::serve(stream, self.live.follow(actions), shutdown).await;
                    }
                    Err(_all_taken) => {
                        let said = "Too many browsers follow the status page.\n";
                        (false, Response::text(503, said))
                    }
                },
                Route::Command(command) => {
                    let answer = self.command(&mut stream, operator, &command, body).await?;
                    (false, answer)
                }
                route => (is_head, self.read(route, actions).await?),
            },
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

    /// Answers a request that only reads the state of the agent.
    async fn read(&self, route: Route, actions: Actions) -> io::Result<Response> {
        let (source, live) = (Arc::clone(&self.source), self.live.clone());
        let made =
            tokio::task::spawn_blocking(move || respond(&route, &*source, &live, actions)).await;
        made.map_err(io::Error::other)
    }

    /// Carries out a request that changes something, such as a drain. `body` is the part of the
    /// request's body that was read together with the head.
    async fn command<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        operator: Option<&Operator>,
        command: &request::Command,
        mut body: Vec<u8>,
    ) -> io::Result<Response> {
        if let Err(refusal) = self.permit(operator, command) {
            return Ok(refusal);
        }
        body.truncate(command.body);
        let have = body.len();
        body.resize(command.body, 0);
        if let Some(rest) = body.get_mut(have..) {
            timeout(HEAD_DEADLINE, stream.read_exact(rest)).await??;
        }
        let request: protocol::Request = match serde_json::from_slice(&body) {
            Ok(request) => request,
            Err(error) => {
                let said = format!("Malformed or unknown command: {error}.\n");
                return Ok(Response::text(400, &said));
            }
        };
        if !is_for_the_page(&request) {
            let said =
                "This command is accepted on the admin socket alone: use `lb` on the host.\n";
            return Ok(Response::text(403, said));
        }
        let operator = operator.map(|operator| operator.name.as_str());
        tracing::info!(?request, operator, "command from the status page");
        let source = Arc::clone(&self.source);
        let answer = socket::answer(request, source, self.commands.clone()).await;
        Ok(Response::answer(answer))
    }
}

/// Returns whether the buttons of the status page may send this request: only those for backends
/// and for the hand-over to the peer.
fn is_for_the_page(request: &protocol::Request) -> bool {
    use protocol::Request;
    matches!(request, Request::Backend { .. } | Request::Failover)
}

/// Reads and parses a request's head. Returns the head and the bytes that were read after it, or
/// the response that refuses a malformed or unsupported request.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<Result<(Request, Vec<u8>), Response>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match request::parse(&head) {
            Ok(Some(request)) => {
                let body = head.split_off(request.length.min(head.len()));
                return Ok(Ok((request, body)));
            }
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

fn respond(route: &Route, source: &dyn Source, live: &Live, actions: Actions) -> Response {
    match route {
        Route::Page => Response::html(live.document(actions)),
        Route::Style => Response::new(200, "text/css; charset=utf-8", page::STYLE.to_owned()),
        Route::Script => {
            let script = page::SCRIPT.to_owned();
            Response::new(200, "text/javascript; charset=utf-8", script)
        }
        Route::Metrics(format) => {
            Response::new(200, format.content_type(), source.metrics(*format))
        }
        Route::Healthz => healthz(&source.status().problems),
        Route::Status => match serde_json::to_string_pretty(&source.status()) {
            Ok(json) => Response::json(json + "\n"),
            Err(error) => Response::text(500, &format!("{error}\n")),
        },
        // Only HEAD requests for the stream get here: other requests for the stream, and commands,
        // are answered before.
        Route::Stream | Route::Command(_) => Response::new(200, "text/event-stream", String::new()),
    }
}

fn healthz(problems: &[String]) -> Response {
    if problems.is_empty() {
        return Response::text(200, "ok\n");
    }
    Response::text(503, &(problems.join("\n") + "\n"))
}

#[cfg(test)]
mod tests;
