//! Allocates the small numbers that identify services, backends and rows of source ports in the BPF
//! maps.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// Allocates numbers below a limit, one for each key. A number that was released is allocated again
/// as late as possible, because packets in flight and counters may still refer to it.
#[derive(Clone, Debug)]
pub(super) struct IdAllocator<K, I> {
    ids: HashMap<K, I>,
    allocated: HashSet<u16>,
    limit: u32,
    /// Where the search for a free number begins: after the number that was allocated last.
    next: u32,
}

impl<K: Eq + Hash, I: Copy + From<u16> + Into<u16>> IdAllocator<K, I> {
    /// Creates an allocator of the numbers below `limit`, of which none is allocated yet.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            ids: HashMap::new(),
            allocated: HashSet::new(),
            limit,
            next: 0,
        }
    }

    /// Allocates to `key` the number that an earlier agent had given it.
    pub(super) fn restore(&mut self, key: K, id: I) {
        let number = id.into();
        self.next = self.next.max(u32::from(number) + 1);
        self.allocated.insert(number);
        self.ids.insert(key, id);
    }

    /// Returns the number of `key`, and allocates one if it has none. Returns `None` if all numbers
    /// are allocated to other keys.
    pub(super) fn allocate(&mut self, key: K) -> Option<I> {
        if let Some(id) = self.ids.get(&key) {
            return Some(*id);
        }
        if self.allocated.len() >= self.limit as usize {
            return None;
        }
        let number = (0..self.limit)
            .filter_map(|step| u16::try_from((self.next + step) % self.limit).ok())
            .find(|number| !self.allocated.contains(number))?;
        self.next = u32::from(number) + 1;
        self.allocated.insert(number);
        let id = I::from(number);
        self.ids.insert(key, id);
        Some(id)
    }

    /// Returns the number of `key`; `None` if it has none.
    pub(super) fn get(&self, key: &K) -> Option<I> {
        self.ids.get(key).copied()
    }

    /// Returns whether any key has this number.
    pub(super) fn is_allocated(&self, id: I) -> bool {
        self.allocated.contains(&id.into())
    }

    /// Iterates over all keys, each with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, I)> {
        self.ids.iter().map(|(key, id)| (key, *id))
    }

    /// Releases the numbers of all keys for which `keep` returns false.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.ids.retain(|key, _id| keep(key));
        self.allocated = self.ids.values().map(|id| (*id).into()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_until_all_others_were_given() {
        let mut ids = IdAllocator::<_, u16>::new(3);
        assert_eq!([ids.allocate("a"), ids.allocate("b")], [Some(0), Some(1)]);
        ids.retain(|key| *key == "b");
        assert_eq!([ids.allocate("c"), ids.allocate("d")], [Some(2), Some(0)]);
        assert_eq!(ids.allocate("e"), None);
        assert_eq!(ids.allocate("b"), Some(1), "it keeps its own");
    }

    #[test]
    fn numbers_of_an_earlier_agent_stay() {
        let mut ids = IdAllocator::<_, u16>::new(4);
        ids.restore("a", 2);
        assert_eq!([ids.allocate("a"), ids.allocate("b")], [Some(2), Some(3)]);
        assert!(ids.is_allocated(2) && !ids.is_allocated(0));
    }
}
