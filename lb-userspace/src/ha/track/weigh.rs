//! Combines the states of all tracked objects into their effect on this host, without I/O.

use std::fmt;

use crate::config::Name;

/// An object that this host tracks.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum What {
    /// An interface of this host, by name: it must be up and have a carrier.
    Interface(String),
    /// The XDP program on the interface of this name.
    Xdp(String),
    /// The listener of the service of this name, which the agent serves.
    Listener(Name),
    /// The number of healthy backends of the pool of this name.
    Pool(Name),
    /// The script of this name in `[[ha.track]]`.
    Script(Name),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Xdp(interface) => write!(f, "XDP program on {interface}"),
            Self::Listener(service) => write!(f, "listener of service {service}"),
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Script(name) => write!(f, "script {name}"),
        }
    }
}

/// The effect that a tracked object has on this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// While the object fails, this host is in fault: it must not be active.
    Fault,
    /// A weight that is added to the priority: a negative one while the object fails, a positive
    /// one while it succeeds. Never zero.
    Weight(i16),
    /// Subtracted from the priority while any pool has too few healthy backends; once, however many
    /// such pools there are.
    Backends(u8),
}

/// The state of a tracked object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fact {
    /// The tracked object.
    pub what: What,
    /// The effect of the object on this host.
    pub effect: Effect,
    /// Whether the object is healthy; `None` before its first check, which counts as unhealthy.
    pub well: Option<bool>,
    /// What the last check found, as a sentence.
    pub message: String,
}

/// The combined effect of all tracked objects on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrackingSummary {
    /// Why this host must not be active; `None` if it may be.
    pub fault: Option<String>,
    /// The number that is added to the priority, from -253 to 253.
    pub weight: i16,
    /// Why the priority differs from the configured one, one sentence for each reason.
    pub reasons: Vec<String>,
}

/// Largest number that tracking adds to a priority or subtracts from it.
const MOST: i32 = 253;

/// Combines the states of all tracked objects into their effect on this host.
#[must_use]
pub fn weigh(facts: &[Fact]) -> TrackingSummary {
    let mut faults = Vec::new();
    let mut reasons = Vec::new();
    let mut weight = 0;
    let mut backends = None;
    for fact in facts {
        let Fact { what, message, .. } = fact;
        let well = fact.well == Some(true);
        match fact.effect {
            Effect::Fault if !well => faults.push(format!("{what}: {message}")),
            Effect::Weight(change) if well == (change > 0) => {
                weight += i32::from(change);
                reasons.push(format!("{change:+} for {what}: {message}"));
            }
            Effect::Backends(change) if !well => {
                if backends.is_none() {
                    reasons.push(format!("-{change} for {what}: {message}"));
                }
                backends = backends.max(Some(change));
            }
            Effect::Fault | Effect::Weight(_) | Effect::Backends(_) => {}
        }
    }
    weight -= backends.map_or(0, i32::from);
    TrackingSummary {
        fault: (!faults.is_empty()).then(|| faults.join("; ")),
        weight: i16::try_from(weight.clamp(-MOST, MOST)).unwrap_or_default(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fact(effect: Effect, well: Option<bool>) -> Fact {
        Fact {
            what: What::Script(Name::parse("uplink").expect("a name")),
            effect,
            well,
            message: "exit status: 1".to_owned(),
        }
    }

    #[test]
    fn a_host_with_nothing_against_it_has_its_priority() {
        let facts = [
            fact(Effect::Fault, Some(true)),
            fact(Effect::Weight(-20), Some(true)),
            fact(Effect::Weight(20), Some(false)),
            fact(Effect::Backends(50), Some(true)),
        ];
        assert_eq!(weigh(&facts), TrackingSummary::default());
    }

    #[test]
    fn every_fault_is_named() {
        let mut facts = [
            fact(Effect::Fault, Some(false)),
            fact(Effect::Fault, Some(false)),
        ];
        facts[0].what = What::Xdp("eth1".to_owned());
        facts[0].message = "gone".to_owned();
        let summary = weigh(&facts);
        let fault = summary.fault.as_deref();
        assert_eq!(
            fault,
            Some("XDP program on eth1: gone; script uplink: exit status: 1")
        );
        assert_eq!(summary.weight, 0);
    }

    #[test]
    fn what_nobody_has_looked_at_yet_is_not_well() {
        assert!(weigh(&[fact(Effect::Fault, None)]).fault.is_some());
        assert_eq!(weigh(&[fact(Effect::Weight(-20), None)]).weight, -20);
        assert_eq!(weigh(&[fact(Effect::Weight(20), None)]).weight, 0);
    }

    #[test]
    fn weights_are_added_with_their_reasons() {
        let facts = [
            fact(Effect::Weight(-20), Some(false)),
            fact(Effect::Weight(30), Some(true)),
            fact(Effect::Weight(30), Some(false)),
        ];
        let summary = weigh(&facts);
        assert_eq!(summary.weight, 10);
        let reasons = [
            "-20 for script uplink: exit status: 1",
            "+30 for script uplink: exit status: 1",
        ];
        assert_eq!(summary.reasons, reasons);
    }

    #[test]
    fn many_pools_without_backends_count_once() {
        let facts = vec![fact(Effect::Backends(50), Some(false)); 3];
        let summary = weigh(&facts);
        assert_eq!((summary.weight, summary.reasons.len()), (-50, 1));
    }

    proptest! {
        #[test]
        fn no_weights_leave_the_range_of_priorities(
            weights in prop::collection::vec(((-253_i16..=253), any::<bool>()), 0..60),
        ) {
            let facts: Vec<_> = weights
                .iter()
                .map(|(weight, well)| fact(Effect::Weight(*weight), Some(*well)))
                .collect();
            let summary = weigh(&facts);
            prop_assert!((-253..=253).contains(&summary.weight));
            prop_assert!(summary.fault.is_none());
        }
    }
}
