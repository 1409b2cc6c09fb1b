//! What follows `101 Switching Protocols`: bytes both ways, not looked at.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{metered::Progress, upstream::Lease, watchdog::Watchdog};

/// Room for each direction.
const ROOM: usize = 16 * 1024;

/// Carries bytes both ways until both ends have closed, or one has and the other one is silent for
/// `half_closed`. `early` was sent by the client after its request, `late` by the backend after its
/// response.
///
/// # Errors
/// Of either connection: there is no use in the other one then.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    mut backend: Lease,
    (early, late): (&[u8], &[u8]),
    (watchdog, half_closed): (&mut Watchdog, Duration),
) -> io::Result<()> {
    let progress = Progress::default();
    let (mut up, mut down) = (Direction::new(early), Direction::new(late));
    let mut poll = |context: &mut Context<'_>| -> io::Result<(bool, bool)> {
        let backend = &mut backend.stream;
        let up = up.poll(&mut client, backend, &progress, context)?;
        let down = down.poll(backend, &mut client, &progress, context)?;
        Ok((up.is_ready(), down.is_ready()))
    };
    poll_fn(|context| match poll(context) {
        Ok((false, false)) => Poll::Pending,
        one_ended => Poll::Ready(one_ended),
    })
    .await?;
    let both_ended = poll_fn(|context| match poll(context) {
        Ok((true, true)) => Poll::Ready(Ok(())),
        Ok(_) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    });
    let ended = watchdog.limit_pauses(&progress, half_closed, both_ended);
    ended.await.unwrap_or(Ok(()))
}

/// Bytes on their way from one end to the other.
struct Direction {
    room: Vec<u8>,
    start: usize,
    end: usize,
    stage: Stage,
}

enum Stage {
    /// All that is here was handed to the stream, which may hold it back.
    Reading,
    /// More may have to be flushed.
    Writing,
    /// The end has come, and is to be passed on.
    Ending,
    Ended,
}

impl Direction {
    /// A direction in which these bytes are already on their way.
    fn new(first: &[u8]) -> Self {
        let mut room = vec![0; ROOM.max(first.len())];
        room[..first.len()].copy_from_slice(first);
        Self {
            room,
            start: 0,
            end: first.len(),
            stage: Stage::Writing,
        }
    }

    /// Carries what there is; ready when the end was passed on.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        progress: &Progress,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.end {
                let bytes = &self.room[self.start..self.end];
                let written = ready!(Pin::new(&mut *to).poll_write(context, bytes))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                progress.add(written);
                self.start += written;
                self.stage = Stage::Writing;
            }
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.stage = Stage::Ended;
                }
                Stage::Reading | Stage::Writing => {
                    let mut room = ReadBuf::new(&mut self.room);
                    match Pin::new(&mut *from).poll_read(context, &mut room)? {
                        Poll::Ready(()) if room.filled().is_empty() => self.stage = Stage::Ending,
                        Poll::Ready(()) => (self.start, self.end) = (0, room.filled().len()),
                        Poll::Pending => {
                            if matches!(self.stage, Stage::Writing) {
                                ready!(Pin::new(&mut *to).poll_flush(context))?;
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
