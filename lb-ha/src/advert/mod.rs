//! VRRP adverts on the wire: version 2 (RFC 3768) and version 3 (RFC 9568, and RFC 5798 before
//! it), as keepalived speaks them.
//!
//! [`Settings`] describe the virtual router, [`Wire`] holds settings that are consistent, an
//! [`Encoder`] encodes its adverts, and a [`Decoder`] turns a received packet into an [`Advert`] or
//! a [`Refusal`]. Both keep the state that the replay protection of HMAC needs; the time is an
//! argument.

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

/// The IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;

/// The TTL, or hop limit, that adverts are sent with and must still have in multicast: a packet
/// with this value has crossed no router (RFC 9568, section 5.1.1.3).
pub const TTL: u8 = 255;

/// The type of service, or traffic class, that adverts are sent with: network control, as in
/// keepalived.
pub const TYPE_OF_SERVICE: u8 = 0xc0;

/// The content of a valid advert of this virtual router.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advert {
    /// Priority of the sender; 0 is a goodbye.
    pub priority: Priority,
    /// The time from one of the sender's adverts to the next. In an advert without an HMAC it is at
    /// most ten times this host's interval, or a second if that is more.
    pub interval: Interval,
    /// The addresses of the virtual router, all of one family. If addresses are configured on this
    /// host, the advert has the same ones, in any order.
    pub addresses: Vec<IpAddr>,
}

/// The priority of a router: of two routers, the one with the higher priority is active.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Priority(u8);

impl Priority {
    /// The goodbye of an active router: another router takes over without waiting for the detection
    /// time.
    pub const GOODBYE: Self = Self(0);
    /// The priority of a router to which the virtual address belongs (RFC 9568, section 6.1).
    pub const OWNER: Self = Self(255);

    /// Returns the priority that this byte stands for; every byte is valid.
    #[must_use]
    pub const fn new(priority: u8) -> Self {
        Self(priority)
    }

    /// Returns the priority as the byte that adverts carry.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether this priority is a goodbye: 0.
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

/// The interval between adverts: 1 to 65,535 centiseconds. Adverts of each VRRP version carry only
/// part of that range.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Interval(NonZeroU16);

impl Interval {
    /// Creates an interval of this many hundredths of a second; `None` for zero.
    #[must_use]
    pub fn from_centiseconds(centiseconds: u16) -> Option<Self> {
        NonZeroU16::new(centiseconds).map(Self)
    }

    /// Creates an interval; `None` for zero, fractions of a centisecond, and more than 655.35 s.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Option<Self> {
        let centiseconds = u16::try_from(duration.as_millis() / 10).ok()?;
        let whole = Duration::from_millis(u64::from(centiseconds) * 10) == duration;
        whole.then(|| Self::from_centiseconds(centiseconds))?
    }

    /// Returns the interval in hundredths of a second.
    #[must_use]
    pub const fn centiseconds(self) -> u16 {
        self.0.get()
    }

    /// Returns the interval as a duration.
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
