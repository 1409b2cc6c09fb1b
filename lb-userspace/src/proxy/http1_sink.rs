//! A response on its way to an HTTP/1 client.

use std::io::IoSlice;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    client_io::{BodySlice, ClientGone, ResponseSink},
    message::{Framing, ReplyStyle, Response, push_hexadecimal},
    reason::Disconnect,
    request_state::TransferState,
    routed::Routed,
    wire::Wire,
};

/// Chunks are gathered up to this size where more is at hand.
const GATHER_BYTES: usize = 32 * 1024;

/// A response on its way to an HTTP/1 client.
pub(super) struct Http1Sink<'a, S> {
    wire: &'a Wire<S>,
    /// What waits to be sent.
    reply: &'a mut Vec<u8>,
    style: ReplyStyle,
    transfer: &'a TransferState,
    /// What was decided upon the request.
    routed: &'a Routed,
    begun: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Http1Sink<'a, S> {
    /// `keep_alive`: the client would send another request, and may. The header is changed as
    /// was decided upon the request, `routed`.
    pub(super) fn new(
        wire: &'a Wire<S>,
        reply: &'a mut Vec<u8>,
        (http10, keep_alive): (bool, bool),
        (transfer, routed): (&'a TransferState, &'a Routed),
    ) -> Self {
        let style = ReplyStyle {
            http10,
            keep_alive,
            chunked: false,
        };
        Self {
            wire,
            reply,
            style,
            transfer,
            routed,
            begun: false,
        }
    }

    /// Whether the client was told that it may send another request.
    pub(super) fn keeps_connection(&self) -> bool {
        self.style.keep_alive
    }

    /// Whether the head of a response was taken: nothing else can be said then.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    async fn send(&mut self, data: &[u8]) -> Result<(), ClientGone> {
        let slices = &mut [IoSlice::new(self.reply), IoSlice::new(data)];
        let sent = self.wire.write_all(slices).await;
        self.reply.clear();
        sent.map_err(|_| ClientGone(Disconnect::Reset))
    }

    fn push_chunk(&mut self, data: &[u8]) {
        if !data.is_empty() {
            push_hexadecimal(self.reply, data.len() as u64);
            self.reply.extend_from_slice(b"\r\n");
            self.reply.extend_from_slice(data);
            self.reply.extend_from_slice(b"\r\n");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ResponseSink for Http1Sink<'_, S> {
    fn interim(&mut self, response: &Response<'_, '_>) {
        // An HTTP/1.0 client does not know them.
        if !self.style.http10 {
            response.write_interim_to(self.reply);
        }
    }

    /// A response of unknown length is chunked, or ends with the connection for HTTP/1.0. One that
    /// comes before the request is complete is the last on its connection.
    fn begin(&mut self, response: &Response<'_, '_>) {
        self.begun = true;
        let unknown = matches!(response.framing, Framing::Chunked | Framing::UntilClose);
        self.style.chunked = unknown && !self.style.http10;
        self.style.keep_alive &= self.transfer.complete.get() && !(unknown && self.style.http10);
        let cookie = self.routed.selection.set_cookie();
        let changes = self.routed.reply_changes(cookie.as_deref());
        response.write_to(self.style, changes, self.reply);
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        self.send(&[]).await
    }

    async fn body(&mut self, piece: BodySlice<'_>, more: bool) -> Result<(), ClientGone> {
        if !self.style.chunked {
            return self.send(piece.data).await;
        }
        self.push_chunk(piece.data);
        if piece.last {
            self.reply.extend_from_slice(b"0\r\n\r\n");
        }
        if more && self.reply.len() < GATHER_BYTES {
            return Ok(());
        }
        self.send(&[]).await
    }
}
