//! VRRP adverts on the wire: version 2 (RFC 3768) and version 3 (RFC 9568, and RFC 5798 before
//! it), as keepalived speaks them.
//!
//! [`Settings`] say what the virtual router is, [`Wire`] is settings that fit together, an
//! [`Encoder`] makes the bytes of its adverts, and a [`Decoder`] makes an [`Advert`] or a
//! [`Refusal`] of whatever came in. Both keep the little state that HMAC's replay protection needs
//! and are told the time.

mod authentication;
mod checksum;
mod decode;
mod encode;
mod hmac;
mod ipv4;
mod keys;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

use std::{fmt, net::IpAddr, num::NonZeroU16, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    authentication::{Authentication, Password},
    decode::{Decoder, Packet},
    encode::Encoder,
    ipv4::parse_ipv4,
    keys::{BadKeys, Key, Keys},
    refusal::Refusal,
    wire::{Cast, Misfit, Senders, Settings, Version, Wire},
};

/// IP's number of the protocol.
pub const PROTOCOL: u8 = 112;

/// The time to live, or hop limit, that adverts are sent with, and must still have in multicast:
/// what has it has crossed no router (RFC 9568, section 5.1.1.3).
pub const TTL: u8 = 255;

/// The type of service, or traffic class, that adverts are sent with: network control, as
/// keepalived has it.
pub const TYPE_OF_SERVICE: u8 = 0xc0;

/// What an advert says, once everything about it has been found right. It is of our own virtual
/// router.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advert {
    /// How much the sender wants to be active; 0 says that it stops.
    pub priority: Priority,
    /// From one of the sender's adverts to the next; of an advert without an HMAC at most ten times
    /// our own interval, or a second where that is more.
    pub interval: Interval,
    /// The addresses that the sender looks after, all of one family. Where we have any ourselves,
    /// they are the same, in any order.
    pub addresses: Vec<IpAddr>,
}

/// How much a router wants to be active: the highest is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Priority(u8);

impl Priority {
    /// What an active router says when it stops: the next one need not wait until it is missed.
    pub const GOODBYE: Self = Self(0);
    /// What a router says whose own address the virtual one is.
    pub const OWNER: Self = Self(255);

    /// Any byte is a priority.
    #[must_use]
    pub const fn new(priority: u8) -> Self {
        Self(priority)
    }

    /// The byte.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether the sender stops.
    #[must_use]
    pub const fn is_goodbye(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From one advert to the next: 1 to 65,535 centiseconds. What a version can carry is less.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Interval(NonZeroU16);

impl Interval {
    /// `None` for zero.
    #[must_use]
    pub fn from_centiseconds(centiseconds: u16) -> Option<Self> {
        NonZeroU16::new(centiseconds).map(Self)
    }

    /// `None` for zero, parts of a centisecond, and more than 655.35 s.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Option<Self> {
        let centiseconds = u16::try_from(duration.as_millis() / 10).ok()?;
        let whole = Duration::from_millis(u64::from(centiseconds) * 10) == duration;
        whole.then(|| Self::from_centiseconds(centiseconds))?
    }

    /// In hundredths of a second.
    #[must_use]
    pub const fn centiseconds(self) -> u16 {
        self.0.get()
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0.get()) * 10)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.duration(), f)
    }
}
