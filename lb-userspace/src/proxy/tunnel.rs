//! Carries bytes in both directions between client and backend after `101 Switching Protocols`.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    metered::Progress,
    reason::Reason,
    request_state::RequestState,
    upstream::PooledConnection,
    watchdog::{Expired, Watchdog},
};
use crate::config::Timeouts;

/// Buffer size of each direction of a tunnel, in bytes.
const ROOM: usize = 16 * 1024;

/// Carries bytes until both the client and the backend have closed, or nothing has moved for longer
/// than `timeouts` allow. `early` is what the client sent after its request, `late` what the
/// backend sent after its response.
///
/// # Errors
/// Why the tunnel ended early; a failure of one connection ends both.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    mut backend: PooledConnection,
    (early, late): (&[u8], &[u8]),
    (watchdog, timeouts): (&mut Watchdog, &Timeouts),
    state: &RequestState,
) -> Result<(), Reason> {
    let progress = Progress::default();
    let mut up = Direction::new(early, &state.request_bytes);
    let mut down = Direction::new(late, &state.response_bytes);
    let mut poll = |context: &mut Context<'_>| -> Result<(bool, bool), Reason> {
        let backend = &mut backend.stream;
        let of_client = Reason::ClientTunnelReset;
        let of_backend = Reason::BackendTunnelReset;
        let up = up
            .poll(&mut client, backend, &progress, context)
            .map_err(|side| side.of(of_client, of_backend))?;
        let down = down
            .poll(backend, &mut client, &progress, context)
            .map_err(|side| side.of(of_backend, of_client))?;
        Ok((up.is_ready(), down.is_ready()))
    };
    let one_ended = poll_fn(|context| match poll(context) {
        Ok((false, false)) => Poll::Pending,
        one_ended => Poll::Ready(one_ended),
    });
    match watchdog
        .limit_pauses(&progress, timeouts.tunnel, one_ended)
        .await
    {
        Ok(one_ended) => one_ended?,
        Err(Expired) => return Err(Reason::LbTunnelTimeout),
    };
    let both_ended = poll_fn(|context| match poll(context) {
        Ok((true, true)) => Poll::Ready(Ok(())),
        Ok(_) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    });
    let ended = watchdog.limit_pauses(&progress, timeouts.half_closed, both_ended);
    match ended.await {
        Ok(ended) => ended,
        Err(Expired) => Err(Reason::LbTunnelHalfClosed),
    }
}

/// The side of a direction whose connection failed: the one that is read from, or the one that is
/// written to.
enum Side {
    From,
    To,
}

impl Side {
    fn of<T>(self, from: T, to: T) -> T {
        match self {
            Self::From => from,
            Self::To => to,
        }
    }

    fn from_failed(_: io::Error) -> Self {
        Self::From
    }

    fn to_failed(_: io::Error) -> Self {
        Self::To
    }
}

/// One direction of a tunnel: from the client to the backend, or back.
struct Direction<'a> {
    /// Number of bytes delivered in this direction.
    carried: &'a Cell<u64>,
    room: Vec<u8>,
    start: usize,
    end: usize,
    stage: Stage,
}

enum Stage {
    /// Everything that was read was also written and flushed.
    Reading,
    /// Bytes were written that may have to be flushed.
    Writing,
    /// The side that is read from has ended; the other side must still be notified.
    Ending,
    Ended,
}

impl<'a> Direction<'a> {
    /// Creates a direction that has to deliver the bytes `first` before anything else.
    fn new(first: &[u8], carried: &'a Cell<u64>) -> Self {
        let mut room = vec![0; ROOM.max(first.len())];
        room[..first.len()].copy_from_slice(first);
        Self {
            carried,
            room,
            start: 0,
            end: first.len(),
            stage: Stage::Writing,
        }
    }

    /// Carries the bytes that are available. Ready when the side that is read from has ended and
    /// the other side was notified.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        progress: &Progress,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Side>> {
        loop {
            while self.start < self.end {
                let bytes = &self.room[self.start..self.end];
                let written = Pin::new(&mut *to).poll_write(context, bytes);
                let written = ready!(written).map_err(Side::to_failed)?;
                if written == 0 {
                    return Poll::Ready(Err(Side::To));
                }
                progress.add(written);
                self.carried.set(self.carried.get() + written as u64);
                self.start += written;
                self.stage = Stage::Writing;
            }
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    let closed = Pin::new(&mut *to).poll_shutdown(context);
                    ready!(closed).map_err(Side::to_failed)?;
                    self.stage = Stage::Ended;
                }
                Stage::Reading | Stage::Writing => {
                    let mut room = ReadBuf::new(&mut self.room);
                    let read = Pin::new(&mut *from).poll_read(context, &mut room);
                    match read.map_err(Side::from_failed)? {
                        Poll::Ready(()) if room.filled().is_empty() => self.stage = Stage::Ending,
                        Poll::Ready(()) => (self.start, self.end) = (0, room.filled().len()),
                        Poll::Pending => {
                            if matches!(self.stage, Stage::Writing) {
                                let flushed = Pin::new(&mut *to).poll_flush(context);
                                ready!(flushed).map_err(Side::to_failed)?;
                                self.stage = Stage::Reading;
                            }
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }
}
