//! The body of an HTTP/1 request, taken out of the client's bytes.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    buffer::Buffer,
    client_io::{BodyError, BodySlice, RequestBody},
    message::{ChunkedDecoder, Framing, Refusal, Step},
    reason::Disconnect,
    upstream_request::UpstreamRequest,
    wire::Wire,
};

/// Room for a body on its way to a backend.
const BODY_BYTES: usize = 64 * 1024;
/// What a client may send of its next requests before it has the response to this one.
const PIPELINED_BYTES: usize = 16 * 1024;
/// How long a client that has closed its side is waited for while there is nothing to send to it.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// The body of an HTTP/1 request. What follows it stays in the input.
pub(super) struct Http1Body<'a, S> {
    wire: &'a Wire<S>,
    input: &'a mut Buffer,
    rest: Rest,
    piece: Option<Found>,
    moved: bool,
}

/// What is still to come after the current piece.
enum Rest {
    Nothing,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
}

/// A piece at the beginning of the input.
#[derive(Clone, Copy)]
struct Found {
    length: usize,
    last: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Http1Body<'a, S> {
    /// The body that begins with what is in `input`.
    pub(super) fn new(wire: &'a Wire<S>, input: &'a mut Buffer, framing: Framing) -> Self {
        let rest = match framing {
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Box::default()),
            Framing::Empty | Framing::UntilClose => Rest::Nothing,
        };
        Self {
            wire,
            input,
            rest,
            piece: None,
            moved: false,
        }
    }

    /// Uses up the piece that was sent last: what is in the input from here on is the next request.
    pub(super) fn finish(&mut self) {
        if let Some(found) = self.piece.take() {
            self.input.consume(found.length);
            self.moved |= found.length > 0;
        }
    }

    /// The piece at the beginning of the input, once framing is out of its way.
    fn find(&mut self) -> Result<Found, Refusal> {
        let available = self.input.filled().len();
        match &mut self.rest {
            Rest::Nothing => Ok(Found {
                length: 0,
                last: true,
            }),
            Rest::Length(left) => {
                let length = usize::try_from(*left).map_or(available, |left| left.min(available));
                *left -= length as u64;
                Ok(Found {
                    length,
                    last: *left == 0,
                })
            }
            Rest::Chunked(decoder) => {
                let (skip, length, last) = match decoder.step(self.input.filled())? {
                    Step::More => (available, 0, false),
                    Step::Data { skip, length } => (skip, length, false),
                    Step::End { skip } => (skip, 0, true),
                };
                self.input.consume(skip);
                Ok(Found { length, last })
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RequestBody for Http1Body<'_, S> {
    fn current(&mut self) -> Result<BodySlice<'_>, Refusal> {
        let found = match self.piece {
            Some(found) => found,
            None => {
                let found = self.find()?;
                *self.piece.insert(found)
            }
        };
        Ok(BodySlice {
            data: &self.input.filled()[..found.length],
            last: found.last,
        })
    }

    async fn next(&mut self) -> Result<(), BodyError> {
        self.finish();
        loop {
            if !self.input.is_empty() {
                let found = self.find().map_err(BodyError::Refused)?;
                if found.length > 0 || found.last {
                    self.piece = Some(found);
                    return Ok(());
                }
            }
            self.input.grow(BODY_BYTES);
            let room = self.input.space(BODY_BYTES);
            match self.wire.read(room).await {
                Ok(bytes @ 1..) => self.input.fill(bytes),
                end => return Err(BodyError::Gone(left(&end))),
            }
        }
    }

    fn has_moved(&self) -> bool {
        self.moved
    }

    /// What the client sends meanwhile is its next request. One that has closed its side may still
    /// read: it is taken to be gone when there was nothing for it for a while.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Disconnect {
        loop {
            let room = self.input.space(PIPELINED_BYTES);
            if room.is_empty() {
                return std::future::pending().await;
            }
            match self.wire.read(room).await {
                Ok(bytes @ 1..) => self.input.fill(bytes),
                Ok(0) => break,
                Err(error) if left_by(&error) == Disconnect::Closed => break,
                Err(_) => return Disconnect::Reset,
            }
        }
        loop {
            let before = request.progress.bytes.get();
            tokio::time::sleep(HALF_CLOSED).await;
            if request.transfer.waiting.get() && request.progress.bytes.get() == before {
                return Disconnect::Closed;
            }
        }
    }
}

/// How a client left of whom that was the last read.
pub(super) fn left(read: &io::Result<usize>) -> Disconnect {
    read.as_ref().map_or_else(left_by, |_| Disconnect::Closed)
}

/// How a client left whose connection failed that way.
pub(super) fn left_by(error: &io::Error) -> Disconnect {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // Without TLS's own end.
        Disconnect::Closed
    } else {
        Disconnect::Reset
    }
}
