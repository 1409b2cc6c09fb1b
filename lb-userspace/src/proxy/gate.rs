//! How many requests the backends of a pool have under way, in all workers of the process, and the
//! line of those that wait.
//!
//! A request takes a slot with one compare-and-swap, and frees it with one subtraction and one load: the
//! line has a lock, which nobody takes while nobody waits. Who frees a slot wakes the first in the line;
//! requests that come meanwhile go to its end, so that the slot is still there.

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

/// The slots of a pool's backends, and the line.
#[derive(Debug, Default)]
pub(super) struct Gate {
    slots: Registry<SocketAddr, Slots>,
    /// How many are in the line.
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Waiter>>>,
}

/// The requests that one backend has under way.
#[derive(Debug, Default)]
pub(super) struct Slots(AtomicUsize);

impl Slots {
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

impl Gate {
    /// The slots of a backend.
    pub(super) fn slots(&self, backend: SocketAddr) -> Arc<Slots> {
        self.slots.of(&backend)
    }

    /// The slots of a backend that a pool has.
    pub(super) fn held(&self, backend: SocketAddr) -> Option<Arc<Slots>> {
        self.slots.held(&backend)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Whether nobody waits, so that a request that comes may take a slot.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Takes a slot of a backend, while fewer than `limit` are taken.
    pub(super) fn take(self: &Arc<Self>, slots: &Arc<Slots>, limit: usize) -> Option<Slot> {
        let more = |taken: usize| (taken < limit).then_some(taken + 1);
        slots.0.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Slot {
            gate: Arc::clone(self),
            slots: Arc::clone(slots),
        })
    }

    /// A place at the end of the line; `None`: `most` are in it. The second value says whether the place
    /// is the first: a slot that was freed just before woke nobody, so that the first one looks at
    /// once.
    pub(super) fn join(self: &Arc<Self>, most: usize) -> Option<(Place, bool)> {
        let mut line = self.line();
        if line.len() >= most {
            return None;
        }
        let waiter = Arc::<Waiter>::default();
        line.push_back(Arc::clone(&waiter));
        self.waiting.store(line.len(), SeqCst);
        let first = line.len() == 1;
        drop(line);
        let gate = Arc::clone(self);
        Some((Place { gate, waiter }, first))
    }

    /// Wakes all: which backends take requests has changed.
    pub(super) fn wake_all(&self) {
        if !self.is_open() {
            for waiter in &*self.line() {
                waiter.wake();
            }
        }
    }

    fn freed(&self) {
        if !self.is_open() {
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
pub(super) struct Place {
    gate: Arc<Gate>,
    waiter: Arc<Waiter>,
}

impl Place {
    /// Waits until a slot may be there.
    pub(super) async fn turn(&self) {
        self.waiter.wake.notified().await;
    }

    /// There is no slot that this one can use: the next one in the line looks.
    pub(super) fn pass(&self) {
        if self.waiter.woken.swap(false, SeqCst) {
            let line = self.gate.line();
            let place = line.iter().position(|other| self.is(other));
            wake_first(&line, place.map_or(0, |place| place + 1));
        }
    }

    fn is(&self, other: &Arc<Waiter>) -> bool {
        Arc::ptr_eq(other, &self.waiter)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.gate.line();
        line.retain(|other| !self.is(other));
        self.gate.waiting.store(line.len(), SeqCst);
        // Who took a slot leaves others to those behind; who gives up passes its turn on.
        if self.waiter.woken.load(SeqCst) {
            wake_first(&line, 0);
        }
    }
}

/// A slot of a backend. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot {
    gate: Arc<Gate>,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.fetch_sub(1, SeqCst);
        self.gate.freed();
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

    fn gate() -> (Arc<Gate>, Arc<Slots>) {
        let gate = Arc::<Gate>::default();
        let slots = gate.slots(([10, 0, 0, 1], 80).into());
        (gate, slots)
    }

    fn is_woken(place: &Place) -> bool {
        let turn = std::pin::pin!(place.turn());
        turn.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_backend_has_as_many_slots_as_the_limit_says() {
        let (gate, slots) = gate();
        let taken = [gate.take(&slots, 2), gate.take(&slots, 2)];
        assert!(taken.iter().all(Option::is_some));
        assert!(!slots.has_room(2) && gate.take(&slots, 2).is_none());
        // A higher limit holds at once.
        let third = gate.take(&slots, 3);
        assert!(third.is_some());
        drop((taken, third));
        assert!(slots.has_room(1));
    }

    #[test]
    fn who_waits_longest_is_woken_first_and_once() {
        let (gate, slots) = gate();
        let slot = [gate.take(&slots, 2), gate.take(&slots, 2)];
        let (first, is_first) = gate.join(2).expect("a place");
        let (second, is_second_first) = gate.join(2).expect("a place");
        assert!(is_first && !is_second_first && !gate.is_open());
        assert!(gate.join(2).is_none());
        let [one, other] = slot;
        drop(one);
        assert!(is_woken(&first) && !is_woken(&second));
        drop(other);
        assert!(is_woken(&second) && !is_woken(&first));
        drop((first, second));
        assert!(gate.is_open());
    }

    #[test]
    fn a_turn_that_is_not_used_goes_to_the_next() {
        let (gate, slots) = gate();
        let slot = gate.take(&slots, 1);
        let places: Vec<_> = (0..4).map(|_| gate.join(9).expect("a place").0).collect();
        drop(slot);
        assert!(is_woken(&places[0]));
        places[0].pass();
        assert!(is_woken(&places[1]) && !is_woken(&places[0]));
        let mut places = places.into_iter();
        let (first, second) = (places.next(), places.next());
        drop(second);
        // The first could not use it; it looks again with the next one that is freed.
        assert!(first.as_ref().is_some_and(is_woken));
        drop(first);
        let rest: Vec<_> = places.collect();
        gate.wake_all();
        assert!(rest.iter().all(is_woken));
    }

    #[test]
    fn no_limit_is_passed_and_nobody_is_forgotten_among_threads() {
        const LIMIT: usize = 3;
        let (gate, slots) = gate();
        let (most, served) = (AtomicUsize::new(0), AtomicU32::new(0));
        let under_way = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let slot = admitted(&gate, &slots, LIMIT);
                        most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        under_way.fetch_sub(1, SeqCst);
                        drop(slot);
                        served.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(served.into_inner(), 4000);
        assert!(most.into_inner() <= LIMIT);
        assert!(gate.is_open() && slots.has_room(1));
    }

    fn admitted(gate: &Arc<Gate>, slots: &Arc<Slots>, limit: usize) -> Slot {
        if gate.is_open()
            && let Some(slot) = gate.take(slots, limit)
        {
            return slot;
        }
        let (place, mut look) = gate.join(usize::MAX).expect("a place");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        loop {
            if !look {
                runtime.block_on(place.turn());
            }
            match gate.take(slots, limit) {
                Some(slot) => return slot,
                None => place.pass(),
            }
            look = false;
        }
    }
}
