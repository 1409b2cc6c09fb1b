//! The state of one request in flight: how far it is, which backend has it, and what the counters, the
//! access log and `lb errors` report of it when it ends.

use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    time::Instant,
};

use super::{reason::Phase, upstream::PoolBackend};

/// The most bytes that are kept of what broke the rules.
pub(super) const OFFENDING_BYTES: usize = 512;

/// What is noted of a request while it is under way.
#[derive(Debug, Default)]
pub(super) struct RequestState {
    /// When its head had come.
    pub(super) began: Option<Instant>,
    /// How far the request's body is, and its response.
    pub(super) transfer: TransferState,
    stage: Cell<RequestStage>,
    attempts: Cell<u32>,
    /// When it reached its stages.
    pub(super) times: RequestTimes,
    /// Bytes of the body that the backend took; of a tunnel, bytes to the backend.
    pub(super) request_bytes: Cell<u64>,
    /// Bytes of the body that were handed to the client; of a tunnel, bytes to it.
    pub(super) response_bytes: Cell<u64>,
    /// The status of the backend's response.
    pub(super) status: Cell<u16>,
    /// The backend that has it, or had it last.
    pub(super) backend: RefCell<Option<Rc<PoolBackend>>>,
    /// The beginning of the request; kept only where it ends early.
    pub(super) request: RefCell<Vec<u8>>,
    /// What broke the rules.
    pub(super) offending: RefCell<Vec<u8>>,
}

/// What comes before and after the exchange with a backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum RequestStage {
    /// No backend was chosen yet.
    #[default]
    Queue,
    /// A backend was chosen.
    Connect,
    /// There is a connection to it.
    Connected,
    /// The backend speaks another protocol.
    Tunnel,
}

impl RequestState {
    /// The state of a request whose head was complete at `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began: Some(began),
            ..Self::default()
        }
    }

    /// The request goes to that backend.
    pub(super) fn attempt(&self, backend: &Rc<PoolBackend>) {
        self.attempts.set(self.attempts.get() + 1);
        self.enter(RequestStage::Connect);
        self.times.choose();
        *self.backend.borrow_mut() = Some(Rc::clone(backend));
    }

    /// How often it went to a backend.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// The backend that has it, or had it last.
    pub(super) fn backend(&self) -> Ref<'_, Option<Rc<PoolBackend>>> {
        self.backend.borrow()
    }

    /// The request has come to that stage.
    pub(super) fn enter(&self, stage: RequestStage) {
        self.stage.set(stage);
    }

    /// How far the request is.
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

    /// The status of the response of which the client has a part; 0: none.
    pub(super) fn sent_status(&self) -> u16 {
        if self.transfer.answered.get() {
            self.status.get()
        } else {
            0
        }
    }

    /// Keeps the first two lines of a head for the backend, because the request ends early.
    pub(super) fn keep_request(&self, head: &[u8]) {
        let mut ends = memchr::memchr_iter(b'\r', head);
        let end = ends.nth(1).unwrap_or(head.len()).min(OFFENDING_BYTES);
        *self.request.borrow_mut() = head[..end].to_vec();
    }

    /// Keeps the beginning of what broke the rules.
    pub(super) fn keep_offending(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(OFFENDING_BYTES)];
        *self.offending.borrow_mut() = bytes.to_vec();
    }
}

/// How far a request's body is, and its response.
#[derive(Debug, Default)]
pub(super) struct TransferState {
    /// When it last went on; `None`: not yet.
    pub(super) progress: Cell<Option<tokio::time::Instant>>,
    /// Whether the backend has all of it.
    pub(super) complete: Cell<bool>,
    /// Whether the head of the response has come.
    pub(super) answered: Cell<bool>,
    /// Whether the client has all that there is of the response, and the backend is waited for.
    pub(super) waiting: Cell<bool>,
}

/// When a request reached its stages; nothing is noted without an access log.
#[derive(Debug, Default)]
pub(super) struct RequestTimes {
    is_on: Cell<bool>,
    pub(super) chosen: Cell<Option<Instant>>,
    pub(super) connected: Cell<Option<Instant>>,
    pub(super) first_byte: Cell<Option<Instant>>,
}

impl RequestTimes {
    /// Notes times from here on.
    pub(super) fn turn_on(&self) {
        self.is_on.set(true);
    }

    /// A backend was chosen. The first choice counts.
    pub(super) fn choose(&self) {
        self.note(&self.chosen);
    }

    /// There is a connection. The last one counts.
    pub(super) fn connect(&self) {
        self.connected.set(None);
        self.note(&self.connected);
    }

    /// A byte of the response came. The first one counts.
    pub(super) fn first_byte(&self) {
        self.note(&self.first_byte);
    }

    fn note(&self, cell: &Cell<Option<Instant>>) {
        if self.is_on.get() && cell.get().is_none() {
            cell.set(Some(Instant::now()));
        }
    }
}
