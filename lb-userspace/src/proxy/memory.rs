//! Bounds the memory that a worker uses for its clients: response buffers, and response data that
//! HTTP/2 clients have not received yet.
//!
//! A client decides how fast it reads, so without a bound it decides how much is buffered for it.
//! At a bound, the backend is not read from until the client has received something, and the
//! backend's flow control does the rest. A connection's share shrinks as the worker's memory fills
//! (the dynamic threshold of Choudhury and Hahne, 1998): a few clients that do not read leave room
//! for later ones.

use std::{
    cell::{Cell, RefCell},
    ops::{Deref, DerefMut},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use tokio::sync::oneshot;

use super::{buffer::Buffer, connections::Entry, counters::WorkerCounters};

/// Size of a response buffer, in bytes.
pub(super) const RESPONSE_BUFFER_BYTES: usize = 64 * 1024;
/// Size of a response buffer, in bytes, if memory is short or one client has many responses in
/// flight.
pub(super) const SMALL_RESPONSE_BUFFER_BYTES: usize = 8 * 1024;
/// Limit of the number of unused buffers that a worker keeps.
const SPARE_BUFFERS: usize = 64;
/// Bytes that every connection may buffer in any case: the default limit of an HTTP/2 frame (RFC
/// 9113 §4.2).
const LEAST_BACKLOG: usize = 16 * 1024;
/// One connection may use this fraction (one in 8) of the memory that its worker has free.
const SHARE_OF_FREE: usize = 8;

/// The memory budget of one worker for its clients, in bytes.
#[derive(Debug, Default)]
pub(super) struct MemoryBudget {
    counters: Arc<WorkerCounters>,
    most: Cell<usize>,
}

impl MemoryBudget {
    /// Creates a budget that counts the memory in use in `counters`.
    pub(super) fn new(counters: &Arc<WorkerCounters>) -> Rc<Self> {
        Rc::new(Self {
            counters: Arc::clone(counters),
            most: Cell::new(0),
        })
    }

    /// Sets the limit of the budget to `most` bytes. Memory in use is not freed.
    pub(super) fn limit(&self, most: usize) {
        self.most.set(most);
    }

    /// Returns the memory that buffers of this worker and data for its clients use, in bytes.
    fn used(&self) -> usize {
        usize::try_from(self.counters.buffered.value()).unwrap_or(usize::MAX)
    }

    fn is_short(&self) -> bool {
        self.used() > self.most.get() / 2
    }

    fn free(&self) -> usize {
        self.most.get().saturating_sub(self.used())
    }

    fn add(&self, bytes: usize) {
        self.counters.buffered.add(bytes as u64);
    }

    fn sub(&self, bytes: usize) {
        self.counters.buffered.sub(bytes as u64);
    }
}

/// Response data that one HTTP/2 client has not received yet.
#[derive(Debug)]
pub(super) struct Backlog {
    memory: Rc<MemoryBudget>,
    /// The connection's entry in the registry of client connections, where the connection does not
    /// count as idle while response data waits for the client.
    entry: Rc<Entry>,
    used: Cell<usize>,
    most: usize,
    waiting: RefCell<Vec<Waker>>,
}

impl Backlog {
    /// Creates the backlog of one HTTP/2 connection, which may hold at most `most` bytes.
    pub(super) fn new(memory: &Rc<MemoryBudget>, entry: &Rc<Entry>, most: usize) -> Rc<Self> {
        Rc::new(Self {
            memory: Rc::clone(memory),
            entry: Rc::clone(entry),
            used: Cell::new(0),
            most,
            waiting: RefCell::default(),
        })
    }

    /// Waits until the backlog has room for more data of the client. Returns the room in bytes.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<usize> {
        let room = self.limit().saturating_sub(self.used.get());
        if room > 0 {
            return Poll::Ready(room);
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Copies data into the backlog. The copy counts in the backlog until the copy is dropped.
    pub(super) fn counted(self: &Rc<Self>, data: &[u8]) -> CountedBytes {
        if self.used.replace(self.used.get() + data.len()) == 0 {
            self.entry.begin();
        }
        self.memory.add(data.len());
        CountedBytes {
            data: Bytes::copy_from_slice(data),
            size: data.len(),
            backlog: Some(Rc::clone(self)),
            mark: None,
        }
    }

    fn limit(&self) -> usize {
        let share = self.memory.free() / SHARE_OF_FREE;
        share.min(self.most).max(LEAST_BACKLOG)
    }

    /// Subtracts bytes from the backlog. Waiting streams are woken when the backlog has fallen to
    /// half of its limit, so that each stream finds room for more than a few bytes.
    fn release(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
        self.memory.sub(bytes);
        if self.used.get() == 0 {
            self.entry.end();
        }
        if self.used.get() <= self.limit() / 2 {
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }
}

/// Response data on its way through the HTTP/2 library, counted in a [`Backlog`].
#[derive(Debug, Default)]
pub(super) struct CountedBytes {
    data: Bytes,
    size: usize,
    backlog: Option<Rc<Backlog>>,
    /// Set only in a marker, which carries no data: dropping the marker notifies the receiver that
    /// the data sent before it was written.
    mark: Option<oneshot::Sender<()>>,
}

impl CountedBytes {
    /// Creates a marker, which carries no data; the receiver of `mark` is notified when the marker
    /// is dropped.
    pub(super) fn marker(mark: oneshot::Sender<()>) -> Self {
        Self {
            data: Bytes::new(),
            size: 0,
            backlog: None,
            mark: Some(mark),
        }
    }
}

impl Buf for CountedBytes {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        if let Some(backlog) = self.backlog.take() {
            backlog.release(self.size);
        }
        drop(self.mark.take());
    }
}

/// A worker's pool of unused response buffers: reusing a few keeps them in the CPU's cache.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    buffers: RefCell<Vec<Buffer>>,
    /// The fewest unused buffers that there were at any time since the last call of `sweep`: that
    /// many are not needed.
    fewest: Cell<usize>,
    memory: Rc<MemoryBudget>,
}

impl BufferPool {
    /// Creates a pool without buffers, whose memory counts in this budget.
    pub(super) fn new(memory: Rc<MemoryBudget>) -> Rc<Self> {
        Rc::new(Self {
            memory,
            ..Self::default()
        })
    }

    /// Returns the memory budget of the worker.
    pub(super) fn memory(&self) -> &Rc<MemoryBudget> {
        &self.memory
    }

    /// Frees as many buffers as were unused all the time since the last call of this method.
    pub(super) fn sweep(&self) {
        let mut buffers = self.buffers.borrow_mut();
        let keep = buffers.len().saturating_sub(self.fewest.get());
        buffers.truncate(keep);
        buffers.shrink_to_fit();
        self.fewest.set(keep);
    }

    fn take(&self) -> Buffer {
        let mut buffers = self.buffers.borrow_mut();
        let spare = buffers.pop();
        self.fewest.set(self.fewest.get().min(buffers.len()));
        spare.unwrap_or_else(|| Buffer::with_room(RESPONSE_BUFFER_BYTES))
    }

    fn give(&self, mut buffer: Buffer) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS && buffer.room() == RESPONSE_BUFFER_BYTES {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

/// The buffer for the response to one request. It uses no memory while it is empty and the backend
/// has sent nothing.
#[derive(Debug)]
pub(super) struct ResponseBuffer {
    buffer: Buffer,
    counted: usize,
    pool: Rc<BufferPool>,
}

impl ResponseBuffer {
    /// Creates a response buffer without capacity, which takes memory from this pool when needed.
    pub(super) fn new(pool: &Rc<BufferPool>) -> Self {
        Self {
            buffer: Buffer::default(),
            counted: 0,
            pool: Rc::clone(pool),
        }
    }

    /// Returns free space for at most `most` bytes of the response; it is empty only if `limit`
    /// bytes are unconsumed.
    pub(super) fn space(&mut self, most: usize, limit: usize) -> &mut [u8] {
        let small = most <= SMALL_RESPONSE_BUFFER_BYTES || self.pool.memory.is_short();
        let wanted = if small {
            SMALL_RESPONSE_BUFFER_BYTES
        } else {
            RESPONSE_BUFFER_BYTES
        };
        if self.buffer.is_empty() && self.buffer.room() < wanted {
            self.release();
            self.buffer = if small {
                Buffer::with_room(SMALL_RESPONSE_BUFFER_BYTES)
            } else {
                self.pool.take()
            };
        }
        let length = self.buffer.space(limit).len().min(most);
        self.count();
        &mut self.buffer.space(limit)[..length]
    }

    /// Returns the buffer's memory to the pool if the buffer is empty.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() && self.buffer.room() > 0 {
            self.pool.give(std::mem::take(&mut self.buffer));
            self.count();
        }
    }

    fn count(&mut self) {
        let room = self.buffer.room();
        self.pool.memory.add(room);
        self.pool.memory.sub(self.counted);
        self.counted = room;
    }
}

impl Deref for ResponseBuffer {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl DerefMut for ResponseBuffer {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Drop for ResponseBuffer {
    fn drop(&mut self) {
        self.buffer.clear();
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(most: usize) -> Rc<MemoryBudget> {
        let memory = MemoryBudget::new(&Arc::default());
        memory.limit(most);
        memory
    }

    fn backlog(memory: &Rc<MemoryBudget>, most: usize) -> Rc<Backlog> {
        Backlog::new(memory, &Entry::alone(), most)
    }

    fn room(backlog: &Backlog) -> Option<usize> {
        match backlog.poll_room(&Context::from_waker(Waker::noop())) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_connection_has_no_more_than_its_bound_until_its_client_takes_something() {
        let memory = memory(1 << 30);
        let backlog = backlog(&memory, 100_000);
        let parts: Vec<_> = (0..10).map(|_| backlog.counted(&[0; 10_000])).collect();
        assert_eq!(room(&backlog), None);
        assert_eq!(memory.used(), 100_000);
        drop(parts);
        assert_eq!(room(&backlog), Some(100_000));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_share_of_a_connection_shrinks_as_memory_fills_and_never_ends() {
        let memory = memory(1 << 20);
        let mut parts = Vec::new();
        let mut rooms = Vec::new();
        for _ in 0..40 {
            let backlog = backlog(&memory, 1 << 20);
            rooms.push(room(&backlog).expect("a new connection has room"));
            while let Some(room) = room(&backlog) {
                parts.push(backlog.counted(&vec![0; room.min(4096)]));
            }
        }
        assert!(rooms.is_sorted_by(|one, next| one >= next), "{rooms:?}");
        assert_eq!(rooms.first(), Some(&(1 << 17)));
        assert_eq!(rooms.last(), Some(&LEAST_BACKLOG));
        assert!(memory.used() < (1 << 20) + 40 * LEAST_BACKLOG);
        drop(parts);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_response_buffer_uses_no_memory_while_it_is_empty() {
        let memory = memory(1 << 20);
        let pool = BufferPool::new(Rc::clone(&memory));
        let mut response = ResponseBuffer::new(&pool);
        assert_eq!(memory.used(), 0);
        assert_eq!(
            response.space(usize::MAX, 16_384).len(),
            RESPONSE_BUFFER_BYTES
        );
        response.fill(10);
        response.release();
        assert_eq!(memory.used(), RESPONSE_BUFFER_BYTES, "it is not empty");
        response.consume(10);
        response.release();
        assert_eq!(memory.used(), 0);
        assert_eq!(response.space(1000, 16_384).len(), 1000);
        assert_eq!(memory.used(), SMALL_RESPONSE_BUFFER_BYTES);
        drop(response);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn response_buffers_are_small_when_memory_is_short() {
        let memory = memory(RESPONSE_BUFFER_BYTES);
        let pool = BufferPool::new(Rc::clone(&memory));
        let (mut one, mut other) = (ResponseBuffer::new(&pool), ResponseBuffer::new(&pool));
        assert_eq!(one.space(usize::MAX, 16_384).len(), RESPONSE_BUFFER_BYTES);
        assert_eq!(
            other.space(usize::MAX, 16_384).len(),
            SMALL_RESPONSE_BUFFER_BYTES
        );
    }

    #[test]
    fn a_head_that_does_not_fit_makes_its_buffer_grow() {
        let pool = BufferPool::new(memory(1 << 20));
        let mut response = ResponseBuffer::new(&pool);
        response.space(1000, 16_384);
        response.fill(SMALL_RESPONSE_BUFFER_BYTES);
        assert!(!response.space(1000, 16_384).is_empty());
        assert_eq!(pool.memory().used(), 16_384);
    }

    #[test]
    fn spare_buffers_that_no_request_needs_are_given_back() {
        let pool = BufferPool::new(memory(1 << 30));
        let mut responses: Vec<_> = (0..10).map(|_| ResponseBuffer::new(&pool)).collect();
        for response in &mut responses {
            response.space(usize::MAX, 16_384);
        }
        drop(responses);
        let left = || pool.buffers.borrow().len();
        assert_eq!(left(), 10);
        pool.sweep();
        let mut response = ResponseBuffer::new(&pool);
        response.space(usize::MAX, 16_384);
        drop(response);
        pool.sweep();
        assert_eq!(left(), 1);
        pool.sweep();
        assert_eq!(left(), 0);
    }
}
