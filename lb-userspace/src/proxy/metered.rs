//! How much of what is written its receiver takes, and a client's socket that counts it.

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

/// How far a receiver is with what is written to it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes that it took.
    pub(super) bytes: Cell<u64>,
    /// Has the next write to a [`Metered`] socket be tried, whether or not the kernel called it
    /// writable: that is said only once a third of the socket's buffer is free, which a slow reader
    /// of a large buffer takes minutes for.
    pub(super) probe: Cell<bool>,
}

impl Progress {
    /// Counts bytes that were taken.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().wrapping_add(bytes as u64));
    }
}

/// A socket that counts the bytes that the kernel took to be sent. Below TLS, so that a record of
/// which a part is sent counts as progress.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    progress: Rc<Progress>,
}

/// The stream of a client that speaks HTTP/1, with TLS or without.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + Unpin {
    /// Its socket, below TLS.
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
    /// A socket of which nothing is counted yet.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            progress: Rc::default(),
        }
    }

    /// The count, as it goes on.
    pub(super) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Counts what was written; where nothing was, and a probe is due, writes past the readiness.
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
