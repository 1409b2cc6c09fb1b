//! Concurrent reads and writes on a client's stream from one task.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::metered::{ClientStream, Progress};

/// A stream that one task reads and writes concurrently, without a lock: the stream is borrowed
/// only during a poll.
#[derive(Debug)]
pub(super) struct Wire<S>(RefCell<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Wraps a client's stream.
    pub(super) fn new(stream: S) -> Self {
        Self(RefCell::new(stream))
    }

    /// Returns the stream that was wrapped.
    pub(super) fn into_inner(self) -> S {
        self.0.into_inner()
    }

    /// Reads available bytes into `room`. Returns their number; 0 at the end of the stream.
    pub(super) async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, room)).await
    }

    /// Reads available bytes into `room`. Returns their number; 0 at the end of the stream.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut *self.0.borrow_mut()).poll_read(context, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Reads bytes that are to be discarded. Returns their number; 0 at the end of the stream.
    /// Bypasses TLS: after the front has closed its direction of the TLS session, decryption is
    /// useless, and rustls asserts in debug builds that no alert follows `close_notify`, which a
    /// malformed record causes (<https://github.com/rustls/rustls/issues/959>).
    pub(super) async fn read_to_drop(&self, room: &mut [u8]) -> io::Result<usize>
    where
        S: ClientStream,
    {
        poll_fn(|context| {
            let mut room = ReadBuf::new(room);
            let mut stream = self.0.borrow_mut();
            ready!(Pin::new(stream.socket()).poll_read(context, &mut room))?;
            Poll::Ready(Ok(room.filled().len()))
        })
        .await
    }

    /// Writes all slices in their order, and flushes the stream.
    pub(super) async fn write_all(&self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut left = slices;
        let written = |_| {};
        poll_fn(|context| poll_write_all(&mut *self.0.borrow_mut(), &mut left, &written, context))
            .await?;
        poll_fn(|context| Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)).await
    }

    /// Closes the direction in which the front sends.
    pub(super) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)).await
    }
}

/// Writes all slices to a stream, and adds the bytes that the stream has accepted to `taken`.
pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    slices: &mut [IoSlice<'_>],
    taken: &Progress,
) -> io::Result<()> {
    let mut left = slices;
    let written = |bytes| taken.add(bytes);
    poll_fn(|context| poll_write_all(stream, &mut left, &written, context)).await
}

fn poll_write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    left: &mut &mut [IoSlice<'_>],
    count: &impl Fn(usize),
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    // This skips slices that are empty.
    IoSlice::advance_slices(left, 0);
    while !left.is_empty() {
        let stream = Pin::new(&mut *stream);
        // One plain write costs the kernel less than a vectored write of one slice.
        let written = match &**left {
            [slice] => ready!(stream.poll_write(context, slice))?,
            slices => ready!(stream.poll_write_vectored(context, slices))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        count(written);
        IoSlice::advance_slices(left, written);
    }
    Poll::Ready(Ok(()))
}
