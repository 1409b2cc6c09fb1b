//! The client's side of a request and its response, independent of the protocol: the body of the
//! request, which is read, and the response, which is written.

use std::task::{Context, Poll};

use super::{
    message::{Refusal, Response},
    reason::Disconnect,
    upstream_request::UpstreamRequest,
};

/// A slice of the body of a request or a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodySlice<'a> {
    /// The bytes of the slice.
    pub(super) data: &'a [u8],
    /// Whether the body ends with this slice.
    pub(super) last: bool,
}

/// The body of a request, as the client sends it.
pub(super) trait RequestBody {
    /// Returns the current slice of the body without waiting; it is empty if nothing has arrived
    /// yet. Repeated calls return the same slice until [`Self::next`] is called.
    fn current(&mut self) -> Result<BodySlice<'_>, Refusal>;

    /// Releases the current slice of the body, and waits for the next slice or for the end of the
    /// body.
    async fn next(&mut self) -> Result<(), BodyError>;

    /// Returns whether a slice of the body was released, so that the request can no longer be sent
    /// again.
    fn has_moved(&self) -> bool;

    /// Waits until the client disconnects. This is polled after the body was read to its end, so
    /// that the front does not wait for the response of a backend that nobody would receive.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Disconnect;
}

/// Why the body of a request ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The client violated the protocol, in the way that the [`Refusal`] says.
    Refused(Refusal),
    /// The client disconnected, in the way that the [`Disconnect`] says.
    Gone(Disconnect),
}

/// The destination of a response: a client that speaks HTTP/1 or HTTP/2.
pub(super) trait ResponseSink {
    /// Waits until the path to the client has room for response data. Returns the number of bytes
    /// that may be read from the backend.
    fn poll_room(&mut self, _context: &mut Context<'_>) -> Poll<Result<usize, ClientGone>> {
        Poll::Ready(Ok(usize::MAX))
    }

    /// Accepts the head of an interim (1xx) response; [`Self::body`] or [`Self::flush`] sends it.
    fn interim(&mut self, response: &Response<'_, '_>);

    /// Accepts the head of the final response; [`Self::body`] sends it.
    fn begin(&mut self, response: &Response<'_, '_>);

    /// Sends the response heads that were accepted and not sent yet.
    async fn flush(&mut self) -> Result<(), ClientGone>;

    /// Sends the accepted response heads, then a slice of the body. With `more`, the caller sends
    /// another slice before it waits for anything, so this slice may be held back until then.
    async fn body(&mut self, slice: BodySlice<'_>, more: bool) -> Result<(), ClientGone>;
}

/// The client can no longer be written to, because it disconnected in this way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientGone(pub(super) Disconnect);
