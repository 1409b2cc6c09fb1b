//! The state that the streams of one HTTP/2 connection share.

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

/// If more streams than this are in flight on a connection, each response begins with a small
/// buffer.
const FEW_STREAMS: usize = 8;
/// Limits of the memory that is kept from ended streams for later ones: the number of
/// [`StreamScratch`] values, and the capacity of the head in each, in bytes.
const MAX_SPARE_SCRATCH: usize = 16;
const SPARE_HEAD_BYTES: usize = 4096;
/// The state that all streams of one HTTP/2 connection share.
#[derive(Debug)]
pub(super) struct Activity {
    /// Number of open streams of the connection.
    pub(super) streams: Cell<usize>,
    /// When a stream last ended, or the connection was last found to have an open stream: the idle
    /// time counts from then.
    pub(super) last: Cell<Option<Instant>>,
    /// Scratch memory of ended streams, for reuse by later streams.
    pub(super) scratch: RefCell<Vec<StreamScratch>>,
    /// Response data that the client has not received yet.
    pub(super) backlog: Rc<Backlog>,
    /// Counts the requests that the client has cancelled.
    pub(super) cancellations: Cancellations,
    /// Counts the open requests that have a body.
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

    /// Keeps an ended stream's scratch memory for reuse, unless it is large or enough of it is kept
    /// already.
    pub(super) fn keep(&self, scratch: StreamScratch) {
        let mut spare = self.scratch.borrow_mut();
        if spare.len() < MAX_SPARE_SCRATCH && scratch.head.capacity() <= SPARE_HEAD_BYTES {
            spare.push(scratch);
        }
    }

    /// Returns how many bytes of a backend's response are read before its head is parsed.
    pub(super) fn first_read(&self) -> usize {
        if self.streams.get() > FEW_STREAMS {
            SMALL_RESPONSE_BUFFER_BYTES
        } else {
            RESPONSE_BUFFER_BYTES
        }
    }
}

/// Memory that a stream uses for its request, and that a later stream can use again.
#[derive(Debug, Default)]
pub(super) struct StreamScratch {
    /// The head of the request, as it is sent to the backend.
    pub(super) head: Vec<u8>,
    pub(super) watchdog: Watchdog,
}
