//! Reads the body of an HTTP/2 request.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;

use super::{
    client_io::{BodyError, BodySlice, RequestBody},
    message::Refusal,
    reason::Disconnect,
    upstream_request::UpstreamRequest,
};

/// The body of an HTTP/2 request. Releasing a slice of it opens the client's flow-control window
/// again.
pub(super) struct Http2Body {
    stream: RecvStream,
    slice: Bytes,
    last: bool,
    moved: bool,
}

impl Http2Body {
    /// Creates the body of a stream's request; `empty` is true if the request has no body.
    pub(super) fn new(stream: RecvStream, empty: bool) -> Self {
        Self {
            stream,
            slice: Bytes::new(),
            last: empty,
            moved: false,
        }
    }

    /// Reads and discards a part of the body. Returns whether more may follow.
    pub(super) async fn drop_more(&mut self) -> bool {
        self.let_go();
        match poll_fn(|context| self.stream.poll_data(context)).await {
            Some(Ok(data)) => {
                self.slice = data;
                true
            }
            None | Some(Err(_)) => false,
        }
    }

    fn let_go(&mut self) {
        let length = self.slice.len();
        if length > 0 {
            self.slice = Bytes::new();
            self.moved = true;
            // Releasing fails only if the stream has ended, which the next read reports.
            let _released = self.stream.flow_control().release_capacity(length);
        }
    }
}

impl RequestBody for Http2Body {
    fn current(&mut self) -> Result<BodySlice<'_>, Refusal> {
        Ok(BodySlice {
            data: &self.slice,
            last: self.last,
        })
    }

    async fn next(&mut self) -> Result<(), BodyError> {
        self.let_go();
        while self.slice.is_empty() && !self.last {
            match poll_fn(|context| self.stream.poll_data(context)).await {
                Some(Ok(data)) => {
                    self.slice = data;
                    self.last = self.stream.is_end_stream();
                }
                None => self.last = true,
                Some(Err(error)) => return Err(BodyError::Gone(disconnect_of_error(&error))),
            }
        }
        Ok(())
    }

    fn has_moved(&self) -> bool {
        self.moved
    }

    /// Never completes: a reset of the stream is noticed by the responder (the sending side), not
    /// by the body.
    async fn gone(&mut self, _request: &UpstreamRequest<'_>) -> Disconnect {
        std::future::pending().await
    }
}

/// Returns how a client disconnected, given the error of the HTTP/2 stream of its request.
pub(super) fn disconnect_of_error(error: &h2::Error) -> Disconnect {
    if error.is_reset() {
        Disconnect::Cancelled
    } else {
        Disconnect::Closed
    }
}
