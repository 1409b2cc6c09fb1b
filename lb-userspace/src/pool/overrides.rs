//! Operator overrides, and how two hosts agree on them: for each backend the newest override
//! applies.
//!
//! An override has a stamp: the clock's milliseconds when it was set, or one more than the newest
//! stamp that its host had seen, whichever is later (a hybrid logical clock). So an override that
//! was set with knowledge of another is newer, whatever the clocks show. Two overrides with equal
//! stamps were set at two hosts in the same millisecond: the stricter of them applies.

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{AdminState, BackendKey};
use crate::config::Name;

/// When an override was set, in milliseconds since 1970; higher than the clock showed if the host
/// had seen a newer stamp before; zero if the override never was set.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Stamp(u64);

impl Stamp {
    /// Returns the stamp of an override that is set at the time `now` by a host that has seen the
    /// stamp `newest`.
    #[must_use]
    pub fn next(newest: Self, now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let clock = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        Self(clock.max(newest.0.saturating_add(1)))
    }

    /// Returns a stamp that is older than any other, for an override that was set at an unknown
    /// time; zero (never set) if the override is [`AdminState::Ready`].
    pub(super) fn oldest(order: AdminState) -> Self {
        Self(u64::from(order != AdminState::Ready))
    }

    /// Returns whether an override was ever set.
    #[must_use]
    pub fn is_some(self) -> bool {
        self > Self::default()
    }
}

/// An override and its stamp. Of two values for one backend, the greater one applies.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct StampedOverride {
    /// When the override was set; zero if it never was.
    pub stamp: Stamp,
    /// The override that was set.
    pub order: AdminState,
}

/// The overrides of all backends that ever had one, by backend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides(BTreeMap<BackendKey, StampedOverride>);

impl Overrides {
    /// Merges the overrides of another host: of two overrides for one backend, the newer one is
    /// kept. The operation is commutative, associative and idempotent, so that hosts converge.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        for (id, theirs) in &other.0 {
            let ours = self.0.entry(id.clone()).or_default();
            *ours = (*ours).max(*theirs);
        }
        self
    }

    /// Returns the overrides that are newer than those in `other` for the same backend.
    #[must_use]
    pub fn newer_than(&self, other: &Self) -> Self {
        let is_news = |(id, ours): &(&BackendKey, &StampedOverride)| other.of(id) < **ours;
        let news = self.0.iter().filter(is_news);
        news.map(|(id, ours)| (id.clone(), *ours)).collect()
    }

    /// Returns the override of a backend; [`AdminState::Ready`] with a zero stamp if it has none.
    #[must_use]
    pub fn of(&self, id: &BackendKey) -> StampedOverride {
        self.0.get(id).copied().unwrap_or_default()
    }

    /// Returns whether there are no overrides.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all overrides, each with the key of its backend.
    pub fn iter(&self) -> impl Iterator<Item = (&BackendKey, StampedOverride)> {
        self.0.iter().map(|(id, stamped)| (id, *stamped))
    }
}

impl FromIterator<(BackendKey, StampedOverride)> for Overrides {
    /// Collects those of the overrides that were ever set.
    fn from_iter<I: IntoIterator<Item = (BackendKey, StampedOverride)>>(orders: I) -> Self {
        let given = orders.into_iter().filter(|(_, it)| it.stamp.is_some());
        Self(given.collect())
    }
}

/// Overrides in the form in which they are sent to the peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OverridesMessage {
    /// Whether these are all overrides of the sender. If so, the receiver replies with overrides
    /// that the sender lacks or has in an older form.
    all: bool,
    orders: Vec<OverrideMessage>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct OverrideMessage {
    pool: String,
    address: SocketAddr,
    order: AdminState,
    stamp: Stamp,
}

impl OverridesMessage {
    /// Returns a message with all overrides of a host.
    #[must_use]
    pub fn all(orders: &Overrides) -> Self {
        Self::new(true, orders)
    }

    /// Returns a message with some overrides of a host, which are not all that it has.
    #[must_use]
    pub fn some(orders: &Overrides) -> Self {
        Self::new(false, orders)
    }

    /// Returns whether these are all overrides of the sender.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// Returns the overrides in the message, without those for pools with invalid names, which
    /// cannot exist.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        let orders = self.orders.iter().filter_map(|told| {
            let id = BackendKey {
                pool: Name::parse(&told.pool)?,
                address: told.address,
            };
            let (stamp, order) = (told.stamp, told.order);
            Some((id, StampedOverride { stamp, order }))
        });
        orders.fold(Overrides::default(), |all, one| {
            all.merged(&std::iter::once(one).collect())
        })
    }

    fn new(all: bool, orders: &Overrides) -> Self {
        let orders = orders.iter().map(|(id, stamped)| OverrideMessage {
            pool: id.pool.to_string(),
            address: id.address,
            order: stamped.order,
            stamp: stamped.stamp,
        });
        Self {
            all,
            orders: orders.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn id(port: u16) -> BackendKey {
        BackendKey {
            pool: Name::parse("web").expect("a name"),
            address: SocketAddr::from(([10, 0, 0, 6], port)),
        }
    }

    /// Generates overrides of few backends with few different stamps, so that the overrides often
    /// concern the same backend and have equal stamps.
    fn orders() -> impl Strategy<Value = Overrides> {
        let order = prop_oneof![
            Just(AdminState::Ready),
            Just(AdminState::Drain),
            Just(AdminState::Down)
        ];
        let one = (0..4_u16, 1..5_u64, order).prop_map(|(port, stamp, order)| {
            let stamp = Stamp(stamp);
            (id(port), StampedOverride { stamp, order })
        });
        vec(one, 0..6).prop_map(|orders| orders.into_iter().collect())
    }

    proptest! {
        #[test]
        fn merging_is_commutative(a in orders(), b in orders()) {
            prop_assert_eq!(a.clone().merged(&b), b.merged(&a));
        }

        #[test]
        fn merging_is_associative(a in orders(), b in orders(), c in orders()) {
            let left = a.clone().merged(&b).merged(&c);
            prop_assert_eq!(left, a.merged(&b.merged(&c)));
        }

        #[test]
        fn merging_is_idempotent(a in orders(), b in orders()) {
            let once = a.merged(&b);
            prop_assert_eq!(&once.clone().merged(&b), &once);
            prop_assert_eq!(&once.clone().merged(&once), &once);
        }

        #[test]
        fn what_is_news_is_all_that_merging_needs(a in orders(), b in orders()) {
            let news = a.newer_than(&b);
            prop_assert_eq!(b.clone().merged(&news), b.clone().merged(&a));
            prop_assert!(a.newer_than(&b.merged(&a)).is_empty());
        }

        #[test]
        fn orders_survive_the_wire(a in orders()) {
            let bytes = postcard::to_allocvec(&OverridesMessage::all(&a)).expect("encoded");
            let told: OverridesMessage = postcard::from_bytes(&bytes).expect("decoded");
            prop_assert!(told.are_all());
            prop_assert_eq!(told.overrides(), a);
        }
    }

    #[test]
    fn an_order_given_in_the_knowledge_of_another_is_newer_whatever_the_clock_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let future = Stamp::next(Stamp::default(), now + Duration::from_secs(86400));
        assert!(Stamp::next(future, now) > future);
        let past = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert!(Stamp::next(Stamp::default(), past).is_some());
    }

    #[test]
    fn of_two_orders_in_one_millisecond_the_stricter_wins() {
        let with = |order| {
            let stamp = Stamp(7);
            Overrides::from_iter([(id(1), StampedOverride { stamp, order })])
        };
        let merged = with(AdminState::Drain).merged(&with(AdminState::Down));
        assert_eq!(merged.of(&id(1)).order, AdminState::Down);
        let merged = with(AdminState::Drain).merged(&with(AdminState::Ready));
        assert_eq!(merged.of(&id(1)).order, AdminState::Drain);
    }
}
