//! Finds a backend with room for a request, and waits in the pool's queue if no backend has room.

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

/// The backend that was chosen for a request, and the request's permit if the pool limits requests
/// in flight (`None` if it does not).
pub(super) type Admitted = (Rc<PoolBackend>, Option<Permit>);

/// Chooses a backend that is not in `tried`; if the pool limits requests in flight, waits until a
/// backend has room for another one.
///
/// # Errors
/// No backend is available, none had room in time, or the client disconnected.
pub(super) async fn admit<B: RequestBody>(
    request: &UpstreamRequest<'_>,
    tried: &[Rc<PoolBackend>],
    body: &mut B,
    watchdog: &mut Watchdog,
) -> Result<Admitted, Reason> {
    match request.choose(tried, None) {
        Choice::Backend(backend, permit) => Ok((backend, permit)),
        Choice::None => Err(Reason::LbQueueNoBackend),
        // The future is boxed, so that requests that do not wait need no memory for it.
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
    // Nothing is sent to the client while the request waits, so a client that half-closes its
    // connection counts as gone (`RequestBody::gone`).
    request.transfer.waiting.set(true);
    let _waiting = Waiting(request);
    let deadline = Instant::now() + limit;
    if look && let Some(admitted) = choose_woken(request, tried, &place) {
        return admitted;
    }
    let mut gone = pin!(body.gone(request));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut woken = pin!(place.wait());
        let woken = poll_fn(|context| {
            if woken.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            let watches = request.framing == Framing::Empty;
            match watches {
                true => gone.as_mut().poll(context).map(Some),
                false => Poll::Pending,
            }
        });
        match watchdog.limit(left, woken).await {
            Ok(None) => {
                if let Some(admitted) = choose_woken(request, tried, &place) {
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

/// Chooses a backend for a queued request that was woken; `None` if it must keep waiting.
fn choose_woken(
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

/// Guard of a request that waits in the queue: dropping it takes the request out of the gauge of
/// queued requests.
struct Waiting<'a, 'o>(&'a UpstreamRequest<'o>);

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        self.0.transfer.waiting.set(false);
        self.0.front.counters.queue.waiting.sub(1);
    }
}
