//! The state of one request in flight: its progress, its backend, and what counters, access log and
//! `lb errors` report when it ends.

use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    time::Instant,
};

use super::{reason::Phase, upstream::PoolBackend};

/// Limit, in bytes, of what is kept of a request or of a protocol violation for `lb errors`.
pub(super) const OFFENDING_BYTES: usize = 512;

/// The state of one request in flight.
#[derive(Debug, Default)]
pub(super) struct RequestState {
    /// When the head of the request was complete.
    pub(super) began: Option<Instant>,
    /// The progress of the request's body and of the response.
    pub(super) transfer: TransferState,
    stage: Cell<RequestStage>,
    attempts: Cell<u32>,
    /// When the request reached each stage.
    pub(super) times: RequestTimes,
    /// Bytes of the body that the backend accepted; in a tunnel, bytes to the backend.
    pub(super) request_bytes: Cell<u64>,
    /// Bytes of the body that were passed to the client; in a tunnel, bytes to the client.
    pub(super) response_bytes: Cell<u64>,
    /// The status of the backend's response.
    pub(super) status: Cell<u16>,
    /// The current or last backend.
    pub(super) backend: RefCell<Option<Rc<PoolBackend>>>,
    /// The beginning of the request, kept only if it ends early.
    pub(super) request: RefCell<Vec<u8>>,
    /// The beginning of the bytes that violated the protocol.
    pub(super) offending: RefCell<Vec<u8>>,
}

/// The stages of a request around the exchange with a backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum RequestStage {
    /// No backend is chosen.
    #[default]
    Queue,
    /// A backend is chosen, and there is no connection to it yet.
    Connect,
    /// A connection to the backend is established.
    Connected,
    /// The protocols were switched.
    Tunnel,
}

impl RequestState {
    /// Creates the state of a request whose head was complete at `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began: Some(began),
            ..Self::default()
        }
    }

    /// An attempt to send the request to `backend` begins.
    pub(super) fn attempt(&self, backend: &Rc<PoolBackend>) {
        self.attempts.set(self.attempts.get() + 1);
        self.enter(RequestStage::Connect);
        self.times.choose();
        *self.backend.borrow_mut() = Some(Rc::clone(backend));
    }

    /// Returns the number of attempts.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// Returns the current or last backend.
    pub(super) fn backend(&self) -> Ref<'_, Option<Rc<PoolBackend>>> {
        self.backend.borrow()
    }

    /// Records that the request enters a stage.
    pub(super) fn enter(&self, stage: RequestStage) {
        self.stage.set(stage);
    }

    /// Returns how far the request has come.
    pub(super) fn phase(&self) -> Phase {
        match self.stage.get() {
            RequestStage::Queue => Phase::Queue,
            RequestStage::Connect => Phase::Connect,
            RequestStage::Tunnel => Phase::Tunnel,
            RequestStage::Connected if self.transfer.answered.get() => Phase::ResponseBody,
            RequestStage::Connected if self.transfer.complete.get() => Phase::ResponseHead,
            RequestStage::Connected => Phase::RequestBody,
        }
    }

    /// Returns the status of the response that the client has a part of; 0 if none.
    pub(super) fn sent_status(&self) -> u16 {
        if self.transfer.answered.get() {
            self.status.get()
        } else {
            0
        }
    }

    /// Keeps the first two lines of the head for the backend, because the request ends early.
    pub(super) fn keep_request(&self, head: &[u8]) {
        let mut ends = memchr::memchr_iter(b'\r', head);
        let end = ends.nth(1).unwrap_or(head.len()).min(OFFENDING_BYTES);
        *self.request.borrow_mut() = head[..end].to_vec();
    }

    /// Keeps the beginning of bytes that violated the protocol.
    pub(super) fn keep_offending(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(OFFENDING_BYTES)];
        *self.offending.borrow_mut() = bytes.to_vec();
    }
}

/// The progress of a request's body and its response.
#[derive(Debug, Default)]
pub(super) struct TransferState {
    /// When the backend last accepted a part of the body; `None` if it has accepted none.
    pub(super) progress: Cell<Option<tokio::time::Instant>>,
    /// Whether the backend has the complete request.
    pub(super) complete: Cell<bool>,
    /// Whether the head of the response has arrived.
    pub(super) answered: Cell<bool>,
    /// Whether the client has everything that has arrived of the response, so that only the backend
    /// is waited for.
    pub(super) waiting: Cell<bool>,
}

/// When a request reached its stages; recorded only if there is an access log.
#[derive(Debug, Default)]
pub(super) struct RequestTimes {
    is_on: Cell<bool>,
    pub(super) chosen: Cell<Option<Instant>>,
    pub(super) connected: Cell<Option<Instant>>,
    pub(super) first_byte: Cell<Option<Instant>>,
}

impl RequestTimes {
    /// Enables recording.
    pub(super) fn turn_on(&self) {
        self.is_on.set(true);
    }

    /// Records when a backend was chosen; of several choices, the first one.
    pub(super) fn choose(&self) {
        self.note(&self.chosen);
    }

    /// Records when a connection was established; of several connections, the last one.
    pub(super) fn connect(&self) {
        self.connected.set(None);
        self.note(&self.connected);
    }

    /// Records when the first byte of the response arrived; later calls change nothing.
    pub(super) fn first_byte(&self) {
        self.note(&self.first_byte);
    }

    fn note(&self, cell: &Cell<Option<Instant>>) {
        if self.is_on.get() && cell.get().is_none() {
            cell.set(Some(Instant::now()));
        }
    }
}
