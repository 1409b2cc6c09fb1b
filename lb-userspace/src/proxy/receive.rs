//! A backend's response, read and handed on as it comes.

use std::{future::poll_fn, pin::Pin, task::Poll};

use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::{TcpStream, tcp::ReadHalf},
    time::Instant,
};

use super::{
    broken_off::BrokenOff,
    exchange::{ClientGone, Failure, Order, Piece, Sink},
    memory::Relay,
    message::{
        ChunkedDecoder, Framing, HeadScanner, Step, header_slots, parse_response,
        settle_response_version,
    },
    upstream::Member,
    watchdog::{Expired, Watchdog},
};

/// Interim responses before the final one.
const MAX_INTERIM: u32 = 32;

/// What was received.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole response.
    Complete {
        /// Its status.
        status: u16,
        /// Whether the backend takes another request.
        keep_alive: bool,
    },
    /// `101`: another protocol begins.
    Upgrade,
}

/// Receives the response to an order and hands it to the sink. Where the request may be sent to
/// another backend, `member` is the one that has it: when that goes down before it has sent a byte,
/// and another one is up, waiting for it ends.
pub(super) async fn receive<K: Sink>(
    order: &Order<'_>,
    (reader, member): (&mut ReadHalf<'_>, Option<&Member>),
    relay: &mut Relay,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Result<Received, Failure> {
    let mut source = Source {
        order,
        reader,
        member,
        relay,
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
                let whole = source.body(framing, sink).await;
                whole.map_err(Failure::Broken)?;
                return Ok(Received::Complete { status, keep_alive });
            }
        }
    }
    Err(Failure::Garbage)
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    framing: Framing,
    keep_alive: bool,
}

impl From<ClientGone> for BrokenOff {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

struct Source<'a, 'c> {
    order: &'a Order<'a>,
    reader: &'a mut ReadHalf<'c>,
    member: Option<&'a Member>,
    relay: &'a mut Relay,
    watchdog: &'a mut Watchdog,
}

impl Source<'_, '_> {
    /// Reads a head and lets the sink take it.
    async fn head<K: Sink>(&mut self, sink: &mut K) -> Result<Head, Failure> {
        let length = self.head_length(sink).await?;
        let head = self.take_head(length, sink)?;
        self.relay.consume(length);
        Ok(head)
    }

    async fn head_length<K: Sink>(&mut self, sink: &mut K) -> Result<usize, Failure> {
        let mut scanner = HeadScanner::default();
        let mut began = None;
        loop {
            let (here, limit) = (self.relay.filled(), self.order.limits.max_header_bytes);
            // What is beyond the limit is not looked at, however much came at once.
            let scan = scanner.scan(&here[..here.len().min(limit)]);
            if let Some(length) = scan.map_err(|_| Failure::Garbage)? {
                return Ok(length);
            }
            if here.len() >= limit {
                return Err(Failure::Garbage);
            }
            let read = match self.member.filter(|_| self.relay.is_empty()) {
                Some(member) => {
                    let pool = self.order.pool;
                    let read = pool.unless_down(member, self.read(sink, &mut began)).await;
                    read.ok_or(Failure::Down)?
                }
                None => self.read(sink, &mut began).await,
            };
            match read {
                Ok(1..) => {}
                Ok(0) | Err(ReadError::Failed) if self.relay.is_empty() => {
                    return Err(Failure::Dead);
                }
                Ok(0) | Err(ReadError::Failed) => return Err(Failure::Garbage),
                Err(ReadError::Expired) => return Err(Failure::Timeout),
                Err(ReadError::Client(reason)) => return Err(Failure::Broken(reason)),
            }
        }
    }

    fn take_head<K: Sink>(&mut self, length: usize, sink: &mut K) -> Result<Head, Failure> {
        settle_response_version(&mut self.relay.filled_mut()[..length]);
        let mut slots = header_slots();
        let head = &self.relay.filled()[..length];
        let response =
            parse_response(head, &mut slots, self.order.to_head).map_err(|_| Failure::Garbage)?;
        match response.status {
            101 if !self.order.upgrade => return Err(Failure::Garbage),
            100..200 => sink.interim(&response),
            _ => {
                self.order.upload.answered.set(true);
                sink.begin(&response);
            }
        }
        Ok(Head {
            status: response.status,
            framing: response.framing,
            keep_alive: response.keep_alive,
        })
    }

    async fn body<K: Sink>(&mut self, framing: Framing, sink: &mut K) -> Result<(), BrokenOff> {
        match framing {
            Framing::Empty => self.hand_on(0, true, sink).await,
            Framing::Length(length) => self.known_length(length, sink).await,
            Framing::Chunked => self.chunked(sink).await,
            Framing::UntilClose => self.until_close(sink).await,
        }
    }

    async fn known_length<K: Sink>(
        &mut self,
        mut left: u64,
        sink: &mut K,
    ) -> Result<(), BrokenOff> {
        loop {
            let available = self.relay.filled().len();
            let length = usize::try_from(left).map_or(available, |left| left.min(available));
            left -= length as u64;
            self.hand_on(length, left == 0, sink).await?;
            if left == 0 {
                return Ok(());
            }
            if self.read_body(sink).await? == 0 {
                return Err(BrokenOff::BackendBroke);
            }
        }
    }

    async fn until_close<K: Sink>(&mut self, sink: &mut K) -> Result<(), BrokenOff> {
        loop {
            self.hand_on(self.relay.filled().len(), false, sink).await?;
            if self.read_body(sink).await? == 0 {
                return self.hand_on(0, true, sink).await;
            }
        }
    }

    async fn chunked<K: Sink>(&mut self, sink: &mut K) -> Result<(), BrokenOff> {
        let mut decoder = ChunkedDecoder::default();
        // The head is, until the first bytes of the body are looked at.
        let mut held_back = true;
        loop {
            let step = decoder.step(self.relay.filled());
            match step {
                Ok(Step::End { skip }) => {
                    self.relay.consume(skip);
                    return self.hand_on(0, true, sink).await;
                }
                Ok(Step::Data { skip, length }) => {
                    self.relay.consume(skip);
                    held_back = self.relay.filled().len() > length;
                    self.hand_on(length, false, sink).await?;
                    continue;
                }
                Ok(Step::More) | Err(_) => self.relay.clear(),
            }
            // What is here goes on before anything is waited for, or given up.
            if std::mem::take(&mut held_back) {
                self.hand_on(0, false, sink).await?;
            }
            if step.is_err() || self.read_body(sink).await? == 0 {
                return Err(BrokenOff::BackendBroke);
            }
        }
    }

    /// Hands the first `length` bytes to the sink.
    async fn hand_on<K: Sink>(
        &mut self,
        length: usize,
        last: bool,
        sink: &mut K,
    ) -> Result<(), BrokenOff> {
        let (data, rest) = self.relay.filled().split_at(length);
        let more = !last && !rest.is_empty();
        let send = sink.body(Piece { data, last }, more);
        // A client that takes nothing for so long is as good as gone.
        let Order {
            limits, progress, ..
        } = self.order;
        let limit = limits.send_timeout;
        match self.watchdog.limit_pauses(progress, limit, send).await {
            Ok(sent) => sent?,
            Err(Expired) => return Err(BrokenOff::ClientStalled),
        }
        self.relay.consume(length);
        Ok(())
    }

    async fn flush<K: Sink>(&mut self, sink: &mut K) -> Result<(), Failure> {
        let Order {
            limits, progress, ..
        } = self.order;
        let flush = sink.flush();
        match self
            .watchdog
            .limit_pauses(progress, limits.send_timeout, flush)
            .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ClientGone)) => Err(Failure::Broken(BrokenOff::ClientGone)),
            Err(Expired) => Err(Failure::Broken(BrokenOff::ClientStalled)),
        }
    }

    async fn read_body<K: Sink>(&mut self, sink: &mut K) -> Result<usize, BrokenOff> {
        self.read(sink, &mut None)
            .await
            .map_err(|error| match error {
                ReadError::Failed => BrokenOff::BackendBroke,
                ReadError::Expired => BrokenOff::BackendStalled,
                ReadError::Client(reason) => reason,
            })
    }

    /// Reads more, no more than the sink has room for. There is a buffer only while there is
    /// something to read.
    async fn read<K: Sink>(
        &mut self,
        sink: &mut K,
        began: &mut Option<Instant>,
    ) -> Result<usize, ReadError> {
        loop {
            self.readable(began).await?;
            let room = poll_fn(|context| sink.poll_room(context));
            let Order {
                limits, progress, ..
            } = self.order;
            let limit = limits.send_timeout;
            let room = match self.watchdog.limit_pauses(progress, limit, room).await {
                Ok(Ok(room)) => room,
                Ok(Err(ClientGone)) => return Err(ReadError::Client(BrokenOff::ClientGone)),
                Err(Expired) => return Err(ReadError::Client(BrokenOff::ClientStalled)),
            };
            if let Some(bytes) = self.read_now(room).await? {
                return Ok(bytes);
            }
        }
    }

    /// Waits until the backend has sent something or hung up. The limit counts from the last
    /// progress of the request's body, or from `began`.
    async fn readable(&mut self, began: &mut Option<Instant>) -> Result<(), ReadError> {
        let stream: &TcpStream = (*self.reader).as_ref();
        let relay = &mut *self.relay;
        let ready = poll_fn(|context| {
            let ready = stream.poll_read_ready(context);
            if ready.is_pending() {
                relay.release();
            }
            ready
        });
        let limit = self.order.limits.response_timeout;
        let since = (&self.order.upload.progress, began);
        let waiting = &self.order.upload.waiting;
        waiting.set(true);
        let ready = self.watchdog.limit_since(since, limit, ready).await;
        waiting.set(false);
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Failed),
            Err(Expired) => Err(ReadError::Expired),
        }
    }

    /// Reads at most `room` bytes without waiting; `None`: there was nothing after all.
    async fn read_now(&mut self, room: usize) -> Result<Option<usize>, ReadError> {
        let space = self.relay.space(room, self.order.limits.max_header_bytes);
        let mut space = ReadBuf::new(space);
        let read = poll_fn(|context| {
            // `poll_read`, and not `try_read`: after a short read it knows that no more is there.
            Poll::Ready(Pin::new(&mut *self.reader).poll_read(context, &mut space))
        });
        let bytes = match read.await {
            Poll::Pending => return Ok(None),
            Poll::Ready(Err(_)) => return Err(ReadError::Failed),
            Poll::Ready(Ok(())) => space.filled().len(),
        };
        self.relay.fill(bytes);
        Ok(Some(bytes))
    }
}

enum ReadError {
    Failed,
    Expired,
    Client(BrokenOff),
}
