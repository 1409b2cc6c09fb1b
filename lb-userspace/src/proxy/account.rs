//! What is noted of one request while it is under way, and how its end is counted: once, however it
//! ends.

use std::{
    cell::{Cell, Ref, RefCell},
    net::SocketAddr,
    rc::Rc,
    thread,
    time::{Instant, SystemTime},
};

use super::{
    counters::BackendCounters,
    errors::EndedEarly,
    exchange::Upload,
    front::{Front, Peer},
    logged::{self, Logged, Times},
    reason::{By, Phase, Reason},
    upstream::Member,
};

/// The most bytes that are kept of what broke the rules.
const OFFENDING_BYTES: usize = 512;

/// What is noted of a request while it is under way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// When its head had come.
    pub(super) began: Option<Instant>,
    /// How far the request's body is, and its response.
    pub(super) upload: Upload,
    stage: Cell<Stage>,
    attempts: Cell<u32>,
    /// When it reached its stages.
    pub(super) times: Times,
    /// Bytes of the body that the backend took; of a tunnel, bytes to the backend.
    pub(super) request_bytes: Cell<u64>,
    /// Bytes of the body that were handed to the client; of a tunnel, bytes to it.
    pub(super) response_bytes: Cell<u64>,
    /// The status of the backend's response.
    pub(super) status: Cell<u16>,
    /// The backend that has it, or had it last.
    member: RefCell<Option<Rc<Member>>>,
    /// The beginning of the request; kept only where it ends early.
    request: RefCell<Vec<u8>>,
    /// What broke the rules.
    offending: RefCell<Vec<u8>>,
}

/// What comes before and after the exchange with a backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
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

impl Notes {
    /// The request goes to that backend.
    pub(super) fn attempt(&self, member: &Rc<Member>) {
        self.attempts.set(self.attempts.get() + 1);
        self.enter(Stage::Connect);
        self.times.choose();
        *self.member.borrow_mut() = Some(Rc::clone(member));
    }

    /// How often it went to a backend.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// The backend that has it, or had it last.
    pub(super) fn member(&self) -> Ref<'_, Option<Rc<Member>>> {
        self.member.borrow()
    }

    /// The request has come to that stage.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// How far the request is.
    pub(super) fn phase(&self) -> Phase {
        match self.stage.get() {
            Stage::Queue => Phase::Queue,
            Stage::Connect => Phase::Connect,
            Stage::Tunnel => Phase::Tunnel,
            Stage::Connected if self.upload.answered.get() => Phase::ResponseBody,
            Stage::Connected if self.upload.complete.get() => Phase::ResponseHead,
            Stage::Connected => Phase::RequestBody,
        }
    }

    /// The status of the response of which the client has a part; 0: none.
    fn sent_status(&self) -> u16 {
        if self.upload.answered.get() {
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

/// One request from the end of its head on. Its end is counted and logged when one of the methods
/// says what it was; where none does, because its task panicked or the worker ended, when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Account<'a> {
    front: &'a Front,
    peer: &'a Peer,
    began: Instant,
    /// What is noted of it.
    pub(super) notes: Notes,
    /// What is kept for its line; `None`: there is no access log.
    log: Option<Box<Logged>>,
    is_open: bool,
}

impl<'a> Account<'a> {
    /// A request of that protocol begins.
    pub(super) fn begin(front: &'a Front, peer: &'a Peer, protocol: &'static str) -> Self {
        let began = Instant::now();
        let notes = Notes {
            began: Some(began),
            ..Notes::default()
        };
        let log = front.access_log();
        if log.is_some() {
            notes.times.turn_on();
        }
        Self {
            front,
            peer,
            began,
            notes,
            log: log.map(|log| Box::new(Logged::begin(log, protocol))),
            is_open: true,
        }
    }

    /// Keeps what is wanted of its head for its line, where there is an access log.
    pub(super) fn keep(&mut self, keep: impl FnOnce(&mut Logged)) {
        if let Some(log) = &mut self.log {
            keep(log);
        }
    }

    /// Notes the trace in the head for the backend, where there is an access log.
    pub(super) fn follow_trace(&mut self, head: &mut Vec<u8>) {
        self.keep(|log| log.follow_trace(head));
    }

    /// The client has the whole response of a backend.
    pub(super) fn answered(mut self, status: u16) {
        self.with_backend(|counters| counters.answered(status));
        self.took();
        self.close(status, None);
    }

    /// The client is answered in place of a backend, with a body of that many bytes.
    pub(super) fn answered_by_us(mut self, status: u16, reason: Reason, body: usize) {
        if reason.by() == By::Client {
            // No backend has to do with it.
            *self.notes.member.borrow_mut() = None;
        }
        self.with_backend(|counters| counters.answered_by_us(status, reason));
        self.took();
        self.notes.response_bytes.set(body as u64);
        self.close(status, Some(reason));
    }

    /// The client has no whole response.
    pub(super) fn broken_off(mut self, reason: Reason) {
        self.count_broken(reason);
        self.close(self.notes.sent_status(), Some(reason));
    }

    /// The client and the backend have changed to another protocol.
    pub(super) fn upgraded(self) -> Self {
        self.with_backend(|counters| counters.answered(101));
        self.took();
        self.notes.enter(Stage::Tunnel);
        self
    }

    /// The tunnel has ended, early where there is a reason.
    pub(super) fn tunnel_ended(mut self, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.front.counters.closed(reason);
        }
        self.close(101, reason);
    }

    fn count_broken(&self, reason: Reason) {
        self.with_backend(|counters| counters.broken_off(reason));
        self.took();
    }

    fn took(&self) {
        self.front.counters.took(self.began.elapsed());
    }

    fn with_backend(&self, count: impl FnOnce(&BackendCounters)) {
        let member = self.notes.member.borrow();
        let none = &self.front.counters.no_backend;
        count(member.as_ref().map_or(none, |member| &member.counters));
    }

    fn close(&mut self, status: u16, reason: Option<Reason>) {
        self.is_open = false;
        if let Some(log) = &self.log {
            let of = (self.front, self.peer);
            log.write(of, &self.notes, (status, reason), self.began);
        }
        if let Some(reason) = reason.filter(|reason| !reason.is_ordinary()) {
            self.front.errors.push(EndedEarly {
                status,
                backend: self.notes.member().as_ref().map(|one| one.name.clone()),
                attempts: self.notes.attempts(),
                after: Some(self.began.elapsed()),
                request: self.notes.request.take(),
                offending: self.notes.offending.take(),
                ..of_connection(self.front, self.peer, reason)
            });
        }
    }
}

/// A connection ended early without a request under way, with these bytes: counts it, and logs it
/// where that is wanted.
pub(super) fn connection_ended(front: &Front, peer: &Peer, reason: Reason, bytes: &[u8]) {
    front.counters.closed(reason);
    logged::write_connection(front, peer, reason);
    if !reason.is_ordinary() {
        front.errors.push(EndedEarly {
            offending: bytes[..bytes.len().min(OFFENDING_BYTES)].to_vec(),
            ..of_connection(front, peer, reason)
        });
    }
}

fn of_connection(front: &Front, peer: &Peer, reason: Reason) -> EndedEarly {
    EndedEarly {
        time: SystemTime::now(),
        reason,
        service: front.name.clone(),
        client: SocketAddr::new(peer.address, peer.port),
        status: 0,
        backend: None,
        attempts: 0,
        after: None,
        request: Vec::new(),
        offending: Vec::new(),
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let phase = self.notes.phase();
        let reason = if thread::panicking() {
            Reason::fault(phase)
        } else {
            Reason::shutdown(phase)
        };
        if phase == Phase::Tunnel {
            self.front.counters.closed(reason);
            self.close(101, Some(reason));
        } else {
            self.count_broken(reason);
            self.close(self.notes.sent_status(), Some(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    };

    use super::*;
    use crate::proxy::{connections::Entry, counters::sum, front::test_front};

    fn broken_after(end: impl FnOnce(Account<'_>)) -> Vec<(Reason, u64)> {
        let (front, counters) = test_front();
        let peer = Peer::new((Ipv4Addr::LOCALHOST.into(), 1), &Entry::alone());
        end(Account::begin(&front, &peer, "HTTP/1.1"));
        let counters = sum(&[&*counters]);
        let broken = counters.broken.iter();
        broken.map(|count| (count.reason, count.count)).collect()
    }

    #[test]
    fn a_request_whose_task_is_dropped_was_ended_by_the_worker() {
        let broken = broken_after(|account| {
            account.notes.enter(Stage::Connected);
            account.notes.upload.complete.set(true);
            drop(account);
        });
        assert_eq!(broken, [(Reason::LbResponseHeadShutdown, 1)]);
    }

    #[test]
    fn a_request_whose_task_panics_was_ended_by_a_fault() {
        let broken = broken_after(|account| {
            account.notes.enter(Stage::Connect);
            let account = AssertUnwindSafe(account);
            let panicked = catch_unwind(move || {
                let _account = account;
                resume_unwind(Box::new("on purpose"));
            });
            assert!(panicked.is_err());
        });
        assert_eq!(broken, [(Reason::LbConnectFault, 1)]);
    }

    #[test]
    fn a_request_that_ended_is_counted_once() {
        let broken = broken_after(|account| {
            account.broken_off(Reason::ClientResponseBodyReset);
        });
        assert_eq!(broken, [(Reason::ClientResponseBodyReset, 1)]);
        let answered = broken_after(|account| account.answered(200));
        assert_eq!(answered, []);
    }
}
