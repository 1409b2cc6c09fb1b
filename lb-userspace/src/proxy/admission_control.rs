//! How many requests the backends of a pool have under way, in all workers of the process, and the
//! line of those that wait.
//!
//! A request takes a permit with one compare-and-swap, and frees it with one subtraction and one load: the
//! line has a lock, which nobody takes while nobody waits. Who frees a permit wakes the first in the line;
//! requests that come meanwhile go to its end, so that the permit is still there.

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

/// The requests in flight of a pool's backends, and the line.
#[derive(Debug, Default)]
pub(super) struct AdmissionControl {
    in_flight: Registry<SocketAddr, InFlight>,
    /// How many are in the line.
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Waiter>>>,
}

/// The requests that one backend has under way.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicUsize);

impl InFlight {
    /// How many there are.
    pub(super) fn in_use(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Whether there are fewer than `limit`.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.0.load(SeqCst) < limit
    }
}

/// One in the line.
#[derive(Debug, Default)]
struct Waiter {
    /// Whether it was woken and has not looked yet.
    woken: AtomicBool,
    wake: Notify,
}

impl AdmissionControl {
    /// The requests in flight of a backend.
    pub(super) fn in_flight(&self, backend: SocketAddr) -> Arc<InFlight> {
        self.in_flight.get_or_create(&backend)
    }

    /// The requests in flight of a backend that a pool has.
    pub(super) fn get(&self, backend: SocketAddr) -> Option<Arc<InFlight>> {
        self.in_flight.get(&backend)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Whether nobody waits, so that a request that comes may take a permit.
    pub(super) fn queue_is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Takes a permit of a backend, while fewer than `limit` are taken.
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

    /// A place at the end of the line; `None`: `most` are in it. The second value says whether the place
    /// is the first: a permit that was freed just before woke nobody, so that the first one looks at
    /// once.
    pub(super) fn enqueue(self: &Arc<Self>, most: usize) -> Option<(QueuePlace, bool)> {
        let mut line = self.line();
        if line.len() >= most {
            return None;
        }
        let waiter = Arc::<Waiter>::default();
        line.push_back(Arc::clone(&waiter));
        self.waiting.store(line.len(), SeqCst);
        let first = line.len() == 1;
        drop(line);
        let admission = Arc::clone(self);
        Some((QueuePlace { admission, waiter }, first))
    }

    /// Wakes all: which backends take requests has changed.
    pub(super) fn wake_all(&self) {
        if !self.queue_is_empty() {
            for waiter in &*self.line() {
                waiter.wake();
            }
        }
    }

    fn released(&self) {
        if !self.queue_is_empty() {
            wake_first(&self.line(), 0);
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn wake(&self) {
        self.woken.store(true, SeqCst);
        self.wake.notify_one();
    }
}

/// Wakes the first that was not woken before, behind so many.
fn wake_first(line: &VecDeque<Arc<Waiter>>, behind: usize) {
    let mut behind = line.iter().skip(behind);
    if let Some(waiter) = behind.find(|waiter| !waiter.woken.load(SeqCst)) {
        waiter.wake();
    }
}

/// A place in the line. Dropping it leaves the line.
#[derive(Debug)]
pub(super) struct QueuePlace {
    admission: Arc<AdmissionControl>,
    waiter: Arc<Waiter>,
}

impl QueuePlace {
    /// Waits until a permit may be there.
    pub(super) async fn wait(&self) {
        self.waiter.wake.notified().await;
    }

    /// There is no permit that this one can use: the next one in the line looks.
    pub(super) fn pass_on(&self) {
        if self.waiter.woken.swap(false, SeqCst) {
            let line = self.admission.line();
            let place = line.iter().position(|other| self.is(other));
            wake_first(&line, place.map_or(0, |place| place + 1));
        }
    }

    fn is(&self, other: &Arc<Waiter>) -> bool {
        Arc::ptr_eq(other, &self.waiter)
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut line = self.admission.line();
        line.retain(|other| !self.is(other));
        self.admission.waiting.store(line.len(), SeqCst);
        // Who took a permit leaves others to those behind; who gives up passes its turn on.
        if self.waiter.woken.load(SeqCst) {
            wake_first(&line, 0);
        }
    }
}

/// A permit of a backend. Dropping it frees it.
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
    fn a_backend_has_as_many_slots_as_the_limit_says() {
        let (admission, in_flight) = admission();
        let taken = [
            admission.try_acquire(&in_flight, 2),
            admission.try_acquire(&in_flight, 2),
        ];
        assert!(taken.iter().all(Option::is_some));
        assert!(!in_flight.has_room(2) && admission.try_acquire(&in_flight, 2).is_none());
        // A higher limit holds at once.
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
    fn a_turn_that_is_not_used_goes_to_the_next() {
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
        // The first could not use it; it looks again with the next one that is freed.
        assert!(first.as_ref().is_some_and(is_woken));
        drop(first);
        let rest: Vec<_> = places.collect();
        admission.wake_all();
        assert!(rest.iter().all(is_woken));
    }

    #[test]
    fn no_limit_is_passed_and_nobody_is_forgotten_among_threads() {
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
