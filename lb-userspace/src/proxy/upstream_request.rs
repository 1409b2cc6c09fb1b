//! A request on its way to a backend, as all parts of the exchange see it.

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

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct UpstreamRequest<'a> {
    /// The service.
    pub(super) front: &'a Front,
    /// The pool that serves it.
    pub(super) pool: &'a ServedPool,
    /// The inputs for choosing a backend.
    pub(super) selection: &'a Selection,
    /// The client.
    pub(super) client: &'a Client,
    /// The limits and timeouts that were in force when the request's head arrived.
    pub(super) limits: &'a Http,
    /// The head for the backend.
    pub(super) head: &'a [u8],
    /// How the body is framed to the backend.
    pub(super) framing: Framing,
    /// Whether the method is HEAD.
    pub(super) to_head: bool,
    /// Whether the request is idempotent.
    pub(super) idempotent: bool,
    /// Whether the client requests a switch of protocols.
    pub(super) upgrade: bool,
    /// The progress of the transfer.
    pub(super) transfer: &'a TransferState,
    /// The progress of the client in receiving the response.
    pub(super) progress: &'a Progress,
    /// The state of the request.
    pub(super) state: &'a RequestState,
}

impl UpstreamRequest<'_> {
    /// Returns the reason for a client that disconnected now.
    pub(super) fn client_left(&self, left: Disconnect) -> Reason {
        Reason::client_left(self.state.phase(), left)
    }

    /// Chooses a backend that is not in `tried`. `place` is the request's entry in the pool's
    /// queue, if it has one.
    pub(super) fn choose(&self, tried: &[Rc<PoolBackend>], place: Option<&QueuePlace>) -> Choice {
        let dependent = (self.client.hash, self.selection);
        self.pool.choose(dependent, tried, place)
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The request's body is invalid.
    Refused(Refusal),
    /// Any other reason.
    Ended(Reason),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Ended(reason)
    }
}
