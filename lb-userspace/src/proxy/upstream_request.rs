//! A request on its way to a backend, as everything that takes part in the exchange sees it.

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

/// A request, ready to be sent.
#[derive(Debug)]
pub(super) struct UpstreamRequest<'a> {
    /// The service.
    pub(super) front: &'a Front,
    /// The pool that serves it.
    pub(super) pool: &'a ServedPool,
    /// What the choice of a backend depends on.
    pub(super) selection: &'a Selection,
    /// The client.
    pub(super) client: &'a Client,
    /// The limits when the request came.
    pub(super) limits: &'a Http,
    /// The head for the backend.
    pub(super) head: &'a [u8],
    /// How the body goes to the backend.
    pub(super) framing: Framing,
    /// Whether the method is HEAD.
    pub(super) to_head: bool,
    /// Whether it may be sent twice.
    pub(super) idempotent: bool,
    /// Whether the client asked for another protocol.
    pub(super) upgrade: bool,
    /// How far the body is.
    pub(super) transfer: &'a TransferState,
    /// What the client takes of the response.
    pub(super) progress: &'a Progress,
    /// What is noted of the request.
    pub(super) state: &'a RequestState,
}

impl UpstreamRequest<'_> {
    /// The client left just now.
    pub(super) fn client_left(&self, left: Disconnect) -> Reason {
        Reason::client_left(self.state.phase(), left)
    }

    /// Chooses a backend, not one of `tried`. `place`: that of the request in the pool's queue, if it
    /// waits there.
    pub(super) fn choose(&self, tried: &[Rc<PoolBackend>], place: Option<&QueuePlace>) -> Choice {
        let dependent = (self.client.hash, self.selection);
        self.pool.choose(dependent, tried, place)
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The request's body is at fault.
    Refused(Refusal),
    /// Anything else.
    Ended(Reason),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Ended(reason)
    }
}
