//! Numbers for things that come and go.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// Numbers below a limit, each given to one thing. A number that is given up rests for as long as
/// possible before another thing gets it.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    numbers: HashMap<T, u32>,
    taken: HashSet<u32>,
    limit: u32,
    /// Where the search for a free number begins: after the last one given.
    next: u32,
}

impl<T: Eq + Hash> Numbered<T> {
    /// Nothing has a number yet.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            numbers: HashMap::new(),
            taken: HashSet::new(),
            limit,
            next: 0,
        }
    }

    /// Notes a number that a thing had before this value was made.
    pub(super) fn keep(&mut self, thing: T, number: u32) {
        self.next = self.next.max(number + 1);
        self.taken.insert(number);
        self.numbers.insert(thing, number);
    }

    /// The number of a thing, which gets one if it has none. `None` when all are taken.
    pub(super) fn of(&mut self, thing: T) -> Option<u32> {
        if let Some(number) = self.numbers.get(&thing) {
            return Some(*number);
        }
        if self.taken.len() >= self.limit as usize {
            return None;
        }
        let number = (0..self.limit)
            .map(|step| (self.next + step) % self.limit)
            .find(|number| !self.taken.contains(number))?;
        self.next = number + 1;
        self.taken.insert(number);
        self.numbers.insert(thing, number);
        Some(number)
    }

    /// The number of a thing that has one.
    pub(super) fn get(&self, thing: &T) -> Option<u32> {
        self.numbers.get(thing).copied()
    }

    /// Whether something has this number.
    pub(super) fn has(&self, number: u32) -> bool {
        self.taken.contains(&number)
    }

    /// All that have a number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&T, u32)> {
        self.numbers.iter().map(|(thing, number)| (thing, *number))
    }

    /// Takes the numbers of all others away.
    pub(super) fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        self.numbers.retain(|thing, _number| stays(thing));
        self.taken = self.numbers.values().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_until_all_others_were_given() {
        let mut numbered = Numbered::new(3);
        assert_eq!([numbered.of("a"), numbered.of("b")], [Some(0), Some(1)]);
        numbered.retain(|thing| *thing == "b");
        assert_eq!([numbered.of("c"), numbered.of("d")], [Some(2), Some(0)]);
        assert_eq!(numbered.of("e"), None);
        assert_eq!(numbered.of("b"), Some(1), "it keeps its own");
    }

    #[test]
    fn numbers_of_an_earlier_agent_stay() {
        let mut numbered = Numbered::new(4);
        numbered.keep("a", 2);
        assert_eq!([numbered.of("a"), numbered.of("b")], [Some(2), Some(3)]);
        assert!(numbered.has(2) && !numbered.has(0));
    }
}
