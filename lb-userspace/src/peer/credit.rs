//! Credit: flow control for flows, which limits the messages in flight to the peer.
//!
//! A slow consumer delays flows and nothing else: the reader continues, as it never has to store more
//! than [`WINDOW`] messages.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tokio::sync::{Notify, Semaphore, mpsc};

/// Number of messages of flows that may be in flight.
pub(super) const WINDOW: u32 = 16;

/// Flows received from the peer. The chunk counts against the peer's credit until it is dropped: keep
/// it until it is imported.
#[derive(Debug)]
pub struct FlowChunk {
    /// The session that it arrived over: [`super::PeerInfo::session`]. A chunk of another session than
    /// that of the last [`super::Event::Up`] was sent before it.
    pub session: u64,
    /// The bytes that the peer passed to [`super::Bulk::send`].
    pub bytes: Vec<u8>,
    _held: Held,
}

/// The flows received from the peer, across sessions.
#[derive(Debug)]
pub struct Flows(pub(super) mpsc::Receiver<FlowChunk>);

impl Flows {
    /// Returns the next chunk; `None` when the link has been dropped.
    pub async fn recv(&mut self) -> Option<FlowChunk> {
        self.0.recv().await
    }
}

/// The credit that the peer has granted.
#[derive(Debug)]
pub(super) struct Credit {
    left: Semaphore,
    /// Number of messages sent and not yet acknowledged.
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
    /// Returns the next message once there is credit for it. Credit is used only with a message.
    pub(super) async fn spend(&self, bulk: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
        let permit = self.left.acquire().await.ok()?;
        let bytes = bulk.recv().await?;
        permit.forget();
        self.used.fetch_add(1, SeqCst);
        Some(bytes)
    }

    /// Records that the peer has acknowledged messages. Returns `None` if that many were not in flight.
    pub(super) fn grant(&self, messages: u32) -> Option<()> {
        let less = |used: u32| used.checked_sub(messages);
        self.used.fetch_update(SeqCst, SeqCst, less).ok()?;
        self.left.add_permits(usize::try_from(messages).ok()?);
        Some(())
    }
}

/// The acknowledgements that this side owes the peer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of messages received and not yet acknowledged.
    held: AtomicU32,
    /// Number of messages processed since the last acknowledgement.
    owed: AtomicU32,
    changed: Notify,
}

impl Ledger {
    /// Records a received message. Returns `None` if the peer had no credit for it.
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

    /// Waits until an acknowledgement is due, and returns its number of messages.
    pub(super) async fn owed(&self) -> u32 {
        loop {
            let owed = self.owed.load(SeqCst);
            if owed > 0 {
                return owed;
            }
            self.changed.notified().await;
        }
    }

    /// Records an acknowledgement that is being sent.
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
