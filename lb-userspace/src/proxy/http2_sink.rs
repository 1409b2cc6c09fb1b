//! A response on its way to an HTTP/2 client.

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::{
    exchange::{ClientGone, Piece, Sink},
    message::Response,
    metered::Progress,
};

/// Bytes of a body that are handed over at once.
const PART_BYTES: usize = 64 * 1024;

/// The client's end of a stream.
pub(super) enum Responder {
    /// No head was sent.
    Waiting(SendResponse<Bytes>),
    /// The body is next.
    Begun(SendStream<Bytes>),
}

impl Responder {
    /// Whether a head was sent.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Self::Begun(_))
    }

    /// Sends the head.
    pub(super) fn begin(
        &mut self,
        response: http::Response<()>,
        end: bool,
    ) -> Result<(), ClientGone> {
        if let Self::Waiting(respond) = self {
            let stream = respond.send_response(response, end);
            *self = Self::Begun(stream.map_err(|_| ClientGone)?);
        }
        Ok(())
    }

    /// Waits until the client takes its request back.
    pub(super) fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(respond) => respond.poll_reset(context).map(drop),
            Self::Begun(stream) => stream.poll_reset(context).map(drop),
        }
    }

    /// Breaks the stream off.
    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Self::Waiting(respond) => respond.send_reset(reason),
            Self::Begun(stream) => stream.send_reset(reason),
        }
    }

    /// Waits until everything before it was written, or will never be: a reset drops what still
    /// waits.
    pub(super) fn written(&mut self) -> impl Future<Output = ()> + use<> {
        let (marker, gone) = oneshot::channel();
        if let Self::Begun(stream) = self {
            // It is dropped at once where the stream is over.
            let _sent = stream.send_data(Bytes::from_owner(Marker(marker)), false);
        }
        async move {
            let _dropped = gone.await;
        }
    }

    /// Sends as much of a body as the client has room for.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        left: &mut &[u8],
        (end, progress): (bool, &Progress),
    ) -> Poll<Result<(), ClientGone>> {
        let Self::Begun(stream) = self else {
            return Poll::Ready(Err(ClientGone));
        };
        while !left.is_empty() {
            stream.reserve_capacity(left.len().min(PART_BYTES));
            let Some(Ok(room)) = ready!(stream.poll_capacity(context)) else {
                return Poll::Ready(Err(ClientGone));
            };
            let (part, rest) = left.split_at(room.min(left.len()));
            let queued = stream.send_data(Bytes::copy_from_slice(part), end && rest.is_empty());
            queued.map_err(|_| ClientGone)?;
            progress.add(part.len());
            *left = rest;
        }
        Poll::Ready(Ok(()))
    }
}

/// The empty payload of a frame that shows, by being dropped, that the frames before it are written.
struct Marker(#[expect(dead_code, reason = "it is there to be dropped")] oneshot::Sender<()>);

impl AsRef<[u8]> for Marker {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// A response on its way to an HTTP/2 client.
pub(super) struct Http2Sink<'a> {
    responder: &'a RefCell<Responder>,
    /// What the client had room for.
    progress: &'a Progress,
    head: Option<http::Response<()>>,
}

impl<'a> Http2Sink<'a> {
    /// To the client's end of a stream; `progress` counts what the client has room
    /// for.
    pub(super) fn new(responder: &'a RefCell<Responder>, progress: &'a Progress) -> Self {
        Self {
            responder,
            progress,
            head: None,
        }
    }

    /// Sends a part of the body.
    pub(super) async fn send(&mut self, data: &[u8], last: bool) -> Result<(), ClientGone> {
        if data.is_empty() {
            return if last { self.end() } else { Ok(()) };
        }
        let mut left = data;
        poll_fn(|context| {
            let mut responder = self.responder.borrow_mut();
            responder.poll_send(context, &mut left, (last, self.progress))
        })
        .await
    }

    fn end(&self) -> Result<(), ClientGone> {
        match &mut *self.responder.borrow_mut() {
            Responder::Begun(stream) => {
                stream.send_data(Bytes::new(), true).map_err(|_| ClientGone)
            }
            Responder::Waiting(_) => Err(ClientGone),
        }
    }
}

impl Sink for Http2Sink<'_> {
    fn interim(&mut self, response: &Response<'_, '_>) {
        if let Responder::Waiting(respond) = &mut *self.responder.borrow_mut() {
            // Early hints are a favour: without them all is as well.
            let _sent = respond.send_informational(translated(response));
        }
    }

    fn begin(&mut self, response: &Response<'_, '_>) {
        self.head = Some(translated(response));
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }

    async fn body(&mut self, piece: Piece<'_>, _more: bool) -> Result<(), ClientGone> {
        if let Some(head) = self.head.take() {
            let end = piece.last && piece.data.is_empty();
            self.responder.borrow_mut().begin(head, end)?;
            if end {
                return Ok(());
            }
        }
        self.send(piece.data, piece.last).await
    }
}

/// The head in HTTP/2's terms. What the HTTP/1 parser let pass is valid here as well.
fn translated(response: &Response<'_, '_>) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for field in response.end_to_end_fields() {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) {
            head.headers_mut().append(name, value);
        }
    }
    head
}
