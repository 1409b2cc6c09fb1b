//! Sends one request to a backend and its response to the client, whatever protocol the client
//! speaks.

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSlice},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use tokio::{
    net::tcp::{ReadHalf, WriteHalf},
    time::Instant,
};

use super::{
    admission_control::Permit,
    admit::admit,
    client_io::{RequestBody, ResponseSink},
    memory::ResponseBuffer,
    message::{Framing, Refusal},
    metered::Progress,
    observation::Observation,
    reason::{By, Reason},
    receive::{Received, receive},
    request_state::RequestStage,
    retries::{Retries, Retry},
    upload::upload,
    upstream::{PoolBackend, PooledConnection},
    upstream_request::{Failure, UpstreamRequest},
    watchdog::{Expired, Watchdog},
    wire::write_all,
};

/// How the exchange of a request and its response ended. The backend that had the request last is
/// in the request's `RequestState`.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client has the complete response, with this status.
    Answered(u16),
    /// The backend switched protocols and the client has the 101 response. The buffer holds what
    /// the backend has sent after that response.
    Upgraded(PooledConnection, ResponseBuffer),
    /// The client has no part of a response yet, and must be sent an error for this reason.
    Failed(Reason),
    /// The client's request is invalid, for this reason.
    Refused(Refusal),
    /// The client disconnected, or has a part of a response that will not be completed, for this
    /// reason.
    Broken(Reason),
}

impl Outcome {
    /// Returns what the outcome of the request says about the backend's health.
    fn observation(&self) -> Observation {
        match self {
            Self::Answered(status) => Observation::Answered(*status),
            _ => Observation::Answered(101),
        }
    }

    /// Attaches a request's permit to the tunnel that follows the request, because the tunnel
    /// counts as a request in flight for as long as it lasts.
    fn with_permit(mut self, permit: Option<Permit>) -> Self {
        if let Self::Upgraded(connection, _) = &mut self {
            connection.permit = permit;
        }
        self
    }
}

/// Sends a request to a backend and its response to the client. Another backend is tried if a
/// backend refuses the connection; and, if sending the request twice is certain to do no harm, also
/// if the connection died or the backend went down before it answered (see [`Retries`]).
pub(super) async fn exchange<B: RequestBody, K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Outcome {
    let Some(limit) = request.limits.timeouts.request else {
        return attempts(request, body, sink, watchdog).await;
    };
    // The future is boxed, so that requests without the timeout `request` need no memory for it.
    let attempts = Box::pin(attempts(request, body, sink, watchdog));
    if let Ok(ended) = tokio::time::timeout(limit, attempts).await {
        return ended;
    }
    let failure = Reason::request_timeout(request.state.phase());
    if let Some(backend) = &*request.state.backend() {
        let reused = false;
        request
            .pool
            .observe(backend, Observation::Ended { failure, reused });
    }
    end(request, failure)
}

async fn attempts<B: RequestBody, K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Outcome {
    let (pool, state) = (request.pool, request.state);
    pool.count_request(state.began.unwrap_or_else(|| Instant::now().into_std()));
    let mut tried: Vec<Rc<PoolBackend>> = Vec::new();
    let mut retries = Retries::new(pool.retries(), request.limits.timeouts.connect);
    let admitted = admit(request, &tried, body, watchdog).await;
    let (mut backend, mut permit) = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => return end(request, reason),
    };
    let mut connection = PooledConnection::take_idle(&backend);
    loop {
        let reused = connection.is_some();
        state.attempt(&backend);
        let failure = match attempt(request, (&backend, connection), body, sink, watchdog).await {
            Ok(outcome) => {
                pool.observe(&backend, outcome.observation());
                return outcome.with_permit(permit);
            }
            Err(Failure::Refused(refusal)) => return Outcome::Refused(refusal),
            Err(Failure::Ended(reason)) => reason,
        };
        if implicates_backend(failure, reused) {
            backend.upstream.avoid();
        }
        pool.observe(&backend, Observation::Ended { failure, reused });
        let harmless = request.idempotent && !body.has_moved();
        let now = Instant::now();
        let budget = || pool.may_retry(now.into_std());
        match retries.after(failure, (reused, harmless), budget, now) {
            Retry::No => return end(request, failure),
            Retry::OverBudget => {
                request.front.counters.retries_refused.add(1);
                return end(request, failure.over_budget());
            }
            Retry::SameBackend if backend.up.get() => {}
            Retry::SameBackend | Retry::OtherBackend => {
                tried.push(Rc::clone(&backend));
                drop(permit.take());
                let Ok(other) = admit(request, &tried, body, watchdog).await else {
                    return end(request, failure);
                };
                (backend, permit) = other;
            }
        }
        connection = if retries.only_new_connections() {
            None
        } else {
            PooledConnection::take_idle(&backend)
        };
        request.front.counters.retries.add(1);
    }
}

/// Returns whether, after this failure, the backend is to be avoided for a moment in favour of
/// other backends.
fn implicates_backend(failure: Reason, reused: bool) -> bool {
    match failure {
        Reason::BackendConnectRefused
        | Reason::BackendConnectUnreachable
        | Reason::BackendConnectDown
        | Reason::BackendConnectTimeout => true,
        Reason::BackendResponseHeadClosed | Reason::BackendResponseHeadReset => !reused,
        _ => false,
    }
}

fn end(request: &UpstreamRequest<'_>, reason: Reason) -> Outcome {
    if reason.by() == By::Client || request.transfer.answered.get() {
        Outcome::Broken(reason)
    } else {
        Outcome::Failed(reason)
    }
}

async fn attempt<B: RequestBody, K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    (backend, connection): (&Rc<PoolBackend>, Option<PooledConnection>),
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Result<Outcome, Failure> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let connect = connect(request, backend, watchdog);
            // `unless_down` stops connecting if the backend goes down meanwhile.
            let connected = request.pool.unless_down(backend, connect).await;
            connected.unwrap_or(Err(Reason::BackendConnectDown))?
        }
    };
    request.state.enter(RequestStage::Connected);
    request.state.times.connect();
    let mut buffer = ResponseBuffer::new(&request.front.buffers);
    let received = send_and_receive(
        request,
        &mut connection,
        &mut buffer,
        (body, sink),
        watchdog,
    )
    .await;
    match received {
        Ok(Received::Upgrade) => Ok(Outcome::Upgraded(connection, buffer)),
        Ok(Received::Complete { status, keep_alive }) => {
            if keep_alive && buffer.is_empty() && request.transfer.complete.get() {
                connection.return_to_pool(request.limits.idle_connections);
            }
            Ok(Outcome::Answered(status))
        }
        Err(failure) => Err(failure),
    }
}

async fn connect(
    request: &UpstreamRequest<'_>,
    backend: &Rc<PoolBackend>,
    watchdog: &mut Watchdog,
) -> Result<PooledConnection, Reason> {
    let no_descriptor = Reason::LbConnectNoDescriptor;
    let open = request.front.open_backend().ok_or(no_descriptor)?;
    let limit = request.limits.timeouts.connect;
    match watchdog
        .limit(limit, PooledConnection::connect(backend, open))
        .await
    {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if is_out_of_descriptors(&error) => Err(no_descriptor),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            Err(Reason::BackendConnectRefused)
        }
        Ok(Err(_)) => Err(Reason::BackendConnectUnreachable),
        Err(Expired) => Err(Reason::BackendConnectTimeout),
    }
}

/// Returns whether a connection could not be opened because this host, and not the backend, is at
/// fault: it has no file descriptors left.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Sends a request and receives its response; concurrently, if the request has a body.
async fn send_and_receive<B: RequestBody, K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    connection: &mut PooledConnection,
    buffer: &mut ResponseBuffer,
    (body, sink): (&mut B, &mut K),
    watchdog: &mut Watchdog,
) -> Result<Received, Failure> {
    let backend = Rc::clone(connection.backend());
    let (mut reader, mut writer) = connection.stream.split();
    request.transfer.progress.set(None);
    if request.framing == Framing::Empty {
        request.transfer.complete.set(true);
        let mut slices = [IoSlice::new(request.head)];
        let taken = Progress::default();
        let write = write_all(&mut writer, &mut slices, &taken);
        let limit = request.limits.timeouts.send;
        match watchdog.limit_pauses(&taken, limit, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Reason::BackendResponseHeadReset.into()),
            Err(Expired) => return Err(Reason::BackendRequestBodyTimeout.into()),
        }
        let elsewhere = request.idempotent.then_some(&*backend);
        let mut received = pin!(receive(
            request,
            (&mut reader, elsewhere),
            buffer,
            sink,
            watchdog
        ));
        let mut gone = pin!(body.gone(request));
        return poll_fn(|context| {
            let received = received.as_mut().poll(context);
            if received.is_pending()
                && let Poll::Ready(left) = gone.as_mut().poll(context)
            {
                return Poll::Ready(Err(request.client_left(left).into()));
            }
            received.map_err(Failure::Ended)
        })
        .await;
    }
    request.transfer.complete.set(false);
    // The future is boxed, so that requests without a body need no memory for it.
    Box::pin(send_while_receiving(
        request,
        (&mut reader, &mut writer),
        buffer,
        (body, sink),
        watchdog,
    ))
    .await
}

async fn send_while_receiving<B: RequestBody, K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    (reader, writer): (&mut ReadHalf<'_>, &mut WriteHalf<'_>),
    buffer: &mut ResponseBuffer,
    (body, sink): (&mut B, &mut K),
    watchdog: &mut Watchdog,
) -> Result<Received, Failure> {
    let mut up_watchdog = Watchdog::default();
    let mut up = pin!(upload(request, body, writer, &mut up_watchdog));
    let mut down = pin!(receive(request, (reader, None), buffer, sink, watchdog));
    let mut sending = true;
    poll_fn(|context| {
        loop {
            if sending && let Poll::Ready(end) = up.as_mut().poll(context) {
                sending = false;
                if let Err(failure) = end {
                    return Poll::Ready(Err(failure));
                }
            }
            let answered = request.transfer.answered.get();
            let received = down.as_mut().poll(context);
            // The future `up`, which sends the request, also waits until the head of the response
            // has arrived (`answered`): if receiving has changed that, `up` must be polled again.
            if received.is_ready() || answered == request.transfer.answered.get() {
                return received.map_err(Failure::Ended);
            }
        }
    })
    .await
}
