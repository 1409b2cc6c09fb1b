//! Waits for the head of an HTTP/1 request.

use std::{future::poll_fn, pin::Pin, task::Poll};

use tokio::time::Instant;

use super::{
    buffer::Buffer,
    front::Front,
    http1_body::disconnect_of_read,
    message::{HeadScanner, Refusal},
    metered::ClientStream,
    reason::{Phase, Reason},
    watchdog::{Expired, Watchdog},
    wire::Wire,
};
use crate::config::Http;

/// Initial capacity of a connection's input buffer, in bytes; most request heads fit.
pub(super) const INPUT_BYTES: usize = 4096;
/// Number of empty lines before a request head that are skipped (RFC 9112 §2.2).
const MAX_EMPTY_LINES: u32 = 8;
/// The outcome of waiting for the head of a request.
pub(super) enum NextHead {
    /// The input begins with a complete head of this many bytes.
    Head(usize),
    /// The connection ended between two requests.
    Closed,
    /// The request is invalid, for this reason.
    Refused(Refusal),
    /// The connection ended early, for this reason.
    Ended(Reason),
}

/// Reads the next request head of one connection into the connection's input buffer.
pub(super) struct HeadReader<'c, S> {
    /// The stream of the client's connection.
    pub(super) wire: &'c Wire<S>,
    /// Bytes that the client sent and that are not parsed yet.
    pub(super) input: &'c mut Buffer,
    /// The service that the client is connected to.
    pub(super) front: &'c Front,
    /// The timer for all waits of the connection.
    pub(super) watchdog: &'c mut Watchdog,
}

impl<S: ClientStream> HeadReader<'_, S> {
    /// Waits for a complete request head: for at most the timeout `keep_alive` (on a new
    /// connection: `head`) until its first byte arrives, then for at most the timeout `head` until
    /// its end. An empty line before the head does not count as its beginning: the wait for the
    /// first byte starts again.
    pub(super) async fn next(
        mut self,
        limits: &Http,
        first: bool,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> NextHead {
        self.input.shrink(INPUT_BYTES);
        let limit = if first {
            limits.timeouts.head
        } else {
            limits.timeouts.keep_alive
        };
        let mut empty_lines = 0;
        loop {
            while self.input.filled().starts_with(b"\r\n") {
                empty_lines += 1;
                if empty_lines > MAX_EMPTY_LINES {
                    return NextHead::Refused(Refusal::RequestLine);
                }
                self.input.consume(2);
            }
            if !matches!(self.input.filled(), [] | [b'\r']) {
                return self.rest(limits).await;
            }
            if self.front.drain.has_begun() && !first {
                return NextHead::Closed;
            }
            let room = self.input.space(limits.max_header_bytes);
            let read = poll_fn(|context| {
                if let Poll::Ready(read) = self.wire.poll_read(context, room) {
                    return Poll::Ready(read.unwrap_or(0));
                }
                draining.as_mut().poll(context).map(|()| 0)
            });
            match self.watchdog.limit(limit, read).await {
                Ok(0) => return NextHead::Closed,
                Ok(bytes) => self.input.fill(bytes),
                Err(Expired) if first => {
                    return NextHead::Ended(Reason::ClientHeadNoRequest);
                }
                Err(Expired) => return NextHead::Ended(Reason::ClientKeepAliveTimeout),
            }
        }
    }

    async fn rest(&mut self, limits: &Http) -> NextHead {
        let mut scanner = HeadScanner::default();
        let mut deadline = None;
        loop {
            let input = self.input.filled();
            match input.first() {
                // This CR is not followed by LF: CR LF would have been skipped as an empty line.
                Some(b'\r') => return NextHead::Refused(Refusal::BareLineEnd),
                Some(byte) if !byte.is_ascii_graphic() => {
                    return NextHead::Refused(Refusal::RequestLine);
                }
                _ => {}
            }
            // Bytes beyond `max_header_bytes` are ignored, even if they arrived in the same read.
            let within = &input[..input.len().min(limits.max_header_bytes)];
            match scanner.scan(within) {
                Ok(Some(length)) => return NextHead::Head(length),
                Ok(None) if input.len() < limits.max_header_bytes => {}
                Ok(None) => return NextHead::Refused(Refusal::HeadTooLarge),
                Err(refusal) => return NextHead::Refused(refusal),
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limits.timeouts.head);
            let limit = deadline.saturating_duration_since(Instant::now());
            let read = self.wire.read(self.input.space(limits.max_header_bytes));
            match self.watchdog.limit(limit, read).await {
                Ok(Ok(bytes @ 1..)) => self.input.fill(bytes),
                Ok(end) => {
                    return NextHead::Ended(Reason::client_left(
                        Phase::Head,
                        disconnect_of_read(&end),
                    ));
                }
                Err(Expired) => return NextHead::Refused(Refusal::HeaderTimeout),
            }
        }
    }
}
