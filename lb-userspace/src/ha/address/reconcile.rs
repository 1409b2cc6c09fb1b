//! Computes which addresses to add to an interface and which to remove from it: a pure function.

use crate::config::InterfaceAddress;

/// Whether the moving addresses should be on this host's interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Want {
    /// The moving addresses should be on this host's interface.
    Held,
    /// The moving addresses should not be on this host's interface.
    Released,
}

/// An address that was found on the interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    /// The address and the prefix length of its network.
    pub(super) address: InterfaceAddress,
    /// Whether the address has the mark (the protocol number IFA_PROTO) that an agent gives to
    /// addresses that it adds.
    pub(super) marked: bool,
}

/// A change to make to the addresses of the interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// Add this address to the interface.
    Add(InterfaceAddress),
    /// Remove this address from the interface.
    Remove(InterfaceAddress),
}

/// Returns the changes that bring an interface with the addresses `seen` into the wanted state, in
/// the order in which they must be made.
///
/// The agent owns the moving addresses, whichever program added them: a standby with such an
/// address on its interface would answer packets that are for the active host. Addresses with the
/// mark that are not among `moving` were left by an agent with another configuration. All other
/// addresses stay.
pub(super) fn changes(want: Want, moving: &[InterfaceAddress], seen: &[Seen]) -> Vec<Change> {
    let belongs = |one: &Seen| want == Want::Held && moving.contains(&one.address);
    let ours = |one: &Seen| {
        let addresses = moving.iter().map(|moving| moving.address);
        one.marked
            || addresses
                .into_iter()
                .any(|moving| moving == one.address.address)
    };
    let strange = seen.iter().filter(|one| ours(one) && !belongs(one));
    let strange = strange.map(|one| Change::Remove(one.address));
    let missing = moving
        .iter()
        .filter(|address| want == Want::Held && !seen.iter().any(|one| one.address == **address));
    let missing = missing.map(|address| Change::Add(*address));
    strange.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> InterfaceAddress {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        InterfaceAddress {
            address: address.parse().expect("an address"),
            prefix: prefix.parse().expect("a prefix"),
        }
    }

    fn seen(text: &str, marked: bool) -> Seen {
        let address = address(text);
        Seen { address, marked }
    }

    fn moving() -> [InterfaceAddress; 2] {
        [address("172.31.0.200/20"), address("172.31.0.201/20")]
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_there_is_left() {
        let there = [seen("172.31.0.68/20", false), seen("172.31.0.200/20", true)];
        let changes = changes(Want::Held, &moving(), &there);
        assert_eq!(changes, [Change::Add(address("172.31.0.201/20"))]);
    }

    #[test]
    fn what_is_released_is_removed_whoever_put_it_there() {
        let there = [
            seen("172.31.0.68/20", false),
            seen("172.31.0.200/20", true),
            seen("172.31.0.201/32", false),
        ];
        let changes = changes(Want::Released, &moving(), &there);
        let removed = ["172.31.0.200/20", "172.31.0.201/32"];
        assert_eq!(changes, removed.map(|text| Change::Remove(address(text))));
    }

    #[test]
    fn an_address_with_another_prefix_makes_room_first() {
        let moving = [address("2001:db8::200/64")];
        let changes = changes(Want::Held, &moving, &[seen("2001:db8::200/128", false)]);
        let first = Change::Remove(address("2001:db8::200/128"));
        assert_eq!(changes, [first, Change::Add(moving[0])]);
    }

    #[test]
    fn what_an_agent_with_another_configuration_left_is_removed() {
        for want in [Want::Held, Want::Released] {
            let there = [
                seen("172.31.0.68/20", false),
                seen("172.31.0.199/20", true),
                seen("172.31.0.200/20", true),
                seen("172.31.0.201/20", true),
            ];
            let changes = changes(want, &moving(), &there);
            assert_eq!(changes[0], Change::Remove(address("172.31.0.199/20")));
            assert_eq!(changes.len(), if want == Want::Held { 1 } else { 3 });
        }
    }

    #[test]
    fn a_change_that_was_made_leads_to_no_other() {
        for want in [Want::Held, Want::Released] {
            let mut there = vec![seen("172.31.0.68/20", false), seen("172.31.0.201/24", true)];
            for change in changes(want, &moving(), &there) {
                match change {
                    Change::Add(address) => there.push(Seen {
                        address,
                        marked: true,
                    }),
                    Change::Remove(address) => there.retain(|one| one.address != address),
                }
            }
            assert_eq!(changes(want, &moving(), &there), []);
            assert!(there.contains(&seen("172.31.0.68/20", false)));
        }
    }
}
