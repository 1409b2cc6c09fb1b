//! A request on its way to a backend, as all functions see it that send it and receive its
//! response.

use std::rc::Rc;

use super::{
    admission_control::QueuePlace,
    front::{Client, Front},
    message::{Framing, Refusal},
    metered::Progress,
    reason::{Disconnect, Reason},
    request_state::{RequestState, TransferState},
    selection::Selection,
    served_pool::{Choice, ServedPool},
    upstream::PoolBackend,
};
use crate::config::Http;

/// A request that is ready to be sent to a backend.
#[derive(Debug)]
pub(super) struct UpstreamRequest<'a> {
    /// The service that the client is connected to.
    pub(super) front: &'a Front,
    /// The pool that serves the request.
    pub(super) pool: &'a ServedPool,
    /// The inputs for choosing a backend for the request.
    pub(super) selection: &'a Selection,
    /// The client that sent the request.
    pub(super) client: &'a Client,
    /// The limits and timeouts that were in force when the request's head arrived.
    pub(super) limits: &'a Http,
    /// The head of the request, as it is sent to the backend.
    pub(super) head: &'a [u8],
    /// How the end of the request's body is marked for the backend.
    pub(super) framing: Framing,
    /// Whether the method is HEAD, so that the response has no body.
    pub(super) to_head: bool,
    /// Whether the request is idempotent, so that it may be sent twice (RFC 9110 §9.2.2).
    pub(super) idempotent: bool,
    /// Whether the client asks for a switch of protocols.
    pub(super) upgrade: bool,
    /// The progress of the request's body and of the response.
    pub(super) transfer: &'a TransferState,
    /// Counts how much of the response the client has accepted.
    pub(super) progress: &'a Progress,
    /// What is recorded of the request while it is in flight.
    pub(super) state: &'a RequestState,
}

impl UpstreamRequest<'_> {
    /// Returns the reason for a request whose client disconnects now, in the way `left`.
    pub(super) fn client_left(&self, left: Disconnect) -> Reason {
        Reason::client_left(self.state.phase(), left)
    }

    /// Chooses a backend that is not in `tried`. `place` is the request's place in the pool's
    /// queue, if it is queued.
    pub(super) fn choose(&self, tried: &[Rc<PoolBackend>], place: Option<&QueuePlace>) -> Choice {
        let dependent = (self.client.hash, self.selection);
        self.pool.choose(dependent, tried, place)
    }
}

/// Why an attempt to send a request to a backend failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The request's body is invalid, for this reason.
    Refused(Refusal),
    /// The attempt ended for this reason, which is not an invalid body of the request.
    Ended(Reason),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Ended(reason)
    }
}
