//! The state of one request in flight: its progress, its backend, and what counters, access log and
//! `lb errors` report when it ends.

use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    time::Instant,
};

use super::{reason::Phase, upstream::PoolBackend};

/// Limit, in bytes, of what is kept of a request, and of a protocol violation, for `lb errors`.
pub(super) const OFFENDING_BYTES: usize = 512;

/// The state of one request in flight.
#[derive(Debug, Default)]
pub(super) struct RequestState {
    /// When the head of the request was complete; `None` only in the default value.
    pub(super) began: Option<Instant>,
    /// How far the transfer of the request's body and of the response has come.
    pub(super) transfer: TransferState,
    stage: Cell<RequestStage>,
    attempts: Cell<u32>,
    /// When the request reached each of its stages.
    pub(super) times: RequestTimes,
    /// Bytes of the request's body that the backend accepted; in a tunnel, bytes to the backend.
    pub(super) request_bytes: Cell<u64>,
    /// Bytes of the response's body that were passed to the client; in a tunnel, bytes to the
    /// client.
    pub(super) response_bytes: Cell<u64>,
    /// The status of the backend's response; 0 until its head has arrived.
    pub(super) status: Cell<u16>,
    /// The backend that has the request now, or had it last; `None` until one is chosen.
    pub(super) backend: RefCell<Option<Rc<PoolBackend>>>,
    /// The beginning of the request, kept only if it ends early.
    pub(super) request: RefCell<Vec<u8>>,
    /// The beginning of the bytes that violated the protocol; empty if none did.
    pub(super) offending: RefCell<Vec<u8>>,
}

/// How far a request has come with the backend that serves it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum RequestStage {
    /// No backend is chosen for the request yet.
    #[default]
    Queue,
    /// A backend is chosen, and no connection to it is established yet.
    Connect,
    /// A connection to the chosen backend is established.
    Connected,
    /// The protocols were switched: the request has become a tunnel.
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

    /// Records that an attempt to send the request to `backend` begins.
    pub(super) fn attempt(&self, backend: &Rc<PoolBackend>) {
        self.attempts.set(self.attempts.get() + 1);
        self.enter(RequestStage::Connect);
        self.times.choose();
        *self.backend.borrow_mut() = Some(Rc::clone(backend));
    }

    /// Returns how often the request was sent, or tried to be sent, to a backend.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// Returns the backend that has the request now, or had it last; `None` until one is chosen.
    pub(super) fn backend(&self) -> Ref<'_, Option<Rc<PoolBackend>>> {
        self.backend.borrow()
    }

    /// Records that the request enters this stage.
    pub(super) fn enter(&self, stage: RequestStage) {
        self.stage.set(stage);
    }

    /// Returns how far the request has come, for the reason that is reported if it ends now.
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

    /// Returns the status of the response of which the client has a part; 0 if it has none.
    pub(super) fn sent_status(&self) -> u16 {
        if self.transfer.answered.get() {
            self.status.get()
        } else {
            0
        }
    }

    /// Keeps the first two lines of the head for the backend, for `lb errors`, because the request
    /// ends early.
    pub(super) fn keep_request(&self, head: &[u8]) {
        let mut ends = memchr::memchr_iter(b'\r', head);
        let end = ends.nth(1).unwrap_or(head.len()).min(OFFENDING_BYTES);
        *self.request.borrow_mut() = head[..end].to_vec();
    }

    /// Keeps the first of the bytes that violated the protocol, so that `lb errors` can show them.
    pub(super) fn keep_offending(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(OFFENDING_BYTES)];
        *self.offending.borrow_mut() = bytes.to_vec();
    }
}

/// The progress of a request's body and of its response.
#[derive(Debug, Default)]
pub(super) struct TransferState {
    /// When the backend last accepted a part of the request's body; `None` if it has accepted none.
    pub(super) progress: Cell<Option<tokio::time::Instant>>,
    /// Whether the backend has the complete request.
    pub(super) complete: Cell<bool>,
    /// Whether the head of the backend's response has arrived.
    pub(super) answered: Cell<bool>,
    /// Whether the client has everything that has arrived of the response, so that the front waits
    /// only for the backend.
    pub(super) waiting: Cell<bool>,
}

/// When a request reached each of its stages; recorded only if there is an access log.
#[derive(Debug, Default)]
pub(super) struct RequestTimes {
    is_on: Cell<bool>,
    pub(super) chosen: Cell<Option<Instant>>,
    pub(super) connected: Cell<Option<Instant>>,
    pub(super) first_byte: Cell<Option<Instant>>,
}

impl RequestTimes {
    /// Enables the recording of times.
    pub(super) fn turn_on(&self) {
        self.is_on.set(true);
    }

    /// Records when a backend was chosen. If several are chosen one after another, the first choice
    /// counts.
    pub(super) fn choose(&self) {
        self.note(&self.chosen);
    }

    /// Records when a connection to a backend was established. If several are established, the last
    /// one counts.
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
