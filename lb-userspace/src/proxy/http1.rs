//! Serves a client that speaks HTTP/1.

use std::{
    io::IoSlice,
    pin::pin,
    rc::Rc,
    time::{Duration, SystemTime},
};

use super::{
    buffer::Buffer,
    exchange::{Outcome, exchange},
    front::{Client, Front},
    http1_body::Http1Body,
    http1_head::{HeadReader, INPUT_BYTES, NextHead},
    http1_sink::Http1Sink,
    linger::linger,
    memory::ResponseBuffer,
    message::{
        Framing, Refusal, Via, challenge_response, header_slots, parse_request,
        settle_request_version,
    },
    metered::{ClientStream, Progress},
    reason::Reason,
    request_recorder::{RequestRecorder, connection_ended},
    routed::{Http1Fields, Routed, with_own_answer},
    routing,
    served_pool::ServedPool,
    tunnel::tunnel,
    upstream::PooledConnection,
    upstream_request::UpstreamRequest,
    watchdog::Watchdog,
    wire::Wire,
};
use crate::config::Http;

/// Time limit for sending an error response, or for the shutdown of the stream, on a connection
/// that ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The name of the protocol in the access log, unless the request came over HTTP/1.0.
const HTTP1: &str = "HTTP/1.1";

/// Serves the requests of one HTTP/1 connection, one after another. `progress` counts the bytes
/// that the kernel has accepted for sending to the client.
pub(super) async fn serve<S: ClientStream>(
    (stream, progress): (S, Rc<Progress>),
    front: &Front,
    client: &Client,
    watchdog: Watchdog,
) {
    let connection = Connection {
        wire: Wire::new(stream),
        progress,
        input: Buffer::with_room(INPUT_BYTES),
        head: Vec::with_capacity(1024),
        reply: Vec::with_capacity(1024),
        front,
        client,
        watchdog,
    };
    connection.run().await;
}

struct Connection<'a, S> {
    wire: Wire<S>,
    /// Counts the bytes that the kernel has accepted for sending to the client.
    progress: Rc<Progress>,
    /// Bytes received from the client that are not parsed yet.
    input: Buffer,
    /// The head of the current request, as it is sent to the backend.
    head: Vec<u8>,
    /// Bytes that are to be sent to the client.
    reply: Vec<u8>,
    front: &'a Front,
    client: &'a Client,
    watchdog: Watchdog,
}

/// How a client's connection continues after a request.
enum Disposition<'a> {
    /// Wait for another request of the client.
    Next,
    /// Close the connection.
    Close,
    /// Close the connection, although the client may still be sending.
    Linger,
    /// Close the connection without a proper end, so that the client does not take an incomplete
    /// response for complete.
    Abort,
    /// Become a tunnel to the backend of this connection; the buffer has what the backend has sent
    /// after its response.
    Tunnel(PooledConnection, ResponseBuffer, Box<RequestRecorder<'a>>),
}

/// The properties of a request that are needed after the buffer with its head was released.
struct RequestInfo {
    framing: Framing,
    to_head: bool,
    http10: bool,
    idempotent: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Who answers the request.
    handler: Handler,
}

/// Who answers a request.
enum Handler {
    /// The front, with this response to an ACME challenge.
    Challenge(String),
    /// A backend or the front, as the routing decision says.
    Routed(Routed),
}

impl<'a, S: ClientStream> Connection<'a, S> {
    async fn run(mut self) {
        let front = self.front;
        let mut draining = pin!(front.drain.beginning());
        let mut first = true;
        loop {
            let limits = front.limits();
            let after = match self
                .head_reader()
                .next(&limits, first, draining.as_mut())
                .await
            {
                NextHead::Head(length) => {
                    self.client.entry.begin();
                    // The limits may have changed by a reload while the connection waited for the
                    // head.
                    self.answer(length, &front.limits()).await
                }
                NextHead::Refused(refusal) => {
                    let recorder = RequestRecorder::begin(front, self.client, HTTP1);
                    recorder.state.keep_offending(self.input.filled());
                    self.refuse(recorder, refusal, false).await
                }
                NextHead::Closed => Disposition::Close,
                NextHead::Ended(reason) => {
                    connection_ended(front, self.client, reason, self.input.filled());
                    Disposition::Close
                }
            };
            first = false;
            match after {
                Disposition::Next => self.client.entry.end(),
                Disposition::Close => return self.close().await,
                Disposition::Linger => return self.linger().await,
                Disposition::Abort => return,
                Disposition::Tunnel(connection, late, recorder) => {
                    let early = self.input.filled();
                    let shutdown = Err(Reason::LbTunnelShutdown);
                    // A tunnel ends as soon as the service drains, because nothing in its payload
                    // marks an end that the front could wait for.
                    let ended = if front.drain.has_begun() {
                        shutdown
                    } else {
                        let carried = tunnel(
                            self.wire.into_inner(),
                            connection,
                            (early, late.filled()),
                            (&mut self.watchdog, &limits.timeouts),
                            &recorder.state,
                        );
                        tokio::select! {
                            ended = carried => ended,
                            () = draining.as_mut() => shutdown,
                        }
                    };
                    return recorder.tunnel_ended(ended.err());
                }
            }
        }
    }

    fn head_reader(&mut self) -> HeadReader<'_, S> {
        HeadReader {
            wire: &self.wire,
            input: &mut self.input,
            front: self.front,
            watchdog: &mut self.watchdog,
        }
    }

    async fn answer(&mut self, length: usize, limits: &Rc<Http>) -> Disposition<'a> {
        let mut recorder = RequestRecorder::begin(self.front, self.client, HTTP1);
        let info = match self.read_head(length, limits, &mut recorder) {
            Ok(info) => info,
            Err(refusal) => {
                let head = &self.input.filled()[..length];
                recorder.state.keep_offending(head);
                return self.refuse(recorder, refusal, false).await;
            }
        };
        self.input.consume(length);
        match &info.handler {
            Handler::Challenge(text) => self.answer_challenge(recorder, text, &info).await,
            Handler::Routed(routed) => match &routed.pool {
                Some(pool) => self.forward(recorder, (pool, routed), &info, limits).await,
                None => self.answer_routed(recorder, routed, &info).await,
            },
        }
    }

    /// Parses the first `length` bytes of the input as a request head, and writes the head for the
    /// backend to `self.head`.
    fn read_head(
        &mut self,
        length: usize,
        limits: &Http,
        recorder: &mut RequestRecorder<'_>,
    ) -> Result<RequestInfo, Refusal> {
        let https = self.front.is_https();
        settle_request_version(&mut self.input.filled_mut()[..length]);
        let mut slots = header_slots();
        let request = parse_request(&self.input.filled()[..length], &mut slots, https)?;
        let via = Via {
            client: &self.client.text,
            https,
            trusted: self.client.is_trusted(limits),
            certificate: self.client.certificate.as_deref(),
            local: &self.front.local,
        };
        recorder.keep(|log| log.keep_http1(&request));
        let handler = match self.front.challenges.http_answer(request.target) {
            Some(text) => Handler::Challenge(text),
            None => {
                let asked = routing::Request {
                    method: request.method.0,
                    host: request.host.unwrap_or(via.local),
                    target: request.target,
                    fields: &Http1Fields(&request, via.trusted),
                    client: via.client,
                    https,
                };
                let routed = self.front.route(&asked)?;
                self.head.clear();
                if routed.pool.is_some() {
                    request.write_to(&via, &routed.changes(&asked), &mut self.head);
                    recorder.follow_trace(&mut self.head);
                }
                Handler::Routed(routed)
            }
        };
        Ok(RequestInfo {
            framing: request.framing,
            to_head: request.method.is_head(),
            http10: request.http10,
            idempotent: request.method.is_idempotent(),
            keep_alive: request.keep_alive,
            upgrade: request.upgrade.is_some(),
            handler,
        })
    }

    async fn forward(
        &mut self,
        recorder: RequestRecorder<'a>,
        (pool, routed): (&ServedPool, &Routed),
        info: &RequestInfo,
        limits: &Http,
    ) -> Disposition<'a> {
        let state = &recorder.state;
        let upstream_request = UpstreamRequest {
            front: self.front,
            pool,
            selection: &routed.selection,
            client: self.client,
            limits,
            head: &self.head,
            framing: info.framing,
            to_head: info.to_head,
            idempotent: info.idempotent,
            upgrade: info.upgrade,
            transfer: &state.transfer,
            progress: &self.progress,
            state,
        };
        let keep_alive = info.keep_alive && !self.front.drain.is_last();
        let mut body = Http1Body::new(&self.wire, &mut self.input, info.framing);
        self.reply.clear();
        let mut sink = Http1Sink::new(
            &self.wire,
            &mut self.reply,
            (info.http10, keep_alive),
            (&state.transfer, routed),
        );
        let outcome = exchange(&upstream_request, &mut body, &mut sink, &mut self.watchdog).await;
        body.finish();
        let (kept, begun) = (sink.keeps_connection(), sink.has_begun());
        if !matches!(outcome, Outcome::Answered(_)) {
            state.keep_request(&self.head);
        }
        match outcome {
            // The client's connection can be reused only if the request's body was read to its end.
            Outcome::Answered(status) => {
                let complete = state.transfer.complete.get();
                recorder.answered(status);
                match (kept, complete) {
                    (true, _) => Disposition::Next,
                    (false, true) => Disposition::Close,
                    (false, false) => Disposition::Linger,
                }
            }
            Outcome::Upgraded(connection, late) => {
                Disposition::Tunnel(connection, late, Box::new(recorder.upgraded()))
            }
            Outcome::Failed(reason) => {
                let bodyless = info.framing == Framing::Empty;
                let shape = (keep_alive && bodyless, info.to_head);
                let answer = (reason.status(), None);
                self.answer_locally((recorder, reason), answer, shape, Some(routed))
                    .await
            }
            Outcome::Refused(refusal) => {
                state.keep_offending(self.input.filled());
                if begun {
                    recorder.aborted(refusal.into());
                    return Disposition::Abort;
                }
                self.refuse(recorder, refusal, info.to_head).await
            }
            Outcome::Broken(reason) => {
                recorder.aborted(reason);
                Disposition::Abort
            }
        }
    }

    async fn refuse(
        &mut self,
        recorder: RequestRecorder<'_>,
        refusal: Refusal,
        to_head: bool,
    ) -> Disposition<'a> {
        let answer = (refusal.status(), Some(refusal));
        self.answer_locally((recorder, refusal.into()), answer, (false, to_head), None)
            .await
    }

    /// Sends the response to a request of an ACME HTTP-01 challenge (RFC 8555 §8.3).
    async fn answer_challenge(
        &mut self,
        recorder: RequestRecorder<'_>,
        text: &str,
        info: &RequestInfo,
    ) -> Disposition<'a> {
        let reason = Reason::LbHeadAcmeChallenge;
        recorder.answered_locally(reason.status(), reason, text.len());
        let bodyless = info.framing == Framing::Empty;
        let keep_alive = info.keep_alive && !self.front.drain.is_last() && bodyless;
        self.reply.clear();
        let shape = (keep_alive, info.to_head);
        challenge_response(text, shape, SystemTime::now(), &mut self.reply);
        self.send_reply(keep_alive).await
    }

    /// Sends the front's answer to a request that no pool serves, as the route says.
    async fn answer_routed(
        &mut self,
        recorder: RequestRecorder<'_>,
        routed: &Routed,
        info: &RequestInfo,
    ) -> Disposition<'a> {
        let bodyless = info.framing == Framing::Empty;
        let keep_alive = info.keep_alive && !self.front.drain.is_last() && bodyless;
        self.reply.clear();
        let (status, body) = routed.with_answer(|answer| {
            let shape = (keep_alive, info.to_head);
            let body = answer.write_to(shape, SystemTime::now(), &mut self.reply);
            (answer.status, body)
        });
        recorder.answered_locally(status, routed.reason(), body);
        self.send_reply(keep_alive).await
    }

    /// Sends an answer of the front itself. `routed` is the routing decision about the request, if
    /// there is one.
    async fn answer_locally(
        &mut self,
        (recorder, reason): (RequestRecorder<'_>, Reason),
        status: (u16, Option<Refusal>),
        (keep_alive, to_head): (bool, bool),
        routed: Option<&Routed>,
    ) -> Disposition<'a> {
        self.reply.clear();
        let edits = routed.and_then(Routed::response_edits);
        let body = with_own_answer(self.front.table().as_deref(), status, edits, |answer| {
            let shape = (keep_alive, to_head);
            answer.write_to(shape, SystemTime::now(), &mut self.reply)
        });
        recorder.answered_locally(status.0, reason, body);
        self.send_reply(keep_alive).await
    }

    async fn send_reply(&mut self, keep_alive: bool) -> Disposition<'a> {
        let slices = &mut [IoSlice::new(&self.reply)];
        match self
            .watchdog
            .limit(CLOSE_LIMIT, self.wire.write_all(slices))
            .await
        {
            Ok(Ok(())) if keep_alive => Disposition::Next,
            Ok(Ok(())) => Disposition::Linger,
            _ => Disposition::Abort,
        }
    }

    async fn close(&mut self) {
        // A failure of the shutdown is irrelevant: the connection ends in any case.
        let _closed = self.watchdog.limit(CLOSE_LIMIT, self.wire.shutdown()).await;
    }

    /// Closes the connection in such a way that a client that is still sending can read the
    /// response.
    async fn linger(&mut self) {
        self.close().await;
        let (wire, input) = (&self.wire, &mut self.input);
        linger(self.front, &mut self.watchdog, async || {
            input.clear();
            matches!(wire.read_to_drop(input.space(INPUT_BYTES)).await, Ok(1..))
        })
        .await;
    }
}
