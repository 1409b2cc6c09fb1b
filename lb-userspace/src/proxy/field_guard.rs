//! Inspects the field blocks of an HTTP/2 connection before the HTTP/2 library decodes them,
//! because that library ends the whole connection for one malformed field and strips fragments from
//! paths. Valid blocks pass unchanged; in others the malformed parts are replaced, and a notice is
//! left for their stream.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::{BrokenBlock, FieldReader, Notice};

/// Length of the connection preface of an HTTP/2 client, in bytes (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// Length of the header of an HTTP/2 frame, in bytes (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;
/// The longest payload of a frame that is accepted, in bytes: the default of
/// SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2).
const MAX_FRAME: usize = 16_384;
/// Capacity, in bytes, that a buffer keeps while it is empty.
const KEPT_BYTES: usize = 1024;
/// The lowest limit of a field block with its frame headers that a caller can set, in bytes.
const MIN_LIMIT: usize = 64 * 1024;
/// Limit of the notices (about malformed field blocks) of a connection that wait for their streams
/// to be served. More than this can accumulate only if the HTTP/2 library refused the streams.
const MAX_NOTICES: usize = 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The notices about faults in the field blocks of a connection, by stream ID.
#[derive(Debug, Default)]
pub(super) struct Notices(RefCell<BTreeMap<u32, Notice>>);

impl Notices {
    /// Removes and returns the notice about faults in a stream's field block; an empty one if there
    /// is none. Must be called for streams in ascending order.
    pub(super) fn take(&self, stream: u32) -> Notice {
        let mut notices = self.0.borrow_mut();
        if notices.is_empty() {
            return Notice::default();
        }
        let later = notices.split_off(&(stream + 1));
        std::mem::replace(&mut *notices, later)
            .remove(&stream)
            .unwrap_or_default()
    }

    fn leave(&self, stream: u32, notice: Notice) {
        let mut notices = self.0.borrow_mut();
        notices.insert(stream, notice);
        if notices.len() > MAX_NOTICES {
            notices.pop_first();
        }
    }
}

/// The byte stream of an HTTP/2 client, whose field blocks are inspected as they arrive.
#[derive(Debug)]
pub(super) struct FieldGuard<S> {
    inner: S,
    reader: FieldReader,
    notices: Rc<Notices>,
    /// Number of bytes that pass without inspection: the rest of a frame that has no fields.
    passing: usize,
    /// Received bytes that the HTTP/2 library has not got yet: at most one field block, and what
    /// follows it.
    held: Vec<u8>,
    /// Offset in `held` of the next frame of the field block with which `held` begins.
    scanned: usize,
    /// The field block with which `held` begins, as far as it is scanned, without frame headers.
    block: Vec<u8>,
    /// Bytes that the HTTP/2 library may read, from the offset `passed` on.
    out: Vec<u8>,
    passed: usize,
    /// Limit of a field block with its frame headers, in bytes.
    limit: usize,
    /// The highest ID of a stream that had a request.
    last_stream: u32,
    /// Whether the client violated the protocol: the HTTP/2 library gets the violation and nothing
    /// after it.
    broken: bool,
}

/// A frame within a slice of received bytes.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Offset of the end of the frame in the slice.
    end: usize,
}

impl Frame {
    /// Parses the frame header at the offset `at`; `None` if the header is incomplete.
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let head = bytes.get(at..at + FRAME_HEAD)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        Some(Self {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            end: at + FRAME_HEAD + length,
        })
    }

    fn has_fields(&self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }
}

impl<S> FieldGuard<S> {
    /// Guards a connection from its preface on. A field block may have `limit` bytes with its frame
    /// headers; a `limit` of less than 64 KiB counts as 64 KiB.
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self {
            inner,
            reader: FieldReader::default(),
            notices: Rc::default(),
            passing: PREFACE_BYTES,
            held: Vec::new(),
            scanned: 0,
            block: Vec::new(),
            out: Vec::new(),
            passed: 0,
            limit: limit.max(MIN_LIMIT),
            last_stream: 0,
            broken: false,
        }
    }

    /// Returns the notices about faults in the field blocks of the connection, to which this guard
    /// keeps adding.
    pub(super) fn notices(&self) -> Rc<Notices> {
        Rc::clone(&self.notices)
    }

    /// Lets the held bytes pass to the HTTP/2 library as far as they are valid and complete.
    fn process(&mut self) {
        loop {
            let passing = self.passing.min(self.held.len());
            self.pass(passing);
            self.passing -= passing;
            let Some(frame) = Frame::at(&self.held, self.scanned) else {
                return;
            };
            let continues = self.scanned > 0;
            if continues != (frame.kind == CONTINUATION) {
                return self.fail();
            }
            if !frame.has_fields() {
                self.passing = frame.end;
                continue;
            }
            // Frame headers count towards the limit, so a client cannot continue a block
            // indefinitely with empty frames.
            let is_long = frame.end - self.scanned > FRAME_HEAD + MAX_FRAME;
            if is_long || frame.end > self.limit {
                return self.fail();
            }
            if self.held.len() < frame.end {
                return;
            }
            if self.append_fragment(&frame).is_err() {
                return self.fail();
            }
            self.scanned = frame.end;
            if frame.flags & END_HEADERS != 0 && self.finish_block().is_err() {
                return self.fail();
            }
        }
    }

    /// Returns how many of the bytes `new`, which are in the read buffer of the HTTP/2 library,
    /// belong to frames without fields, and may stay in that buffer uninspected.
    fn without_fields(&mut self, new: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let passing = self.passing.min(new.len() - at);
            at += passing;
            self.passing -= passing;
            match Frame::at(new, at) {
                Some(frame) if !frame.has_fields() => self.passing = frame.end - at,
                _ => return at,
            }
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.out.extend_from_slice(&self.held[..bytes]);
        self.held.drain(..bytes);
        if self.held.is_empty() {
            self.held.shrink_to(KEPT_BYTES);
        }
    }

    /// Passes the held bytes, which make the HTTP/2 library end the connection, and nothing after
    /// them.
    fn fail(&mut self) {
        self.pass(self.held.len());
        self.broken = true;
    }

    /// Appends the part of the field block that a frame carries (RFC 9113 §6.2, §6.10).
    fn append_fragment(&mut self, frame: &Frame) -> Result<(), BrokenBlock> {
        let mut payload = &self.held[self.scanned + FRAME_HEAD..frame.end];
        if frame.kind == HEADERS {
            let mut padding = 0;
            if frame.flags & PADDED != 0 {
                let (length, rest) = payload.split_first().ok_or(BrokenBlock)?;
                (padding, payload) = (usize::from(*length), rest);
            }
            if frame.flags & PRIORITY != 0 {
                payload = payload.get(5..).ok_or(BrokenBlock)?;
            }
            let length = payload.len().checked_sub(padding).ok_or(BrokenBlock)?;
            payload = &payload[..length];
        }
        self.block.extend_from_slice(payload);
        Ok(())
    }

    /// Decodes the complete field block, leaves a notice if it has a fault, and lets the block
    /// pass.
    fn finish_block(&mut self) -> Result<(), BrokenBlock> {
        let first = Frame::at(&self.held, 0).ok_or(BrokenBlock)?;
        let (notice, rewritten) = self.reader.read(&self.block)?;
        // A later field block on the same stream has trailers, which are discarded.
        if first.stream > self.last_stream {
            self.last_stream = first.stream;
            if !notice.is_empty() {
                self.notices.leave(first.stream, notice);
            }
        }
        match rewritten {
            None => self.pass(self.scanned),
            Some(block) => {
                self.held.drain(..self.scanned);
                self.push_frames(&first, &block);
            }
        }
        self.scanned = 0;
        self.block.clear();
        Ok(())
    }

    /// Writes the frames of a rewritten block, without the padding and the priority of the client's
    /// frames.
    fn push_frames(&mut self, first: &Frame, block: &[u8]) {
        let mut parts = block.chunks(MAX_FRAME).peekable();
        let (mut kind, mut flags) = (HEADERS, first.flags & END_STREAM);
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= END_HEADERS;
            }
            let length = (part.len() as u32).to_be_bytes();
            self.out.extend_from_slice(&length[1..]);
            self.out.extend_from_slice(&[kind, flags]);
            self.out.extend_from_slice(&first.stream.to_be_bytes());
            self.out.extend_from_slice(part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Copies as many of the bytes that may pass into `room` as it has space for.
    fn copy_out(&mut self, room: &mut ReadBuf<'_>) {
        let left = &self.out[self.passed..];
        let part = left.len().min(room.remaining());
        room.put_slice(&left[..part]);
        self.passed += part;
        if self.passed == self.out.len() {
            self.out.clear();
            self.out.shrink_to(KEPT_BYTES);
            self.passed = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FieldGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                this.copy_out(room);
                return Poll::Ready(Ok(()));
            }
            if this.broken {
                return Poll::Ready(Ok(()));
            }
            let before = room.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, room))?;
            let new = &room.filled()[before..];
            if new.is_empty() {
                // The client has closed the connection, possibly in the middle of a field block.
                this.fail();
                continue;
            }
            let in_order = if this.held.is_empty() {
                this.without_fields(new)
            } else {
                0
            };
            this.held.extend_from_slice(&new[in_order..]);
            this.process();
            room.set_filled(before + in_order);
            if in_order > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FieldGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "field_guard_tests.rs"]
mod tests;
