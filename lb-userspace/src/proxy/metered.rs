//! Counts the progress of writes to a receiver, and provides a client socket that counts them.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// How many bytes a receiver (the kernel or an HTTP/2 client) has accepted.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Number of bytes that the receiver has accepted.
    pub(super) bytes: Cell<u64>,
    /// Makes the next write to a [`Metered`] socket attempt a system call even if the socket is not
    /// reported writable: the kernel reports that only when a third of the send buffer is free,
    /// which takes minutes with a slow reader and a large buffer.
    pub(super) probe: Cell<bool>,
}

impl Progress {
    /// Adds `bytes` to the number of accepted bytes.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().wrapping_add(bytes as u64));
    }
}

/// A socket that counts the bytes that the kernel accepts for sending. It sits below TLS, so that a
/// partly sent record counts as progress.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    progress: Rc<Progress>,
}

/// The stream of an HTTP/1 client, with or without TLS.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + Unpin {
    /// Returns the client's socket, which is below TLS if there is TLS.
    fn socket(&mut self) -> &mut Metered;
}

impl ClientStream for Metered {
    fn socket(&mut self) -> &mut Metered {
        self
    }
}

impl ClientStream for TlsStream<Metered> {
    fn socket(&mut self) -> &mut Metered {
        self.get_mut().0
    }
}

impl Metered {
    /// Wraps a socket. The number of bytes that the kernel has accepted for sending begins at 0.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            progress: Rc::default(),
        }
    }

    /// Returns the counter of accepted bytes, which is shared with the caller.
    pub(super) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Counts the bytes that a write wrote. If the write would have to wait and [`Progress::probe`]
    /// is set, writes although the socket is not reported writable.
    fn count(
        &self,
        written: Poll<io::Result<usize>>,
        write: impl FnOnce(&SockRef<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let probe = self.progress.probe.replace(false);
        let written = match written {
            Poll::Pending if probe => match write(&SockRef::from(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                written => Poll::Ready(written),
            },
            written => written,
        };
        if let Poll::Ready(Ok(bytes)) = written {
            self.progress.add(bytes);
        }
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written, |socket| socket.send(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(written, |socket| socket.send_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
