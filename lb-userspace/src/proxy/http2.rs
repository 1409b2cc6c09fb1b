//! Serves a client that speaks HTTP/2 (RFC 9113).

use std::{cell::RefCell, future::poll_fn, pin::pin, rc::Rc, task::Poll, time::Duration};

use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
    time::Instant,
};

use super::{
    exchange::{Outcome, exchange},
    field_guard::FieldGuard,
    front::{Client, Front},
    http2_activity::{Activity, StreamScratch},
    http2_body::Http2Body,
    http2_cancel::{DRAIN_BYTES, DRAIN_FOR},
    http2_sink::{Http2Sink, Responder},
    http2_window::{CONNECTION_WINDOW, FIRST_WINDOW, MAX_STREAMS},
    linger::linger,
    memory::CountedBytes,
    message::{FieldEdits, Framing, Method, Notice, Refusal, Via, read_http2},
    metered::Progress,
    panics::contained,
    reason::Reason as Why,
    request_recorder::{RequestRecorder, connection_ended},
    routed::{Http2Fields, Routed, http2_response, with_own_answer},
    routing,
    upstream_request::UpstreamRequest,
    watchdog::{Expired, Watchdog},
};
use crate::config::Http;

/// The name of the protocol in the access log.
const HTTP2: &str = "HTTP/2.0";
/// Limit of the data of one response that the HTTP/2 library holds unsent, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// Limit of an encoded field block, as a multiple of `max_header_bytes`; a longer block ends the
/// connection.
const BLOCK_LIMIT: usize = 4;
/// How often per `send` timeout a connection with open streams attempts a write although the kernel
/// does not report room for it.
const PROBES: u32 = 4;
/// Time limit for sending the GOAWAY frame that ends a connection.
const GOAWAY_LIMIT: Duration = Duration::from_secs(1);
/// Limit of the requests that a client may cancel before the front accepts them; one more ends the
/// connection (CVE-2023-44487).
const MAX_EARLY_RESETS: usize = 32;

/// Serves the requests of one HTTP/2 connection concurrently.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    (stream, progress): (S, Rc<Progress>),
    front: &Rc<Front>,
    client: Client,
    mut watchdog: Watchdog,
) {
    let limits = front.limits();
    let guarded = FieldGuard::new(stream, limits.max_header_bytes * BLOCK_LIMIT);
    let notices = guarded.notices();
    let handshake = builder(&limits).handshake::<_, CountedBytes>(guarded);
    let mut connection = match watchdog.limit(limits.timeouts.head, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return note_end(front, &client, &error),
        Err(Expired) => {
            return connection_ended(front, &client, Why::ClientHeadTimeout, b"");
        }
    };
    let client = Rc::new(client);
    let activity = Rc::new(Activity::new(front, &client, &limits));
    let mut draining = pin!(front.drain.announcement());
    let mut ending = false;
    loop {
        if front.drain.is_last() && !ending {
            ending = true;
            connection.graceful_shutdown();
        }
        let accept = poll_fn(|context| {
            if !ending && draining.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            activity
                .uploads
                .adjust(|window| connection.set_initial_window_size(window).is_ok());
            connection.poll_accept(context).map(Some)
        });
        let limits = front.limits();
        let limit = match activity.streams.get() {
            0 => limits.timeouts.keep_alive,
            _ => (limits.timeouts.send / PROBES).min(limits.timeouts.keep_alive),
        };
        match watchdog
            .limit_since((&activity.last, &mut None), limit, accept)
            .await
        {
            Ok(Some(Some(Ok(_)))) if activity.cancellations.are_too_many() => {
                connection_ended(front, &client, Why::LbHeadCancellations, b"");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let closed = poll_fn(|context| connection.poll_closed(context));
                // The connection ends whether or not the client receives the GOAWAY frame.
                let _closed = watchdog.limit(GOAWAY_LIMIT, closed).await;
                return;
            }
            Ok(Some(Some(Ok((request, respond))))) => {
                let uploads = !request.body().is_end_stream();
                let notice = notices.take(respond.stream_id().as_u32());
                let stream = Stream::begin(front, &client, &activity, uploads);
                let served = Box::pin(stream.answer((request, notice), respond));
                let front = Rc::clone(front);
                spawn_local(async move {
                    contained(&front.name, &front.counters, served).await;
                });
                if activity.cancellations.are_many() {
                    // The tasks of open streams run first, to record their cancellations before the
                    // next request.
                    tokio::task::yield_now().await;
                }
            }
            // No request arrived, but draining has begun.
            Ok(None) => {}
            Ok(Some(Some(Err(error)))) => {
                return note_end(front, &client, &error);
            }
            Ok(Some(None)) => return,
            Err(Expired) if activity.streams.get() > 0 => {
                activity.last.set(Some(Instant::now()));
                progress.probe.set(true);
            }
            // The wait was shorter than `keep_alive`, which counts from the end of the last stream.
            Err(Expired) if limit < limits.timeouts.keep_alive => {}
            Err(Expired) if ending => return,
            Err(Expired) => {
                ending = true;
                connection_ended(front, &client, Why::ClientKeepAliveTimeout, b"");
                connection.graceful_shutdown();
            }
        }
    }
}

/// Records the end of a connection whose client violated the protocol. Nothing is recorded for a
/// client that just disconnects, and requests in flight are recorded separately.
fn note_end(front: &Front, client: &Client, error: &h2::Error) {
    if error.is_remote() || error.is_io() {
        return;
    }
    // With this reason, the HTTP/2 library's own limit of requests cancelled before they were
    // accepted was exceeded.
    let reason = if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        Why::LbHeadCancellations
    } else {
        Why::ClientHeadHttp2
    };
    connection_ended(front, client, reason, error.to_string().as_bytes());
}

fn builder(limits: &Http) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(FIRST_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// One HTTP/2 stream: a request and its response.
struct Stream {
    front: Rc<Front>,
    client: Rc<Client>,
    activity: Rc<Activity>,
    /// Whether the request has a body, and so counts as an upload.
    uploads: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.activity.streams;
        streams.set(streams.get() - 1);
        self.activity.last.set(Some(Instant::now()));
        self.client.entry.end();
        if self.uploads {
            self.activity.uploads.end();
        }
    }
}

impl Stream {
    fn begin(
        front: &Rc<Front>,
        client: &Rc<Client>,
        activity: &Rc<Activity>,
        uploads: bool,
    ) -> Self {
        activity.streams.set(activity.streams.get() + 1);
        client.entry.begin();
        if uploads {
            activity.uploads.begin(Instant::now());
        }
        Self {
            front: Rc::clone(front),
            client: Rc::clone(client),
            activity: Rc::clone(activity),
            uploads,
        }
    }

    async fn answer(
        self,
        (request, notice): (Request<RecvStream>, Notice),
        mut respond: SendResponse<CountedBytes>,
    ) {
        if notice.malformed {
            // A request with a malformed field is answered with a stream error (RFC 9113 §8.1.1).
            let recorder = RequestRecorder::begin(&self.front, &self.client, HTTP2);
            recorder.aborted(Why::ClientHeadHeaderLine);
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        }

        let mut recorder = RequestRecorder::begin(&self.front, &self.client, HTTP2);
        let limits = self.front.limits();
        let (mut parts, body) = request.into_parts();
        recorder.keep(|log| log.keep_http2(&parts));
        let via = Via {
            client: &self.client.text,
            https: self.front.is_https(),
            trusted: self.client.is_trusted(&limits),
            certificate: self.client.certificate.as_deref(),
            local: &self.front.local,
        };
        let mut scratch = self.activity.scratch.borrow_mut().pop().unwrap_or_default();
        let StreamScratch { head, watchdog } = &mut scratch;
        head.clear();
        let responder = RefCell::new(Responder::Waiting(respond));
        let judged = read_http2((&parts, &notice), body.is_end_stream(), via.https);
        let judged = judged.and_then(|request| {
            let asked = routing::Request {
                method: parts.method.as_str(),
                host: request.host,
                target: request.target,
                fields: &Http2Fields(&request, via.trusted),
                client: via.client,
                https: via.https,
            };
            let routed = self.front.route(&asked)?;
            match &routed.pool {
                Some(_pool) => request.write_to(&via, &routed.changes(&asked), head)?,
                None => request.check_fields()?,
            }
            Ok((request.framing, routed))
        });
        let method = Method(parts.method.as_str());
        // The head for the backend has all fields of the request: the HTTP/2 library's copy of them
        // can be freed.
        parts.headers = HeaderMap::new();
        let is_empty = matches!(judged, Ok((Framing::Empty, _)));
        let mut body = Http2Body::new(body, is_empty);
        match &judged {
            Ok((_, routed)) if routed.pool.is_none() => {
                let to = (&responder, &mut *watchdog);
                self.answer_routed(recorder, routed, method, to).await;
            }
            Ok((framing, routed)) => {
                let Some(pool) = &routed.pool else { return };
                recorder.follow_trace(head);
                let (state, progress) = (&recorder.state, Progress::default());
                let upstream_request = UpstreamRequest {
                    front: &self.front,
                    pool,
                    selection: &routed.selection,
                    client: &self.client,
                    limits: &limits,
                    head,
                    framing: *framing,
                    to_head: method.is_head(),
                    idempotent: method.is_idempotent(),
                    upgrade: false,
                    transfer: &state.transfer,
                    progress: &progress,
                    state,
                };
                let to = (&responder, &mut *watchdog);
                let outcome = self
                    .exchange(&upstream_request, routed, &mut body, to)
                    .await;
                if !matches!(outcome, Ok(Outcome::Answered(_))) {
                    state.keep_request(head);
                }
                let to = (&responder, &mut *watchdog);
                let edits = routed.response_edits();
                self.conclude((recorder, edits), outcome, method, to).await;
            }
            Err(refusal) => {
                let head = format!("{} {}", parts.method, parts.uri);
                recorder.state.keep_offending(head.as_bytes());
                let to = (&responder, &mut *watchdog);
                self.refuse(recorder, *refusal, method, to).await;
            }
        }
        linger(&self.front, watchdog, async || body.drop_more().await).await;
        self.activity.keep(scratch);
    }

    /// Sends the request to a backend, and its response to the client. An error is the reason for
    /// which the client cancelled the request.
    async fn exchange(
        &self,
        upstream_request: &UpstreamRequest<'_>,
        routed: &Routed,
        body: &mut Http2Body,
        (responder, watchdog): (&RefCell<Responder>, &mut Watchdog),
    ) -> Result<Outcome, Why> {
        let (backlog, first) = (&self.activity.backlog, self.activity.first_read());
        let mut sink = Http2Sink::new(
            responder,
            (backlog, upstream_request.progress),
            first,
            Some(routed),
        );
        let mut exchange = pin!(exchange(upstream_request, body, &mut sink, watchdog));
        let outcome = poll_fn(|context| match exchange.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
            Poll::Pending => {
                let reset = responder.borrow_mut().poll_reset(context);
                reset.map(|left| Err(upstream_request.client_left(left)))
            }
        });
        let outcome = outcome.await;
        if outcome.is_err() && upstream_request.transfer.complete.get() {
            self.drain(responder, exchange).await;
        }
        outcome
    }

    /// Sends the client an answer of the front if the outcome of its request needs one, and records
    /// the outcome.
    async fn conclude(
        &self,
        (recorder, edits): (RequestRecorder<'_>, Option<&FieldEdits>),
        outcome: Result<Outcome, Why>,
        method: Method<'_>,
        (responder, watchdog): (&RefCell<Responder>, &mut Watchdog),
    ) {
        self.note(&outcome, responder);
        match outcome {
            Ok(Outcome::Answered(status)) => recorder.answered(status),
            Ok(Outcome::Failed(reason)) => {
                let answer = (reason.status(), None);
                let to = (responder, watchdog);
                self.answer_locally((recorder, reason), (answer, edits), method, to)
                    .await;
            }
            Ok(Outcome::Refused(refusal)) if !responder.borrow().has_begun() => {
                let to = (responder, watchdog);
                self.refuse(recorder, refusal, method, to).await;
            }
            Ok(Outcome::Refused(refusal)) => {
                recorder.aborted(refusal.into());
                responder.borrow_mut().reset(Reason::PROTOCOL_ERROR);
            }
            Ok(Outcome::Broken(reason)) => {
                recorder.aborted(reason);
                // If a client does not read its data within the timeout `send`, the data that waits
                // for it is lost.
                let written = responder.borrow_mut().written();
                let limit = self.front.limits().timeouts.send;
                let _expired = watchdog.limit(limit, written).await;
                responder.borrow_mut().reset(Reason::INTERNAL_ERROR);
            }
            // This cannot occur: upgrades are never requested over HTTP/2.
            Ok(Outcome::Upgraded(..)) => {}
            Err(reason) => recorder.aborted(reason),
        }
    }

    /// Waits briefly for the backend's response to a cancelled request, so that the connection to
    /// the backend can be reused: to close it costs the backend more than a short response, and the
    /// next request a new connection.
    async fn drain(&self, responder: &RefCell<Responder>, exchange: impl Future<Output = Outcome>) {
        if let Some(_drain) = self.activity.cancellations.drain() {
            *responder.borrow_mut() = Responder::Discarding(DRAIN_BYTES);
            let _drained = tokio::time::timeout(DRAIN_FOR, exchange).await;
        }
    }

    /// Records whether the client cancelled the request or it was completed.
    fn note(&self, outcome: &Result<Outcome, Why>, responder: &RefCell<Responder>) {
        let cancellations = &self.activity.cancellations;
        match outcome {
            Err(_) => cancellations.cancelled(Instant::now()),
            Ok(Outcome::Broken(_)) if responder.borrow_mut().is_reset() => {
                cancellations.cancelled(Instant::now());
            }
            Ok(_) => cancellations.completed(),
        }
    }

    async fn refuse(
        &self,
        recorder: RequestRecorder<'_>,
        refusal: Refusal,
        method: Method<'_>,
        to: (&RefCell<Responder>, &mut Watchdog),
    ) {
        let answer = (refusal.status(), Some(refusal));
        self.answer_locally((recorder, refusal.into()), (answer, None), method, to)
            .await;
    }

    /// Sends the front's answer to a request that no pool serves, as the route says.
    async fn answer_routed(
        &self,
        recorder: RequestRecorder<'_>,
        routed: &Routed,
        method: Method<'_>,
        to: (&RefCell<Responder>, &mut Watchdog),
    ) {
        let (status, response) =
            routed.with_answer(|answer| (answer.status, http2_response(answer)));
        let body = response.as_ref().map_or(0, |(_, body)| body.len());
        let body = if method.is_head() { 0 } else { body };
        recorder.answered_locally(status, routed.reason(), body);
        self.send(response, method, to).await;
    }

    /// Sends an answer of the front itself.
    async fn answer_locally(
        &self,
        (recorder, reason): (RequestRecorder<'_>, Why),
        (status, edits): ((u16, Option<Refusal>), Option<&FieldEdits>),
        method: Method<'_>,
        to: (&RefCell<Responder>, &mut Watchdog),
    ) {
        let table = self.front.table();
        let response = with_own_answer(table.as_deref(), status, edits, http2_response);
        let body = response.as_ref().map_or(0, |(_, body)| body.len());
        let body = if method.is_head() { 0 } else { body };
        recorder.answered_locally(status.0, reason, body);
        self.send(response, method, to).await;
    }

    async fn send(
        &self,
        response: Option<(http::Response<()>, Vec<u8>)>,
        method: Method<'_>,
        (responder, watchdog): (&RefCell<Responder>, &mut Watchdog),
    ) {
        let Some((head, body)) = response else {
            return;
        };
        let ends = method.is_head() || body.is_empty();
        if responder.borrow_mut().begin(head, ends).is_ok() && !ends {
            let progress = Progress::default();
            let backlog = &self.activity.backlog;
            let mut sink = Http2Sink::new(responder, (backlog, &progress), 0, None);
            let send = sink.send(&body, true);
            let limit = self.front.limits().timeouts.send;
            // If the client disconnected or reads nothing, it does not get this answer, and the
            // error is ignored.
            let _sent = watchdog.limit_pauses(&progress, limit, send).await;
        }
    }
}
