//! Writes the response to one request of an HTTP/2 client.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::{
    client_io::{BodySlice, ClientGone, ResponseSink},
    http2_body::disconnect_of_error,
    memory::{Backlog, CountedBytes},
    message::{ReplyChanges, Response},
    metered::Progress,
    reason::Disconnect,
    routed::Routed,
};

/// The largest slice, in bytes, that is passed to the HTTP/2 library in one call.
const PART_BYTES: usize = 64 * 1024;

/// The sending side of an HTTP/2 stream.
pub(super) enum Responder {
    /// The head of the response was not sent yet.
    Waiting(SendResponse<CountedBytes>),
    /// The head of the response was sent.
    Begun(SendStream<CountedBytes>),
    /// The client cancelled the request: up to this many more bytes of the response are read and
    /// discarded.
    Discarding(usize),
}

impl Responder {
    /// Returns whether the head of the response was sent.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self, Self::Waiting(_))
    }

    /// Sends the head of the response.
    pub(super) fn begin(
        &mut self,
        response: http::Response<()>,
        end: bool,
    ) -> Result<(), ClientGone> {
        if let Self::Waiting(respond) = self {
            let stream = respond.send_response(response, end);
            *self = Self::Begun(stream.map_err(ClientGone::from)?);
        }
        Ok(())
    }

    /// Waits until the client cancels the request or its connection ends, and returns which of the
    /// two.
    pub(super) fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Disconnect> {
        let reset = match self {
            Self::Waiting(respond) => ready!(respond.poll_reset(context)),
            Self::Begun(stream) => ready!(stream.poll_reset(context)),
            Self::Discarding(_) => return Poll::Pending,
        };
        Poll::Ready(reset.map_or_else(
            |error| disconnect_of_error(&error),
            |_| Disconnect::Cancelled,
        ))
    }

    /// Returns whether the client cancelled the request.
    pub(super) fn is_reset(&mut self) -> bool {
        self.poll_reset(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    /// Resets the stream with this HTTP/2 error code.
    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Self::Waiting(respond) => respond.send_reset(reason),
            Self::Begun(stream) => stream.send_reset(reason),
            Self::Discarding(_) => {}
        }
    }

    /// Returns a future that completes when everything that was sent on the stream so far was
    /// written to the connection, or when a reset of the stream has discarded it.
    pub(super) fn written(&mut self) -> impl Future<Output = ()> + use<> {
        let (marker, gone) = oneshot::channel();
        if let Self::Begun(stream) = self {
            // If the stream has ended, the HTTP/2 library drops the marker, which ends the wait
            // below, immediately.
            let _sent = stream.send_data(CountedBytes::marker(marker), false);
        }
        async move {
            let _dropped = gone.await;
        }
    }

    /// Waits until both the stream's flow-control window and the connection's backlog have room.
    /// Returns how many bytes may be sent.
    fn poll_room(
        &mut self,
        context: &mut Context<'_>,
        backlog: &Backlog,
        wanted: usize,
    ) -> Poll<Result<usize, ClientGone>> {
        let stream = match self {
            Self::Begun(stream) => stream,
            Self::Waiting(_) => return Poll::Ready(Err(ClientGone(Disconnect::Closed))),
            Self::Discarding(left) => return Poll::Ready(Ok((*left).max(1))),
        };
        // The HTTP/2 library is asked for flow-control capacity only after the backlog has room:
        // capacity that one stream reserves is not available to other streams.
        let room = ready!(backlog.poll_room(context));
        let mut capacity = stream.capacity();
        if capacity == 0 {
            stream.reserve_capacity(wanted.min(PART_BYTES));
            match ready!(stream.poll_capacity(context)) {
                Some(Ok(more)) => capacity = more,
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(ClientGone(Disconnect::Closed))),
            }
        }
        Poll::Ready(Ok(room.min(capacity).min(PART_BYTES)))
    }

    /// Sends the bytes `left` of a body, as far as there is room for them, until all are sent.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        backlog: &Rc<Backlog>,
        left: &mut &[u8],
        (end, progress): (bool, &Progress),
    ) -> Poll<Result<(), ClientGone>> {
        while !left.is_empty() {
            let room = ready!(self.poll_room(context, backlog, left.len()))?;
            let (part, rest) = left.split_at(room.min(left.len()));
            if let Self::Discarding(budget) = self {
                *budget = budget
                    .checked_sub(part.len())
                    .ok_or(ClientGone(Disconnect::Cancelled))?;
            } else {
                self.send(backlog.counted(part), end && rest.is_empty())?;
            }
            progress.add(part.len());
            *left = rest;
        }
        if !end && let Self::Begun(stream) = self {
            // Capacity that the stream reserved and did not use is released to other streams.
            stream.reserve_capacity(0);
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, part: CountedBytes, end: bool) -> Result<(), ClientGone> {
        match self {
            Self::Begun(stream) => stream.send_data(part, end).map_err(ClientGone::from),
            Self::Waiting(_) => Err(ClientGone(Disconnect::Closed)),
            Self::Discarding(_) => Ok(()),
        }
    }
}

/// Writes the response to one request of an HTTP/2 client.
pub(super) struct Http2Sink<'a> {
    responder: &'a RefCell<Responder>,
    backlog: &'a Rc<Backlog>,
    /// Counts the bytes of the response for which the client had room.
    progress: &'a Progress,
    /// How many bytes may be read from the backend while the response's head has not been sent yet.
    first: usize,
    /// The routing decision, which says how the response's header is edited; `None` if there is
    /// none.
    routed: Option<&'a Routed>,
    head: Option<http::Response<()>>,
}

impl<'a> Http2Sink<'a> {
    /// Creates the sink of the response on a stream. `progress` counts the bytes for which the
    /// client has room; `first` is how many bytes of the response are read before its head is
    /// parsed; `routed` says how the response's header is edited.
    pub(super) fn new(
        responder: &'a RefCell<Responder>,
        (backlog, progress): (&'a Rc<Backlog>, &'a Progress),
        first: usize,
        routed: Option<&'a Routed>,
    ) -> Self {
        Self {
            responder,
            backlog,
            progress,
            first,
            routed,
            head: None,
        }
    }

    /// Sends a slice of the response's body.
    pub(super) async fn send(&mut self, data: &[u8], last: bool) -> Result<(), ClientGone> {
        if data.is_empty() {
            let mut responder = self.responder.borrow_mut();
            return if last {
                responder.send(CountedBytes::default(), true)
            } else {
                Ok(())
            };
        }
        let mut left = data;
        poll_fn(|context| {
            let mut responder = self.responder.borrow_mut();
            responder.poll_send(context, self.backlog, &mut left, (last, self.progress))
        })
        .await
    }
}

impl ResponseSink for Http2Sink<'_> {
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, ClientGone>> {
        let mut responder = self.responder.borrow_mut();
        if responder.has_begun() {
            responder.poll_room(context, self.backlog, PART_BYTES)
        } else {
            Poll::Ready(Ok(self.first))
        }
    }

    fn interim(&mut self, response: &Response<'_, '_>) {
        if let Responder::Waiting(respond) = &mut *self.responder.borrow_mut() {
            // Interim responses such as early hints are optional, so a failure to send one is
            // ignored.
            let _sent = respond.send_informational(translated(response, ReplyChanges::default()));
        }
    }

    fn begin(&mut self, response: &Response<'_, '_>) {
        let cookie = self.routed.and_then(|routed| routed.selection.set_cookie());
        let changes = self
            .routed
            .map(|routed| routed.reply_changes(cookie.as_deref()));
        self.head = Some(translated(response, changes.unwrap_or_default()));
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }

    async fn body(&mut self, slice: BodySlice<'_>, _more: bool) -> Result<(), ClientGone> {
        if let Some(head) = self.head.take() {
            let end = slice.last && slice.data.is_empty();
            self.responder.borrow_mut().begin(head, end)?;
            if end {
                return Ok(());
            }
        }
        self.send(slice.data, slice.last).await
    }
}

impl From<h2::Error> for ClientGone {
    fn from(error: h2::Error) -> Self {
        Self(disconnect_of_error(&error))
    }
}

/// Converts the head of a response to HTTP/2. Whatever the HTTP/1 parser accepts is valid in HTTP/2
/// too.
fn translated(response: &Response<'_, '_>, changes: ReplyChanges<'_>) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let kept = |name: &str| changes.edits.is_none_or(|edits| !edits.drops(name));
    for field in response
        .end_to_end_fields()
        .filter(|field| kept(field.name))
    {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) {
            head.headers_mut().append(name, value);
        }
    }
    for (name, value) in changes.lines() {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            head.headers_mut().append(name, value);
        }
    }
    head
}
