//! The way of a request to a backend that has room for it.

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll};

use tokio::time::Instant;

use super::{
    admission_control::{Permit, QueuePlace},
    client_io::RequestBody,
    message::Framing,
    reason::Reason,
    served_pool::Choice,
    upstream::PoolBackend,
    upstream_request::UpstreamRequest,
    watchdog::{Expired, Watchdog},
};

/// A backend that takes a request, and its permit where the pool limits them.
pub(super) type Admitted = (Rc<PoolBackend>, Option<Permit>);

/// Chooses a backend, not one of `tried`, and waits for room on one where the pool limits requests.
///
/// # Errors
/// There is none, none had room in time, or the client left.
pub(super) async fn admit<B: RequestBody>(
    request: &UpstreamRequest<'_>,
    tried: &[Rc<PoolBackend>],
    body: &mut B,
    watchdog: &mut Watchdog,
) -> Result<Admitted, Reason> {
    match request.choose(tried, None) {
        Choice::Backend(backend, permit) => Ok((backend, permit)),
        Choice::None => Err(Reason::LbQueueNoBackend),
        // In a box, so that requests that need not wait carry no room for it.
        Choice::Full => Box::pin(wait(request, tried, body, watchdog)).await,
    }
}

async fn wait<B: RequestBody>(
    request: &UpstreamRequest<'_>,
    tried: &[Rc<PoolBackend>],
    body: &mut B,
    watchdog: &mut Watchdog,
) -> Result<Admitted, Reason> {
    let counters = &request.front.counters.queue;
    let Some(((place, look), limit)) = request.pool.join_queue() else {
        counters.rejected.add(1);
        return Err(Reason::LbQueueFull);
    };
    counters.waited.add(1);
    counters.waiting.add(1);
    // What a client that has gone is noticed by.
    request.transfer.waiting.set(true);
    let _waiting = Waiting(request);
    let deadline = Instant::now() + limit;
    if look && let Some(admitted) = looked(request, tried, &place) {
        return admitted;
    }
    let mut gone = pin!(body.gone(request));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut turn = pin!(place.wait());
        let turn = poll_fn(|context| {
            if turn.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            let watches = request.framing == Framing::Empty;
            match watches {
                true => gone.as_mut().poll(context).map(Some),
                false => Poll::Pending,
            }
        });
        match watchdog.limit(left, turn).await {
            Ok(None) => {
                if let Some(admitted) = looked(request, tried, &place) {
                    return admitted;
                }
            }
            Ok(Some(left)) => return Err(request.client_left(left)),
            Err(Expired) => {
                counters.rejected.add(1);
                return Err(Reason::LbQueueTimeout);
            }
        }
    }
}

/// What there is for the one whose turn it is; `None`: it waits on.
fn looked(
    request: &UpstreamRequest<'_>,
    tried: &[Rc<PoolBackend>],
    place: &QueuePlace,
) -> Option<Result<Admitted, Reason>> {
    match request.choose(tried, Some(place)) {
        Choice::Backend(backend, permit) => Some(Ok((backend, permit))),
        Choice::None => Some(Err(Reason::LbQueueNoBackend)),
        Choice::Full => {
            place.pass_on();
            None
        }
    }
}

/// A request in the line, for the gauge.
struct Waiting<'a, 'o>(&'a UpstreamRequest<'o>);

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        self.0.transfer.waiting.set(false);
        self.0.front.counters.queue.waiting.sub(1);
    }
}
