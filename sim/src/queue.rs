//! The queue of the future events of the simulated world, ordered by time.

use std::{cmp::Ordering, collections::BinaryHeap};

use lb_ha::Time;

/// Future events. Events of the same time happen in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    number: u64,
    thing: T,
}

impl<T> Queue<T> {
    /// Returns an empty queue.
    #[must_use]
    pub(crate) fn empty() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
        }
    }

    /// Adds an event that happens at the time `at`.
    pub(crate) fn put(&mut self, at: Time, thing: T) {
        self.heap.push(Entry {
            at,
            number: self.next,
            thing,
        });
        self.next += 1;
    }

    /// Returns the time of the next event; `None` if the queue is empty.
    #[must_use]
    pub(crate) fn first(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Removes and returns the next event; `None` if the queue is empty.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.thing)
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap returns its greatest entry first, so entries compare in reverse: the earliest is
        // the greatest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
