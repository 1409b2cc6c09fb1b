//! Converts the configuration to the settings of the pair state machine.

use std::hash::{BuildHasher as _, RandomState};

use lb_ha::{
    pair::{Arbiter, Event, Settings},
    vrrp,
};

use crate::config::{Ha, Moves, VrrpVersion};

/// Returns the settings of this host's pair state machine.
pub(super) fn settings(ha: &Ha) -> Settings {
    Settings {
        vrrp: vrrp::Settings {
            priority: ha.priority.get(),
            interval: ha.advert_interval,
            version: match ha.version {
                VrrpVersion::V2 => vrrp::Version::V2,
                VrrpVersion::V3 => vrrp::Version::V3,
            },
            preempt: ha.preempt,
            preempt_delay: ha.preempt_delay,
            address: ha.source,
        },
        peer: ha.peer,
        link: ha.link.is_some(),
        arbiter: match ha.moves {
            Moves::ElasticIp(_) => Arbiter::Ec2,
            Moves::VirtualIp(_) | Moves::Commands => Arbiter::None,
        },
        handover: ha.handover_timeout,
        // The seed of this host's jitter need not be hard to guess, but should differ from the
        // peer's.
        seed: RandomState::new().hash_one(ha.source),
    }
}

/// Returns the event that gives the pair state machine the settings that a reload can change.
pub(super) fn reconfigure(ha: &Ha) -> Event {
    Event::Reconfigure {
        priority: ha.priority.get(),
        preempt: ha.preempt,
        preempt_delay: ha.preempt_delay,
        handover: ha.handover_timeout,
    }
}
