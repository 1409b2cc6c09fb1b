//! Reads a backend's response, and forwards it to the client as it arrives.

use std::{future::poll_fn, pin::Pin, task::Poll};

use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::{TcpStream, tcp::ReadHalf},
    time::Instant,
};

use super::{
    client_io::{BodySlice, ClientGone, ResponseSink},
    memory::ResponseBuffer,
    message::{
        ChunkedDecoder, Framing, HeadScanner, Step, header_slots, parse_response,
        settle_response_version,
    },
    reason::Reason,
    upstream::PoolBackend,
    upstream_request::UpstreamRequest,
    watchdog::{Expired, Watchdog},
};

/// Limit of the number of interim responses (1xx) before the final response.
const MAX_INTERIM: u32 = 32;

/// The outcome of receiving a backend's response.
#[derive(Debug)]
pub(super) enum Received {
    /// The backend sent a complete response.
    Complete {
        /// The status of the response.
        status: u16,
        /// Whether the connection to the backend can be reused.
        keep_alive: bool,
    },
    /// The backend sent the status `101`: it switches protocols.
    Upgrade,
}

/// Receives the response to a request and passes it to the sink. `backend` is given if the request
/// may be sent to another backend: the wait for the response then ends early if this backend goes
/// down before the response's first byte and another backend is up.
pub(super) async fn receive<K: ResponseSink>(
    request: &UpstreamRequest<'_>,
    (reader, backend): (&mut ReadHalf<'_>, Option<&PoolBackend>),
    buffer: &mut ResponseBuffer,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Result<Received, Reason> {
    let mut source = Source {
        request,
        reader,
        backend,
        buffer,
        watchdog,
    };
    for _ in 0..=MAX_INTERIM {
        let Head {
            status,
            framing,
            keep_alive,
        } = source.head(sink).await?;
        match status {
            101 => {
                source.flush(sink).await?;
                return Ok(Received::Upgrade);
            }
            100..200 => source.flush(sink).await?,
            _ => {
                source.body(framing, sink).await?;
                return Ok(Received::Complete { status, keep_alive });
            }
        }
    }
    Err(Reason::BackendResponseHeadMalformed)
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    framing: Framing,
    keep_alive: bool,
}

struct Source<'a, 'c> {
    request: &'a UpstreamRequest<'a>,
    reader: &'a mut ReadHalf<'c>,
    backend: Option<&'a PoolBackend>,
    buffer: &'a mut ResponseBuffer,
    watchdog: &'a mut Watchdog,
}

impl Source<'_, '_> {
    /// Reads the head of a response and passes it to the sink.
    async fn head<K: ResponseSink>(&mut self, sink: &mut K) -> Result<Head, Reason> {
        let length = self.head_length(sink).await?;
        let head = self.take_head(length, sink)?;
        self.buffer.consume(length);
        Ok(head)
    }

    async fn head_length<K: ResponseSink>(&mut self, sink: &mut K) -> Result<usize, Reason> {
        let mut scanner = HeadScanner::default();
        let mut began = None;
        loop {
            let (here, limit) = (self.buffer.filled(), self.request.limits.max_header_bytes);
            // Bytes of the head beyond `max_header_bytes` are ignored, however many have arrived.
            let scan = scanner.scan(&here[..here.len().min(limit)]);
            let malformed = |_| self.record_violation(Reason::BackendResponseHeadMalformed);
            if let Some(length) = scan.map_err(malformed)? {
                return Ok(length);
            }
            if here.len() >= limit {
                return Err(self.record_violation(Reason::BackendResponseHeadTooLarge));
            }
            let read = match self.backend.filter(|_| self.buffer.is_empty()) {
                Some(backend) => {
                    let pool = self.request.pool;
                    let read = pool.unless_down(backend, self.read(sink, &mut began)).await;
                    read.ok_or(Reason::BackendResponseHeadDown)?
                }
                None => self.read(sink, &mut began).await,
            };
            match read {
                Ok(1..) => self.request.state.times.first_byte(),
                Ok(0) if self.buffer.is_empty() => return Err(Reason::BackendResponseHeadClosed),
                Err(ReadError::Failed) if self.buffer.is_empty() => {
                    return Err(Reason::BackendResponseHeadReset);
                }
                Ok(0) | Err(ReadError::Failed) => {
                    return Err(self.record_violation(Reason::BackendResponseHeadIncomplete));
                }
                Err(ReadError::Expired) => return Err(Reason::BackendResponseHeadTimeout),
                Err(ReadError::Client(reason)) => return Err(reason),
            }
        }
    }

    /// Keeps the beginning of the backend's invalid or incomplete response, so that `lb errors` can
    /// show it. Returns `reason` unchanged.
    fn record_violation(&self, reason: Reason) -> Reason {
        self.request.state.keep_offending(self.buffer.filled());
        reason
    }

    fn take_head<K: ResponseSink>(&mut self, length: usize, sink: &mut K) -> Result<Head, Reason> {
        settle_response_version(&mut self.buffer.filled_mut()[..length]);
        let mut slots = header_slots();
        let head = &self.buffer.filled()[..length];
        let malformed = Reason::BackendResponseHeadMalformed;
        let response = parse_response(head, &mut slots, self.request.to_head)
            .map_err(|_| self.record_violation(malformed))?;
        match response.status {
            101 if !self.request.upgrade => return Err(self.record_violation(malformed)),
            100..200 => sink.interim(&response),
            _ => {
                self.request.transfer.answered.set(true);
                self.request.state.status.set(response.status);
                sink.begin(&response);
            }
        }
        Ok(Head {
            status: response.status,
            framing: response.framing,
            keep_alive: response.keep_alive,
        })
    }

    async fn body<K: ResponseSink>(
        &mut self,
        framing: Framing,
        sink: &mut K,
    ) -> Result<(), Reason> {
        match framing {
            Framing::Empty => self.forward(0, true, sink).await,
            Framing::Length(length) => self.known_length(length, sink).await,
            Framing::Chunked => self.chunked(sink).await,
            Framing::UntilClose => self.until_close(sink).await,
        }
    }

    async fn known_length<K: ResponseSink>(
        &mut self,
        mut left: u64,
        sink: &mut K,
    ) -> Result<(), Reason> {
        loop {
            let available = self.buffer.filled().len();
            let length = usize::try_from(left).map_or(available, |left| left.min(available));
            left -= length as u64;
            self.forward(length, left == 0, sink).await?;
            if left == 0 {
                return Ok(());
            }
            if self.read_body(sink).await? == 0 {
                return Err(Reason::BackendResponseBodyClosed);
            }
        }
    }

    async fn until_close<K: ResponseSink>(&mut self, sink: &mut K) -> Result<(), Reason> {
        loop {
            self.forward(self.buffer.filled().len(), false, sink)
                .await?;
            if self.read_body(sink).await? == 0 {
                return self.forward(0, true, sink).await;
            }
        }
    }

    async fn chunked<K: ResponseSink>(&mut self, sink: &mut K) -> Result<(), Reason> {
        let mut decoder = ChunkedDecoder::default();
        // The head of the response is held back until the first bytes of the body were decoded.
        let mut held_back = true;
        loop {
            let step = decoder.step(self.buffer.filled());
            match step {
                Ok(Step::End { skip }) => {
                    self.buffer.consume(skip);
                    return self.forward(0, true, sink).await;
                }
                Ok(Step::Data { skip, length }) => {
                    self.buffer.consume(skip);
                    held_back = self.buffer.filled().len() > length;
                    self.forward(length, false, sink).await?;
                    continue;
                }
                Ok(Step::More) => self.buffer.clear(),
                Err(_) => {
                    self.request.state.keep_offending(self.buffer.filled());
                    self.buffer.clear();
                }
            }
            // Everything that has arrived is forwarded before waiting for more or giving up.
            if std::mem::take(&mut held_back) {
                self.forward(0, false, sink).await?;
            }
            if step.is_err() {
                return Err(Reason::BackendResponseBodyChunk);
            }
            if self.read_body(sink).await? == 0 {
                return Err(Reason::BackendResponseBodyClosed);
            }
        }
    }

    /// Passes the first `length` buffered bytes of the response's body to the sink.
    async fn forward<K: ResponseSink>(
        &mut self,
        length: usize,
        last: bool,
        sink: &mut K,
    ) -> Result<(), Reason> {
        let (data, rest) = self.buffer.filled().split_at(length);
        let more = !last && !rest.is_empty();
        let send = sink.body(BodySlice { data, last }, more);
        // A client that accepts nothing for the timeout `send` counts as disconnected.
        let UpstreamRequest {
            limits, progress, ..
        } = self.request;
        let limit = limits.timeouts.send;
        match self.watchdog.limit_pauses(progress, limit, send).await {
            Ok(sent) => sent.map_err(|ClientGone(left)| self.request.client_left(left))?,
            Err(Expired) => return Err(Reason::ClientResponseBodyTimeout),
        }
        self.buffer.consume(length);
        let forwarded = &self.request.state.response_bytes;
        forwarded.set(forwarded.get() + length as u64);
        Ok(())
    }

    async fn flush<K: ResponseSink>(&mut self, sink: &mut K) -> Result<(), Reason> {
        let UpstreamRequest {
            limits, progress, ..
        } = self.request;
        let flush = sink.flush();
        match self
            .watchdog
            .limit_pauses(progress, limits.timeouts.send, flush)
            .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ClientGone(left))) => Err(self.request.client_left(left)),
            Err(Expired) => Err(Reason::ClientResponseBodyTimeout),
        }
    }

    async fn read_body<K: ResponseSink>(&mut self, sink: &mut K) -> Result<usize, Reason> {
        self.read(sink, &mut None)
            .await
            .map_err(|error| match error {
                ReadError::Failed => Reason::BackendResponseBodyReset,
                ReadError::Expired => Reason::BackendResponseBodyTimeout,
                ReadError::Client(reason) => reason,
            })
    }

    /// Reads more of the response, but no more than the sink has room for. A buffer is allocated
    /// only when there is something to read. Returns the number of bytes read; 0 if the backend has
    /// closed the connection.
    async fn read<K: ResponseSink>(
        &mut self,
        sink: &mut K,
        began: &mut Option<Instant>,
    ) -> Result<usize, ReadError> {
        loop {
            self.readable(began).await?;
            let room = poll_fn(|context| sink.poll_room(context));
            let UpstreamRequest {
                limits, progress, ..
            } = self.request;
            let limit = limits.timeouts.send;
            let room = match self.watchdog.limit_pauses(progress, limit, room).await {
                Ok(Ok(room)) => room,
                Ok(Err(ClientGone(left))) => {
                    return Err(ReadError::Client(self.request.client_left(left)));
                }
                Err(Expired) => {
                    return Err(ReadError::Client(Reason::ClientResponseBodyTimeout));
                }
            };
            if let Some(bytes) = self.read_now(room).await? {
                return Ok(bytes);
            }
        }
    }

    /// Waits until the backend has sent something or closed the connection. The time limit counts
    /// from the last progress of the request's body, or from `began`, when the wait for the backend
    /// began, if that is later.
    async fn readable(&mut self, began: &mut Option<Instant>) -> Result<(), ReadError> {
        let stream: &TcpStream = (*self.reader).as_ref();
        let buffer = &mut *self.buffer;
        let ready = poll_fn(|context| {
            let ready = stream.poll_read_ready(context);
            if ready.is_pending() {
                buffer.release();
            }
            ready
        });
        let timeouts = &self.request.limits.timeouts;
        let limit = if self.request.transfer.answered.get() {
            timeouts.response_body
        } else {
            timeouts.response_head
        };
        let since = (&self.request.transfer.progress, began);
        let waiting = &self.request.transfer.waiting;
        waiting.set(true);
        let ready = self.watchdog.limit_since(since, limit, ready).await;
        waiting.set(false);
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Failed),
            Err(Expired) => Err(ReadError::Expired),
        }
    }

    /// Reads at most `room` bytes without waiting; returns `None` if the socket was reported
    /// readable by mistake.
    async fn read_now(&mut self, room: usize) -> Result<Option<usize>, ReadError> {
        let space = self
            .buffer
            .space(room, self.request.limits.max_header_bytes);
        let mut space = ReadBuf::new(space);
        let read = poll_fn(|context| {
            // `poll_read` is used and not `try_read`, because `poll_read` clears the socket's
            // readiness after a short read.
            Poll::Ready(Pin::new(&mut *self.reader).poll_read(context, &mut space))
        });
        let bytes = match read.await {
            Poll::Pending => return Ok(None),
            Poll::Ready(Err(_)) => return Err(ReadError::Failed),
            Poll::Ready(Ok(())) => space.filled().len(),
        };
        self.buffer.fill(bytes);
        Ok(Some(bytes))
    }
}

enum ReadError {
    Failed,
    Expired,
    Client(Reason),
}
