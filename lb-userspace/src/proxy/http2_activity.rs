//! What the streams of one HTTP/2 connection share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::time::Instant;

use super::{
    front::{Client, Front},
    http2_cancel::Cancellations,
    http2_window::Uploads,
    memory::{Backlog, RESPONSE_BUFFER_BYTES, SMALL_RESPONSE_BUFFER_BYTES},
    watchdog::Watchdog,
};
use crate::config::Http;

/// With more streams than these under way each response begins with a small buffer.
const FEW_STREAMS: usize = 8;
/// What ended streams leave for the next ones, at most so often and so large.
const MAX_SPARE_SCRATCH: usize = 16;
const SPARE_HEAD_BYTES: usize = 4096;
/// What the streams of a connection do.
#[derive(Debug)]
pub(super) struct Activity {
    /// Streams under way.
    pub(super) streams: Cell<usize>,
    /// When one of them ended last.
    pub(super) last: Cell<Option<Instant>>,
    /// What ended streams leave for the next ones.
    pub(super) scratch: RefCell<Vec<StreamScratch>>,
    /// What the client has not taken yet.
    pub(super) backlog: Rc<Backlog>,
    /// What the client took back.
    pub(super) cancellations: Cancellations,
    /// Requests with a body under way.
    pub(super) uploads: Uploads,
}

impl Activity {
    pub(super) fn new(front: &Front, client: &Client, limits: &Http) -> Self {
        Self {
            streams: Cell::new(0),
            last: Cell::new(None),
            scratch: RefCell::default(),
            cancellations: Cancellations::new(Instant::now()),
            uploads: Uploads::new(Instant::now()),
            backlog: Backlog::new(
                front.buffers.memory(),
                &client.entry,
                limits.connection_buffer_bytes,
            ),
        }
    }

    /// Keeps what a stream leaves, unless it is large or there is enough of it.
    pub(super) fn keep(&self, scratch: StreamScratch) {
        let mut spare = self.scratch.borrow_mut();
        if spare.len() < MAX_SPARE_SCRATCH && scratch.head.capacity() <= SPARE_HEAD_BYTES {
            spare.push(scratch);
        }
    }

    /// How much of a response is read before its head is known.
    pub(super) fn first_read(&self) -> usize {
        if self.streams.get() > FEW_STREAMS {
            SMALL_RESPONSE_BUFFER_BYTES
        } else {
            RESPONSE_BUFFER_BYTES
        }
    }
}

/// What each stream needs for itself.
#[derive(Debug, Default)]
pub(super) struct StreamScratch {
    /// The head for the backend.
    pub(super) head: Vec<u8>,
    pub(super) watchdog: Watchdog,
}
