//! The client's side of an exchange, independent of the protocol: the request body, which is read,
//! and the response, which is written.

use std::task::{Context, Poll};

use super::{
    message::{Refusal, Response},
    reason::Disconnect,
    upstream_request::UpstreamRequest,
};

/// A slice of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodySlice<'a> {
    /// Its bytes.
    pub(super) data: &'a [u8],
    /// Whether the body ends after this slice.
    pub(super) last: bool,
}

/// The body of a request, as the client sends it.
pub(super) trait RequestBody {
    /// Returns the current slice without waiting; it is empty if nothing has arrived yet. Returns
    /// the same slice until [`Self::next`] is called.
    fn current(&mut self) -> Result<BodySlice<'_>, Refusal>;

    /// Releases the current slice and waits for the next one, or for the end.
    async fn next(&mut self) -> Result<(), BodyError>;

    /// Returns whether a slice was released; the request can then no longer be sent again.
    fn has_moved(&self) -> bool;

    /// Waits until the client disconnects. It is polled after the body was read to its end, so that
    /// the front does not wait for a response that nobody would receive.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Disconnect;
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The client violated the protocol.
    Refused(Refusal),
    /// The client disconnected.
    Gone(Disconnect),
}

/// The destination of a response.
pub(super) trait ResponseSink {
    /// Waits until the path to the client has room. Returns the number of bytes that may be read
    /// from the backend.
    fn poll_room(&mut self, _context: &mut Context<'_>) -> Poll<Result<usize, ClientGone>> {
        Poll::Ready(Ok(usize::MAX))
    }

    /// Accepts an interim head; [`Self::body`] or [`Self::flush`] sends it.
    fn interim(&mut self, response: &Response<'_, '_>);

    /// Accepts the final head; [`Self::body`] sends it.
    fn begin(&mut self, response: &Response<'_, '_>);

    /// Sends the heads that were accepted.
    async fn flush(&mut self) -> Result<(), ClientGone>;

    /// Sends the accepted heads, then a slice of the body. With `more`, the caller sends another
    /// slice before it waits for anything, so this slice may be held back until then.
    async fn body(&mut self, slice: BodySlice<'_>, more: bool) -> Result<(), ClientGone>;
}

/// The client can no longer be written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientGone(pub(super) Disconnect);
