//! The client's side of an exchange, whatever protocol the client speaks: the request's body, which is
//! read, and the response, which is written.

use std::task::{Context, Poll};

use super::{
    message::{Refusal, Response},
    reason::Disconnect,
    upstream_request::UpstreamRequest,
};

/// A part of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodySlice<'a> {
    /// Its bytes.
    pub(super) data: &'a [u8],
    /// Whether the body ends with it.
    pub(super) last: bool,
}

/// The body of a request, as the client sends it.
pub(super) trait RequestBody {
    /// The current piece, without waiting: empty when nothing arrived yet. The same one until
    /// [`Self::next`] is called.
    fn current(&mut self) -> Result<BodySlice<'_>, Refusal>;

    /// Lets go of the current piece and waits for another one, or for the end.
    async fn next(&mut self) -> Result<(), BodyError>;

    /// Whether a piece was let go of, so that the request cannot be sent again.
    fn has_moved(&self) -> bool;

    /// Once the body has been taken to its end: waits until the client has gone, so that nobody
    /// waits for the response.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Disconnect;
}

/// Why there is no more of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The client broke the rules.
    Refused(Refusal),
    /// The client went away.
    Gone(Disconnect),
}

/// Where a response goes.
pub(super) trait ResponseSink {
    /// Waits until a part of the response has room on its way to the client, and says how many
    /// bytes: more is not read from the backend.
    fn poll_room(&mut self, _context: &mut Context<'_>) -> Poll<Result<usize, ClientGone>> {
        Poll::Ready(Ok(usize::MAX))
    }

    /// Takes an interim head; [`Self::body`] or [`Self::flush`] sends it.
    fn interim(&mut self, response: &Response<'_, '_>);

    /// Takes the head of the response; [`Self::body`] sends it.
    fn begin(&mut self, response: &Response<'_, '_>);

    /// Sends what was taken.
    async fn flush(&mut self) -> Result<(), ClientGone>;

    /// Sends a part of the body, and what was taken before. `more`: the caller sends another part
    /// before it waits for anything, so that this one may wait for that.
    async fn body(&mut self, piece: BodySlice<'_>, more: bool) -> Result<(), ClientGone>;
}

/// The client cannot be written to any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientGone(pub(super) Disconnect);
