//! Sends the head and the body of a request to a backend.

use std::{future::poll_fn, io::IoSlice, task::Poll};

use tokio::{net::tcp::WriteHalf, time::Instant};

use super::{
    client_io::{BodyError, BodySlice, RequestBody},
    message::{Framing, Refusal, push_hexadecimal},
    metered::Progress,
    reason::Reason,
    upstream_request::{Failure, UpstreamRequest},
    watchdog::{Expired, Watchdog},
    wire::write_all,
};

/// Sends the head and the body of a request, then waits until the client disconnects. If the
/// backend stops accepting the body, the backend's response must still be read, and some clients
/// read it only after they have sent everything: the rest of the body is then read and discarded.
pub(super) async fn upload<B: RequestBody>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    writer: &mut WriteHalf<'_>,
    watchdog: &mut Watchdog,
) -> Result<(), Failure> {
    match send(request, body, writer, watchdog).await {
        Ok(()) => {
            request.transfer.complete.set(true);
            let left = body.gone(request).await;
            return Err(request.client_left(left).into());
        }
        Err(SendError::Body(BodyError::Refused(refusal))) => return Err(Failure::Refused(refusal)),
        Err(SendError::Body(BodyError::Gone(left))) => {
            return Err(request.client_left(left).into());
        }
        Err(SendError::Stalled) if !request.transfer.answered.get() => {
            return Err(Reason::BackendRequestBodyTimeout.into());
        }
        Err(SendError::Stalled | SendError::Backend) => {}
    }
    // Until the response's head has arrived, nothing may be read from the body, because the request
    // may still be sent to another backend.
    let answered = || request.transfer.answered.get();
    poll_fn(|_| {
        if answered() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    while let Ok(slice) = body.current()
        && !slice.last
    {
        match watchdog
            .limit(request.limits.timeouts.body, body.next())
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(BodyError::Gone(left))) => return Err(request.client_left(left).into()),
            // The client is being sent a response already, so it no longer matters that the rest of
            // its body is invalid or late.
            Ok(Err(BodyError::Refused(_))) | Err(Expired) => break,
        }
    }
    Ok(())
}

enum SendError {
    /// The backend closed the connection, or the connection failed.
    Backend,
    /// The backend accepted nothing of the request for too long.
    Stalled,
    /// The client's body ended early, for this reason.
    Body(BodyError),
}

/// Sends the head and the body of a request; the head is sent together with the bytes of the body
/// that are available.
async fn send<B: RequestBody>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    writer: &mut WriteHalf<'_>,
    watchdog: &mut Watchdog,
) -> Result<(), SendError> {
    let refused = |refusal| SendError::Body(BodyError::Refused(refusal));
    let chunked = request.framing == Framing::Chunked;
    let mut head = request.head;
    let taken = Progress::default();
    loop {
        let slice = body.current().map_err(refused)?;
        let parts = (std::mem::take(&mut head), slice);
        let write = send_slice(writer, parts, chunked, &taken);
        let limit = request.limits.timeouts.send;
        match watchdog.limit_pauses(&taken, limit, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(SendError::Backend),
            Err(Expired) => return Err(SendError::Stalled),
        }
        request.transfer.progress.set(Some(Instant::now()));
        let sent = &request.state.request_bytes;
        sent.set(sent.get() + slice.data.len() as u64);
        if slice.last {
            return Ok(());
        }
        match watchdog
            .limit(request.limits.timeouts.body, body.next())
            .await
        {
            Ok(next) => next.map_err(SendError::Body)?,
            Err(Expired) => return Err(refused(Refusal::BodyTimeout)),
        }
    }
}

async fn send_slice(
    writer: &mut WriteHalf<'_>,
    (head, slice): (&[u8], BodySlice<'_>),
    chunked: bool,
    taken: &Progress,
) -> std::io::Result<()> {
    if !chunked {
        let mut slices = [IoSlice::new(head), IoSlice::new(slice.data)];
        return write_all(writer, &mut slices, taken).await;
    }
    let mut size = Vec::new();
    if !slice.data.is_empty() {
        push_hexadecimal(&mut size, slice.data.len() as u64);
        size.extend_from_slice(b"\r\n");
    }
    let end: &[u8] = match (slice.data.is_empty(), slice.last) {
        (true, true) => b"0\r\n\r\n",
        (true, false) => b"",
        (false, true) => b"\r\n0\r\n\r\n",
        (false, false) => b"\r\n",
    };
    let mut slices = [
        IoSlice::new(head),
        IoSlice::new(&size),
        IoSlice::new(slice.data),
        IoSlice::new(end),
    ];
    write_all(writer, &mut slices, taken).await
}
