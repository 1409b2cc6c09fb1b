//! What is going to happen, in the order of time.

use std::{cmp::Ordering, collections::BinaryHeap};

use lb_ha::Time;

/// Things to come. Those of one moment happen in the order in which they were put in.
#[derive(Debug)]
pub struct Queue<T> {
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
    /// A queue with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
        }
    }

    /// Lets something happen at a moment.
    pub fn put(&mut self, at: Time, thing: T) {
        self.heap.push(Entry {
            at,
            number: self.next,
            thing,
        });
        self.next += 1;
    }

    /// When the first thing happens.
    #[must_use]
    pub fn first(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the first thing out.
    pub fn take(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.thing)
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap has the greatest first; wanted is the earliest.
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
