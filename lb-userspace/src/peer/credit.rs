//! Credit: how much of the flows may be on its way to a peer that has not taken it in yet.
//!
//! A consumer that is slow holds up the flows and nothing else: the reader goes on reading, since it
//! never has more than [`WINDOW`] messages to put down.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tokio::sync::{Notify, Semaphore, mpsc};

/// Messages of flows that may be on their way.
pub(super) const WINDOW: u32 = 16;

/// Flows that came from the peer. What it carries stays counted against the peer's credit until it
/// is dropped: keep it until it has been taken in.
#[derive(Debug)]
pub struct FlowChunk {
    /// The connection that it came by: [`super::PeerInfo::session`]. What came by another one than
    /// the last [`super::Event::Up`] named was sent before it.
    pub session: u64,
    /// What [`super::Bulk::send`] was given at the other end.
    pub bytes: Vec<u8>,
    _held: Held,
}

/// The flows that come from the peer, across connections.
#[derive(Debug)]
pub struct Flows(pub(super) mpsc::Receiver<FlowChunk>);

impl Flows {
    /// The next chunk; `None` when the link has been dropped.
    pub async fn recv(&mut self) -> Option<FlowChunk> {
        self.0.recv().await
    }
}

/// What the peer has room for.
#[derive(Debug)]
pub(super) struct Credit {
    left: Semaphore,
    /// Messages sent that the peer has not taken in yet.
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
    /// The next message, once there is credit for it. Nothing is used up unless there is one.
    pub(super) async fn spend(&self, bulk: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
        let permit = self.left.acquire().await.ok()?;
        let bytes = bulk.recv().await?;
        permit.forget();
        self.used.fetch_add(1, SeqCst);
        Some(bytes)
    }

    /// The peer has taken in so many messages. `None` when there were not so many.
    pub(super) fn grant(&self, messages: u32) -> Option<()> {
        let less = |used: u32| used.checked_sub(messages);
        self.used.fetch_update(SeqCst, SeqCst, less).ok()?;
        self.left.add_permits(usize::try_from(messages).ok()?);
        Some(())
    }
}

/// What this side owes the peer: messages taken in that it has not been told of.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Messages received and not given back yet.
    held: AtomicU32,
    /// Messages taken in since the peer was last told.
    owed: AtomicU32,
    changed: Notify,
}

impl Ledger {
    /// Books a message that came. `None` when the peer had no credit for it.
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

    /// Waits until the peer is to be told, and says how much.
    pub(super) async fn owed(&self) -> u32 {
        loop {
            let owed = self.owed.load(SeqCst);
            if owed > 0 {
                return owed;
            }
            self.changed.notified().await;
        }
    }

    /// The peer is about to be told of so many.
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
