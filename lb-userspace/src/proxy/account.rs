//! Counts and logs the end of each request exactly once, however it ends.

use std::{
    net::SocketAddr,
    thread,
    time::{Instant, SystemTime},
};

use super::{
    counters::BackendCounters,
    errors::EndedEarly,
    front::{Front, Peer},
    logged::{self, Logged},
    reason::{By, Phase, Reason},
    request_state::{Notes, OFFENDING_BYTES, Stage},
};

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
        let notes = Notes::new(began);
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
