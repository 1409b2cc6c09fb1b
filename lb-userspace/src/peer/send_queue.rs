//! The queue of messages to send over the link to the peer, the most urgent first.

use std::{future::pending, sync::Arc};

use tokio::sync::{
    Semaphore,
    mpsc::{self, error::TrySendError},
};

use super::{
    credit::{Credit, Ledger},
    frame::{Message, Urgent, encode},
    record::{Lane, Outgoing},
};

/// Capacities, in frames, of the queues of the three lanes (classes of urgency). The queue of the
/// urgent lane is small, because late heartbeats are worthless.
const WAITING_URGENT: usize = 64;
const WAITING_CONTROL: usize = 256;
const WAITING_BULK: usize = 4;

/// Puts messages into the send queue of one session.
#[derive(Clone, Debug)]
pub(super) struct SendHandle {
    urgent: mpsc::Sender<Urgent>,
    control: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
    /// A semaphore that is closed to end the session, because a queue is full.
    overrun: Arc<Semaphore>,
}

impl SendHandle {
    /// Queues a frame to be sent before all other messages. Returns false if the queue of such
    /// frames is full, so that the frame was dropped.
    pub(super) fn urgent(&self, frame: Urgent) -> bool {
        self.urgent.try_send(frame).is_ok()
    }

    /// Queues a message with shared state. Returns whether it was queued. If the queue of such
    /// messages is full, the session ends: the next session begins with the full state.
    pub(super) fn control(&self, message: &Message) -> bool {
        let Some(bytes) = encode(Lane::Control, message) else {
            tracing::error!("cannot send a message to the peer: it is too long for the link");
            return false;
        };
        match self.control.try_send(bytes) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.overrun.close();
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    pub(super) async fn bulk(&self, bytes: Vec<u8>) -> Result<(), mpsc::error::SendError<Vec<u8>>> {
        self.bulk.send(bytes).await
    }
}

/// The send queue of one session, with a queue for each lane (class of urgency).
#[derive(Debug)]
pub(super) struct SendQueue {
    urgent: mpsc::Receiver<Urgent>,
    control: mpsc::Receiver<Vec<u8>>,
    bulk: mpsc::Receiver<Vec<u8>>,
    /// The remaining parts of the control message and of the message with flows that are being
    /// sent.
    control_rest: Option<Outgoing>,
    bulk_rest: Option<Outgoing>,
    /// The flow control of messages with flows.
    credit: Arc<Credit>,
    ledger: Arc<Ledger>,
    overrun: Arc<Semaphore>,
}

impl SendQueue {
    /// Creates a queue and the handle that fills it. The queue sends messages with flows while
    /// `credit` lasts, and the acknowledgements that `ledger` owes the peer.
    pub(super) fn new(credit: Arc<Credit>, ledger: Arc<Ledger>) -> (SendHandle, Self) {
        let (to_urgent, urgent) = mpsc::channel(WAITING_URGENT);
        let (to_control, control) = mpsc::channel(WAITING_CONTROL);
        let (to_bulk, bulk) = mpsc::channel(WAITING_BULK);
        let overrun = Arc::new(Semaphore::new(0));
        let handle = SendHandle {
            urgent: to_urgent,
            control: to_control,
            bulk: to_bulk,
            overrun: Arc::clone(&overrun),
        };
        let send_queue = Self {
            urgent,
            control,
            bulk,
            control_rest: None,
            bulk_rest: None,
            credit,
            ledger,
            overrun,
        };
        (handle, send_queue)
    }

    /// Waits for a record (a part of a message) to send and puts it into `record`. Returns whether
    /// the record ends a frame, or `None` if a queue is full and the session must end. Cancel safe.
    pub(super) async fn next(&mut self, record: &mut Vec<u8>) -> Option<bool> {
        let has_control = self.control_rest.is_some();
        let has_bulk = self.bulk_rest.is_some();
        tokio::select! {
            biased;
            _closed = self.overrun.acquire() => None,
            Some(frame) = self.urgent.recv() => urgent(frame, record),
            owed = self.ledger.owed() => {
                self.ledger.settle(owed);
                urgent(Urgent::Credit(owed), record)
            }
            () = at_once_if(has_control) => part(&mut self.control_rest, record),
            Some(bytes) = self.control.recv(), if !has_control => {
                self.control_rest = Some(Outgoing::new(Lane::Control, bytes));
                part(&mut self.control_rest, record)
            }
            () = at_once_if(has_bulk) => part(&mut self.bulk_rest, record),
            Some(bytes) = self.credit.spend(&mut self.bulk), if !has_bulk => {
                self.bulk_rest = Some(Outgoing::new(Lane::Bulk, bytes));
                part(&mut self.bulk_rest, record)
            }
        }
    }
}

fn urgent(frame: Urgent, record: &mut Vec<u8>) -> Option<bool> {
    let bytes = encode(Lane::Urgent, &frame)?;
    Some(Outgoing::new(Lane::Urgent, bytes).next_record(record))
}

fn part(rest: &mut Option<Outgoing>, record: &mut Vec<u8>) -> Option<bool> {
    let is_last = rest.as_mut()?.next_record(record);
    if is_last {
        *rest = None;
    }
    Some(is_last)
}

async fn at_once_if(now: bool) {
    if !now {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
