//! Limits the requests that the backends of a pool have in flight, over all workers of the process,
//! and queues the requests that wait.
//!
//! A request acquires a permit (the right to be in flight at a backend) with one compare-and-swap
//! and releases it with one subtraction and one load. The queue has a lock, which is not taken
//! while the queue is empty. Releasing a permit wakes the first request in the queue. New requests
//! go to the end of the queue, so the permit is still free when the woken request tries to acquire
//! it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

use super::registry::Registry;

/// The requests in flight at each backend of a pool, and the queue of requests that wait for a
/// permit.
#[derive(Debug, Default)]
pub(super) struct AdmissionControl {
    in_flight: Registry<SocketAddr, InFlight>,
    /// Number of requests in the queue.
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
}

/// Number of requests that one backend has in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicUsize);

impl InFlight {
    /// Returns the number of requests in flight at the backend.
    pub(super) fn in_use(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Returns whether fewer than `limit` requests are in flight at the backend.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.0.load(SeqCst) < limit
    }
}

/// A request in the queue of a pool.
#[derive(Debug, Default)]
struct Waiter {
    /// Whether the request was woken and has not tried to acquire a permit since then.
    woken: AtomicBool,
    wake: Notify,
}

impl AdmissionControl {
    /// Returns the counter of a backend's requests in flight, creating it if there is none.
    pub(super) fn in_flight(&self, backend: SocketAddr) -> Arc<InFlight> {
        self.in_flight.get_or_create(&backend)
    }

    /// Returns the counter of a backend's requests in flight; `None` if no pool or request uses
    /// such a counter.
    pub(super) fn get(&self, backend: SocketAddr) -> Option<Arc<InFlight>> {
        self.in_flight.get(&backend)
    }

    /// Returns the number of queued requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns whether the queue is empty, so that a new request may acquire a permit.
    pub(super) fn queue_is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Acquires a permit of a backend if fewer than `limit` of its permits are taken; returns
    /// `None` otherwise.
    pub(super) fn try_acquire(
        self: &Arc<Self>,
        in_flight: &Arc<InFlight>,
        limit: usize,
    ) -> Option<Permit> {
        let more = |taken: usize| (taken < limit).then_some(taken + 1);
        in_flight.0.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Permit {
            admission: Arc::clone(self),
            in_flight: Arc::clone(in_flight),
        })
    }

    /// Enqueues a request; returns `None` if `most` requests are queued already. The second value
    /// is true if the request is the first in the queue: a permit that was released just before
    /// found no request to wake, so the first request must try to acquire a permit immediately.
    pub(super) fn enqueue(self: &Arc<Self>, most: usize) -> Option<(QueuePlace, bool)> {
        let mut queue = self.queue();
        if queue.len() >= most {
            return None;
        }
        let waiter = Arc::<Waiter>::default();
        queue.push_back(Arc::clone(&waiter));
        self.waiting.store(queue.len(), SeqCst);
        let first = queue.len() == 1;
        drop(queue);
        let admission = Arc::clone(self);
        Some((QueuePlace { admission, waiter }, first))
    }

    /// Wakes all queued requests, because the set of available backends has changed.
    pub(super) fn wake_all(&self) {
        if !self.queue_is_empty() {
            for waiter in &*self.queue() {
                waiter.wake();
            }
        }
    }

    fn released(&self) {
        if !self.queue_is_empty() {
            wake_first(&self.queue(), 0);
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn wake(&self) {
        self.woken.store(true, SeqCst);
        self.wake.notify_one();
    }
}

/// Wakes the first queued request that is not woken yet, skipping the first `behind` requests of
/// the queue.
fn wake_first(queue: &VecDeque<Arc<Waiter>>, behind: usize) {
    let mut behind = queue.iter().skip(behind);
    if let Some(waiter) = behind.find(|waiter| !waiter.woken.load(SeqCst)) {
        waiter.wake();
    }
}

/// The place of one request in a pool's queue. Dropping this value removes the request from the
/// queue.
#[derive(Debug)]
pub(super) struct QueuePlace {
    admission: Arc<AdmissionControl>,
    waiter: Arc<Waiter>,
}

impl QueuePlace {
    /// Waits until the request is woken, because a permit may be free.
    pub(super) async fn wait(&self) {
        self.waiter.wake.notified().await;
    }

    /// Wakes the next queued request in place of this one, which can use none of the free permits.
    pub(super) fn pass_on(&self) {
        if self.waiter.woken.swap(false, SeqCst) {
            let queue = self.admission.queue();
            let place = queue.iter().position(|other| self.is(other));
            wake_first(&queue, place.map_or(0, |place| place + 1));
        }
    }

    fn is(&self, other: &Arc<Waiter>) -> bool {
        Arc::ptr_eq(other, &self.waiter)
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut queue = self.admission.queue();
        queue.retain(|other| !self.is(other));
        self.admission.waiting.store(queue.len(), SeqCst);
        // If this request acquired a permit, more permits may be free for the requests behind it in
        // the queue; if it gave up, the permit that it was woken for is still free.
        if self.waiter.woken.load(SeqCst) {
            wake_first(&queue, 0);
        }
    }
}

/// A permit for one request at a backend. Dropping this value releases the permit.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<AdmissionControl>,
    in_flight: Arc<InFlight>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.0.fetch_sub(1, SeqCst);
        self.admission.released();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicU32,
        task::{Context, Poll, Waker},
        thread,
    };

    use super::*;

    fn admission() -> (Arc<AdmissionControl>, Arc<InFlight>) {
        let admission = Arc::<AdmissionControl>::default();
        let in_flight = admission.in_flight(([10, 0, 0, 1], 80).into());
        (admission, in_flight)
    }

    fn is_woken(place: &QueuePlace) -> bool {
        let turn = std::pin::pin!(place.wait());
        turn.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_backend_has_as_many_permits_as_the_limit_says() {
        let (admission, in_flight) = admission();
        let taken = [
            admission.try_acquire(&in_flight, 2),
            admission.try_acquire(&in_flight, 2),
        ];
        assert!(taken.iter().all(Option::is_some));
        assert!(!in_flight.has_room(2) && admission.try_acquire(&in_flight, 2).is_none());
        // With a higher limit, another permit can be acquired immediately.
        let third = admission.try_acquire(&in_flight, 3);
        assert!(third.is_some());
        drop((taken, third));
        assert!(in_flight.has_room(1));
    }

    #[test]
    fn who_waits_longest_is_woken_first_and_once() {
        let (admission, in_flight) = admission();
        let permit = [
            admission.try_acquire(&in_flight, 2),
            admission.try_acquire(&in_flight, 2),
        ];
        let (first, is_first) = admission.enqueue(2).expect("a place");
        let (second, is_second_first) = admission.enqueue(2).expect("a place");
        assert!(is_first && !is_second_first && !admission.queue_is_empty());
        assert!(admission.enqueue(2).is_none());
        let [one, other] = permit;
        drop(one);
        assert!(is_woken(&first) && !is_woken(&second));
        drop(other);
        assert!(is_woken(&second) && !is_woken(&first));
        drop((first, second));
        assert!(admission.queue_is_empty());
    }

    #[test]
    fn a_permit_that_is_not_used_goes_to_the_next() {
        let (admission, in_flight) = admission();
        let permit = admission.try_acquire(&in_flight, 1);
        let places: Vec<_> = (0..4)
            .map(|_| admission.enqueue(9).expect("a place").0)
            .collect();
        drop(permit);
        assert!(is_woken(&places[0]));
        places[0].pass_on();
        assert!(is_woken(&places[1]) && !is_woken(&places[0]));
        let mut places = places.into_iter();
        let (first, second) = (places.next(), places.next());
        drop(second);
        // The first request in the queue could not use the permit; it is woken again when the next
        // permit is released.
        assert!(first.as_ref().is_some_and(is_woken));
        drop(first);
        let rest: Vec<_> = places.collect();
        admission.wake_all();
        assert!(rest.iter().all(is_woken));
    }

    #[test]
    fn threads_never_exceed_the_limit_and_all_are_served() {
        const LIMIT: usize = 3;
        let (admission, in_flight) = admission();
        let (most, served) = (AtomicUsize::new(0), AtomicU32::new(0));
        let under_way = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let permit = admitted(&admission, &in_flight, LIMIT);
                        most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        under_way.fetch_sub(1, SeqCst);
                        drop(permit);
                        served.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(served.into_inner(), 4000);
        assert!(most.into_inner() <= LIMIT);
        assert!(admission.queue_is_empty() && in_flight.has_room(1));
    }

    fn admitted(
        admission: &Arc<AdmissionControl>,
        in_flight: &Arc<InFlight>,
        limit: usize,
    ) -> Permit {
        if admission.queue_is_empty()
            && let Some(permit) = admission.try_acquire(in_flight, limit)
        {
            return permit;
        }
        let (place, mut look) = admission.enqueue(usize::MAX).expect("a place");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        loop {
            if !look {
                runtime.block_on(place.wait());
            }
            match admission.try_acquire(in_flight, limit) {
                Some(permit) => return permit,
                None => place.pass_on(),
            }
            look = false;
        }
    }
}
