//! What is to be sent, most urgent first.

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

/// Frames that may wait to be sent, by lane. Heartbeats that wait long are worth nothing.
const WAITING_URGENT: usize = 64;
const WAITING_CONTROL: usize = 256;
const WAITING_BULK: usize = 4;

/// Where the agent puts what is to be sent by one connection.
#[derive(Clone, Debug)]
pub(super) struct SendHandle {
    urgent: mpsc::Sender<Urgent>,
    control: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
    /// The send_queue gives up the connection when this is closed.
    overrun: Arc<Semaphore>,
}

impl SendHandle {
    /// False when it was dropped.
    pub(super) fn urgent(&self, frame: Urgent) -> bool {
        self.urgent.try_send(frame).is_ok()
    }

    /// A message that does not fit ends the connection: the next one begins with all that counts.
    pub(super) fn control(&self, message: &Message) -> bool {
        let Some(bytes) = encode(Lane::Control, message) else {
            tracing::error!("what was to be said to the peer is too long for the link");
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

/// What is to be sent by one connection.
#[derive(Debug)]
pub(super) struct SendQueue {
    urgent: mpsc::Receiver<Urgent>,
    control: mpsc::Receiver<Vec<u8>>,
    bulk: mpsc::Receiver<Vec<u8>>,
    /// Of the long messages under way, what is still to be sent.
    control_rest: Option<Outgoing>,
    bulk_rest: Option<Outgoing>,
    /// Messages of flows that the peer takes.
    credit: Arc<Credit>,
    ledger: Arc<Ledger>,
    overrun: Arc<Semaphore>,
}

impl SendQueue {
    /// An send_queue that may send flows while `credit` lasts, and tells the peer what `ledger` owes.
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

    /// Puts the next record in place of what `record` held. True when it ends a frame; `None` when
    /// there is more to say than goes through. Nothing is lost when it is dropped while it waits.
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
