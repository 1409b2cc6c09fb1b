//! Counts and logs the end of each request exactly once, however it ends.

use std::{
    net::SocketAddr,
    thread,
    time::{Instant, SystemTime},
};

use super::{
    counters::BackendCounters,
    early_ends::EndedEarly,
    front::{Client, Front},
    log_entry::{self, LogEntry},
    reason::{By, Phase, Reason},
    request_state::{OFFENDING_BYTES, RequestStage, RequestState},
};

/// Records one request, from the end of its head on. A method that names the outcome counts and
/// logs the end of the request; if no such method is called, because the task panicked or the
/// worker ended, dropping the recorder counts and logs it.
#[derive(Debug)]
pub(super) struct RequestRecorder<'a> {
    front: &'a Front,
    client: &'a Client,
    began: Instant,
    /// The state of the request in flight.
    pub(super) state: RequestState,
    /// What the access log keeps of the request; `None` if there is no access log.
    log: Option<Box<LogEntry>>,
    is_open: bool,
}

impl<'a> RequestRecorder<'a> {
    /// Begins the record of a request that came over this protocol (such as `HTTP/1.1`).
    pub(super) fn begin(front: &'a Front, client: &'a Client, protocol: &'static str) -> Self {
        let began = Instant::now();
        let state = RequestState::new(began);
        let log = front.access_log();
        if log.is_some() {
            state.times.turn_on();
        }
        Self {
            front,
            client,
            began,
            state,
            log: log.map(|log| Box::new(LogEntry::begin(log, protocol))),
            is_open: true,
        }
    }

    /// Passes what the access log keeps of the request, if there is an access log, to `keep`.
    pub(super) fn keep(&mut self, keep: impl FnOnce(&mut LogEntry)) {
        if let Some(log) = &mut self.log {
            keep(log);
        }
    }

    /// Takes the trace ID from the head for the backend, or begins a trace in that head; does
    /// nothing if there is no access log.
    pub(super) fn follow_trace(&mut self, head: &mut Vec<u8>) {
        self.keep(|log| log.follow_trace(head));
    }

    /// Records that the client got the complete response of a backend, with this status.
    pub(super) fn answered(mut self, status: u16) {
        self.with_backend(|counters| counters.answered(status));
        self.took();
        self.close(status, None);
    }

    /// Records that the client got an answer of the front itself, with a body of `body` bytes.
    pub(super) fn answered_locally(mut self, status: u16, reason: Reason, body: usize) {
        if reason.by() == By::Client {
            // The client caused this answer: the backend had no part in it.
            *self.state.backend.borrow_mut() = None;
        }
        self.with_backend(|counters| counters.answered_locally(status, reason));
        self.took();
        self.state.response_bytes.set(body as u64);
        self.close(status, Some(reason));
    }

    /// Records that the request ended, for this reason, without a complete response for the client.
    pub(super) fn aborted(mut self, reason: Reason) {
        self.count_broken(reason);
        self.close(self.state.sent_status(), Some(reason));
    }

    /// Records that the client and the backend have switched protocols. The end of the tunnel is
    /// still to be recorded, with the recorder that is returned.
    pub(super) fn upgraded(self) -> Self {
        self.with_backend(|counters| counters.answered(101));
        self.took();
        self.state.enter(RequestStage::Tunnel);
        self
    }

    /// Records that the tunnel has ended; `reason` is `None` if both ends closed it.
    pub(super) fn tunnel_ended(mut self, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.front.counters.closed(reason);
        }
        self.close(101, reason);
    }

    fn count_broken(&self, reason: Reason) {
        self.with_backend(|counters| counters.aborted(reason));
        self.took();
    }

    fn took(&self) {
        self.front.counters.record_duration(self.began.elapsed());
    }

    fn with_backend(&self, count: impl FnOnce(&BackendCounters)) {
        let backend = self.state.backend.borrow();
        let none = &self.front.counters.no_backend;
        count(backend.as_ref().map_or(none, |backend| &backend.counters));
    }

    fn close(&mut self, status: u16, reason: Option<Reason>) {
        self.is_open = false;
        if let Some(log) = &self.log {
            let of = (self.front, self.client);
            log.write(of, &self.state, (status, reason), self.began);
        }
        if let Some(reason) = reason.filter(|reason| !reason.is_ordinary()) {
            self.front.early_ends.push(EndedEarly {
                status,
                backend: self.state.backend().as_ref().map(|one| one.name.clone()),
                attempts: self.state.attempts(),
                after: Some(self.began.elapsed()),
                request: self.state.request.take(),
                offending: self.state.offending.take(),
                ..of_connection(self.front, self.client, reason)
            });
        }
    }
}

/// Counts a client connection that ended early without a request in flight, and logs it if there is
/// an access log. `bytes` is what the client had sent.
pub(super) fn connection_ended(front: &Front, client: &Client, reason: Reason, bytes: &[u8]) {
    front.counters.closed(reason);
    log_entry::write_connection(front, client, reason);
    if !reason.is_ordinary() {
        front.early_ends.push(EndedEarly {
            offending: bytes[..bytes.len().min(OFFENDING_BYTES)].to_vec(),
            ..of_connection(front, client, reason)
        });
    }
}

fn of_connection(front: &Front, client: &Client, reason: Reason) -> EndedEarly {
    EndedEarly {
        time: SystemTime::now(),
        reason,
        service: front.name.clone(),
        client: SocketAddr::new(client.address, client.port),
        status: 0,
        backend: None,
        attempts: 0,
        after: None,
        request: Vec::new(),
        offending: Vec::new(),
    }
}

impl Drop for RequestRecorder<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let phase = self.state.phase();
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
            self.close(self.state.sent_status(), Some(reason));
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

    fn broken_after(end: impl FnOnce(RequestRecorder<'_>)) -> Vec<(Reason, u64)> {
        let (front, counters) = test_front();
        let client = Client::new((Ipv4Addr::LOCALHOST.into(), 1), &Entry::alone());
        end(RequestRecorder::begin(&front, &client, "HTTP/1.1"));
        let counters = sum(&[&*counters]);
        let broken = counters.broken.iter();
        broken.map(|count| (count.reason, count.count)).collect()
    }

    #[test]
    fn a_request_whose_task_is_dropped_was_ended_by_the_worker() {
        let broken = broken_after(|recorder| {
            recorder.state.enter(RequestStage::Connected);
            recorder.state.transfer.complete.set(true);
            drop(recorder);
        });
        assert_eq!(broken, [(Reason::LbResponseHeadShutdown, 1)]);
    }

    #[test]
    fn a_request_whose_task_panics_was_ended_by_a_fault() {
        let broken = broken_after(|recorder| {
            recorder.state.enter(RequestStage::Connect);
            let recorder = AssertUnwindSafe(recorder);
            let panicked = catch_unwind(move || {
                let _account = recorder;
                resume_unwind(Box::new("on purpose"));
            });
            assert!(panicked.is_err());
        });
        assert_eq!(broken, [(Reason::LbConnectFault, 1)]);
    }

    #[test]
    fn a_request_that_ended_is_counted_once() {
        let broken = broken_after(|recorder| {
            recorder.aborted(Reason::ClientResponseBodyReset);
        });
        assert_eq!(broken, [(Reason::ClientResponseBodyReset, 1)]);
        let answered = broken_after(|recorder| recorder.answered(200));
        assert_eq!(answered, []);
    }
}
