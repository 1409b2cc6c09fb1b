//! Reads the body of an HTTP/1 request.

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

/// Limit of the bytes of a request's body that are buffered on their way to a backend.
const BODY_BYTES: usize = 64 * 1024;
/// Limit, in bytes, of pipelined requests that are buffered until the current request is answered.
const PIPELINED_BYTES: usize = 16 * 1024;
/// How long a client that has half-closed its connection does not yet count as gone, while the
/// front has nothing to send to it.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// The body of an HTTP/1 request. Bytes that follow the body stay in the connection's input buffer.
pub(super) struct Http1Body<'a, S> {
    wire: &'a Wire<S>,
    input: &'a mut Buffer,
    rest: Rest,
    slice: Option<Found>,
    moved: bool,
}

/// What remains of the body of a request after the current slice.
enum Rest {
    Nothing,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
}

/// A slice of the body at the beginning of the input.
#[derive(Clone, Copy)]
struct Found {
    length: usize,
    last: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Http1Body<'a, S> {
    /// Creates the body of a request, which begins with the bytes in `input`.
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
            slice: None,
            moved: false,
        }
    }

    /// Consumes the current slice of the body; if it was the last one, the input then begins with
    /// the next request.
    pub(super) fn finish(&mut self) {
        if let Some(found) = self.slice.take() {
            self.input.consume(found.length);
            self.moved |= found.length > 0;
        }
    }

    /// Returns the slice of the body at the beginning of the input, after consuming the chunk
    /// framing before it.
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
        let found = match self.slice {
            Some(found) => found,
            None => {
                let found = self.find()?;
                *self.slice.insert(found)
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
                    self.slice = Some(found);
                    return Ok(());
                }
            }
            self.input.grow(BODY_BYTES);
            let room = self.input.space(BODY_BYTES);
            match self.wire.read(room).await {
                Ok(bytes @ 1..) => self.input.fill(bytes),
                end => return Err(BodyError::Gone(disconnect_of_read(&end))),
            }
        }
    }

    fn has_moved(&self) -> bool {
        self.moved
    }

    /// Waits until the client is gone. Bytes that arrive meanwhile are pipelined requests. A client
    /// that has half-closed its connection may still read: it counts as gone only when there has
    /// been nothing to send to it for a while.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Disconnect {
        loop {
            let room = self.input.space(PIPELINED_BYTES);
            if room.is_empty() {
                return std::future::pending().await;
            }
            match self.wire.read(room).await {
                Ok(bytes @ 1..) => self.input.fill(bytes),
                Ok(0) => break,
                Err(error) if disconnect_of_error(&error) == Disconnect::Closed => break,
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

/// Returns how a client disconnected, given the result of the last read from its connection.
pub(super) fn disconnect_of_read(read: &io::Result<usize>) -> Disconnect {
    read.as_ref()
        .map_or_else(disconnect_of_error, |_| Disconnect::Closed)
}

/// Returns how a client disconnected, given the error of its connection.
pub(super) fn disconnect_of_error(error: &io::Error) -> Disconnect {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // The client closed the connection without sending TLS `close_notify` first.
        Disconnect::Closed
    } else {
        Disconnect::Reset
    }
}
