//! Writes the response to one request of an HTTP/1 client.

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

/// Limit, in bytes, up to which small chunks of a body are coalesced while more data is available.
const GATHER_BYTES: usize = 32 * 1024;

/// Writes the response to one request of an HTTP/1 client.
pub(super) struct Http1Sink<'a, S> {
    wire: &'a Wire<S>,
    /// Bytes that are to be sent to the client.
    reply: &'a mut Vec<u8>,
    style: ReplyStyle,
    transfer: &'a TransferState,
    /// The routing decision, which says how the response's header is edited.
    routed: &'a Routed,
    begun: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Http1Sink<'a, S> {
    /// Creates the sink of one response. `keep_alive` says whether the client's connection may be
    /// reused afterwards, `routed` how the response's header is edited.
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

    /// Returns whether the client can reuse its connection after this response.
    pub(super) fn keeps_connection(&self) -> bool {
        self.style.keep_alive
    }

    /// Returns whether the head of a final response was accepted, so that no other response can be
    /// sent.
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
        // Interim responses are not defined for HTTP/1.0, so they are left out.
        if !self.style.http10 {
            response.write_interim_to(self.reply);
        }
    }

    /// Accepts the head of the final response. The body of a response of unknown length is chunked,
    /// or, for HTTP/1.0, ends with the connection. A response that begins before the end of the
    /// request is the last on its connection.
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

    async fn body(&mut self, slice: BodySlice<'_>, more: bool) -> Result<(), ClientGone> {
        if !self.style.chunked {
            return self.send(slice.data).await;
        }
        self.push_chunk(slice.data);
        if slice.last {
            self.reply.extend_from_slice(b"0\r\n\r\n");
        }
        if more && self.reply.len() < GATHER_BYTES {
            return Ok(());
        }
        self.send(&[]).await
    }
}
