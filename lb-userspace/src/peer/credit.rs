//! Credit: flow control for messages with flows, which limits how many are in flight to the peer.
//!
//! If the receiving agent is slow to import flows, only the messages with flows are delayed: the
//! task that reads the connection continues, because it never has to store more than [`WINDOW`] of
//! them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tokio::sync::{Notify, Semaphore, mpsc};

/// Number of messages with flows that may be in flight to the peer, not yet acknowledged.
pub(super) const WINDOW: u32 = 16;

/// Flows received from the peer. The chunk counts against the peer's credit until it is dropped, so
/// the receiver should drop it after importing it.
#[derive(Debug)]
pub struct FlowChunk {
    /// The number of the session in which the chunk arrived: [`super::PeerInfo::session`]. If that
    /// is not the session of the last [`super::Event::Up`], the chunk was sent before that session
    /// began.
    pub session: u64,
    /// The bytes that the peer passed to [`super::Bulk::send`]: flows in the encoding of the data
    /// plane.
    pub bytes: Vec<u8>,
    _held: Held,
}

/// Receives the flows that the peer sends, in all sessions of the link between the agents.
#[derive(Debug)]
pub struct Flows(pub(super) mpsc::Receiver<FlowChunk>);

impl Flows {
    /// Returns the next chunk of flows; `None` when the agent has dropped the link to the peer.
    pub async fn recv(&mut self) -> Option<FlowChunk> {
        self.0.recv().await
    }
}

/// The credit that the peer has granted: how many more messages with flows may be sent to it.
#[derive(Debug)]
pub(super) struct Credit {
    left: Semaphore,
    /// Number of messages with flows that were sent and that the peer has not acknowledged.
    used: AtomicU32,
}

impl Default for Credit {
    fn default() -> Self {
        Self {
            left: Semaphore::new(WINDOW as usize),
            used: AtomicU32::new(0),
        }
    }
}

impl Credit {
    /// Waits until there are credit and a message, uses the credit and returns the message; `None`
    /// if no message will follow. Waiting for a message uses no credit.
    pub(super) async fn spend(&self, bulk: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
        let permit = self.left.acquire().await.ok()?;
        let bytes = bulk.recv().await?;
        permit.forget();
        self.used.fetch_add(1, SeqCst);
        Some(bytes)
    }

    /// Records that the peer has acknowledged this many messages with flows. Returns `None` if
    /// fewer were in flight.
    pub(super) fn grant(&self, messages: u32) -> Option<()> {
        let less = |used: u32| used.checked_sub(messages);
        self.used.fetch_update(SeqCst, SeqCst, less).ok()?;
        self.left.add_permits(usize::try_from(messages).ok()?);
        Some(())
    }
}

/// The acknowledgements that this host owes the peer for messages with flows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of messages with flows that were received and are not acknowledged yet.
    held: AtomicU32,
    /// Number of messages with flows that were processed and whose acknowledgement was not sent
    /// yet.
    owed: AtomicU32,
    changed: Notify,
}

impl Ledger {
    /// Records a message with flows that was received. Returns it as a chunk of flows, or `None` if
    /// the peer had no credit to send it.
    pub(super) fn book(self: &Arc<Self>, session: u64, bytes: Vec<u8>) -> Option<FlowChunk> {
        if self.held.fetch_add(1, SeqCst) >= WINDOW {
            return None;
        }
        Some(FlowChunk {
            session,
            bytes,
            _held: Held(Arc::clone(self)),
        })
    }

    /// Waits until an acknowledgement is due, and returns the number of messages that it must
    /// acknowledge.
    pub(super) async fn owed(&self) -> u32 {
        loop {
            let owed = self.owed.load(SeqCst);
            if owed > 0 {
                return owed;
            }
            self.changed.notified().await;
        }
    }

    /// Records that an acknowledgement of this many messages is being sent.
    pub(super) fn settle(&self, told: u32) {
        self.owed.fetch_sub(told, SeqCst);
        self.held.fetch_sub(told, SeqCst);
    }
}

#[derive(Debug)]
struct Held(Arc<Ledger>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.owed.fetch_add(1, SeqCst);
        self.0.changed.notify_one();
    }
}
