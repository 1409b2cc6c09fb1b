//! The network interfaces of this host that the XDP program is attached to.

use std::fmt;

/// The network interfaces of this host that the XDP program is attached to: at least one, without
/// duplicates, each with a name of at most 15 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interfaces {
    first: String,
    others: Vec<String>,
}

impl Interfaces {
    /// Makes a list that consists of this interface.
    #[must_use]
    pub fn one(name: impl Into<String>) -> Self {
        Self {
            first: name.into(),
            others: Vec::new(),
        }
    }

    /// Makes a list of these interfaces, in this order; `None` if there are none, or duplicates.
    #[must_use]
    pub fn new(names: Vec<String>) -> Option<Self> {
        let twice = (1..names.len()).any(|place| names[..place].contains(&names[place]));
        let mut names = names.into_iter();
        let first = names.next().filter(|_| !twice)?;
        Some(Self {
            first,
            others: names.collect(),
        })
    }

    /// Returns the clients' interface: multicast adverts leave by it, and addresses that move
    /// between the hosts of a pair are added to it.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.first
    }

    /// Returns the names of the interfaces, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .map(String::as_str)
    }
}

/// Writes the names of the interfaces, separated by commas.
impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        self.others
            .iter()
            .try_for_each(|name| write!(f, ", {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Option<Interfaces> {
        Interfaces::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn there_is_one_at_least_and_each_once() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["eth0", "eth1", "eth0"]), None);
        assert_eq!(of(&["eth0"]), Some(Interfaces::one("eth0")));
        let two = of(&["eth1", "eth0"]).expect("two");
        assert_eq!(two.first(), "eth1");
        assert_eq!(two.to_string(), "eth1, eth0");
    }
}
