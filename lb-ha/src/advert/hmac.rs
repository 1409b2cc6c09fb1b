//! keepalived 2.4's authentication (`draft-cassen-vrrp-auth-hmac`): a trailer of 28 bytes behind
//! the advert, with HMAC-SHA256 cut to 128 bits, a key's number, and a time.
//!
//! ```text
//! type (1) | key | reserved (2) | seconds (4) | fraction (2) | counter (2) | HMAC (16)
//! ```
//!
//! The HMAC covers a pseudo-header (family, version, virtual router, zero, source), the advert with
//! a checksum of zero, and the trailer with an HMAC of zeros. The time is UTC and increases with
//! each advert of a sender; a receiver requires it to be within a window around its own clock and
//! later than the last one of that sender.

use std::{collections::VecDeque, net::IpAddr, num::NonZeroU8, time::Duration};

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use super::{Interval, Key, Keys, Refusal, checksum};

/// Length of the trailer of an advert with an HMAC, in bytes.
pub(super) const LENGTH: usize = 28;

/// Length of the HMAC, which ends the trailer, in bytes.
const HMAC: usize = 16;

/// The type in a trailer's first byte, which means HMAC-SHA256 cut to 128 bits.
const SHA256: u8 = 1;

/// Maximum number of senders for each of which the time of its last advert is kept. More than two
/// senders exist only in a misconfigured network.
const SENDERS: usize = 4;

/// Largest difference between the time of an advert and the receiver's clock, in either direction:
/// three advert intervals, but at least 5 s (keepalived's default).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window(Duration);

impl Window {
    pub(super) fn of(interval: Interval) -> Self {
        Self((interval.duration() * 3).max(Duration::from_secs(5)))
    }

    /// Checks that `time` is within the window around `utc`. Compares whole seconds, as the draft
    /// does.
    fn holds(self, time: Stamp, utc: Duration) -> Result<(), Refusal> {
        let late = time.seconds_behind(utc);
        if u64::from(late.unsigned_abs()) > self.0.as_secs() {
            return Err(Refusal::Stale { late });
        }
        Ok(())
    }
}

/// What an HMAC covers besides the advert: the fields of the pseudo-header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) source: IpAddr,
    pub(super) version: u8,
    pub(super) router_id: NonZeroU8,
}

/// A time in a trailer: seconds since 1970 in 32 bits, a fraction of a second in 16, and in 16 a
/// counter that makes equal times differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp(u64);

impl Stamp {
    fn of(utc: Duration) -> Self {
        let fraction = (u64::from(utc.subsec_nanos()) << 16) / 1_000_000_000;
        // The seconds wrap around in 2106, which serial number arithmetic allows.
        Self(utc.as_secs() << 32 | fraction << 16)
    }

    /// Whether this time is later than `other`, by serial number arithmetic (RFC 1982).
    fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    fn seconds_behind(self, utc: Duration) -> i32 {
        let now = Self::of(utc).0 >> 32;
        (now as u32)
            .wrapping_sub((self.0 >> 32) as u32)
            .cast_signed()
    }
}

/// Signs this host's adverts.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    key: Key,
    window: Window,
    last: Option<Stamp>,
}

impl Signer {
    pub(super) fn new(keys: &Keys, window: Window) -> Self {
        Self {
            key: keys.first().clone(),
            window,
            last: None,
        }
    }

    /// Appends the trailer to an advert. The HMAC is computed as if the advert's checksum were
    /// zero.
    pub(super) fn sign(&mut self, advert: &mut Vec<u8>, bound: Bound, utc: Duration) {
        let stamp = self.stamp(utc);
        self.last = Some(stamp);
        advert.extend([SHA256, self.key.id().get(), 0, 0]);
        advert.extend(stamp.0.to_be_bytes());
        let hmac = mac(&self.key, advert, bound).finalize().into_bytes();
        advert.extend(&hmac[..HMAC]);
    }

    /// Returns the time for the next advert: `utc`, or one more than the last advert's time if the
    /// clock has not advanced. If the clock was set back by more than the window, times follow the
    /// clock again: receivers do not compare them with times outside the window.
    fn stamp(&self, utc: Duration) -> Stamp {
        let clock = Stamp::of(utc);
        match self.last {
            Some(last) if !clock.is_after(last) && self.window.holds(last, utc).is_ok() => {
                last.next()
            }
            _ => clock,
        }
    }
}

/// Verifies the trailers of received adverts, and accepts each trailer once.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    keys: Keys,
    window: Window,
    /// When this guard started, as the time since 1970: it does not know which adverts were
    /// received before.
    started: Duration,
    /// The time of the last advert of each sender, the most recent sender last.
    heard: VecDeque<(IpAddr, Stamp)>,
}

impl Guard {
    pub(super) fn new(keys: Keys, window: Window, started: Duration) -> Self {
        Self {
            keys,
            window,
            started,
            heard: VecDeque::with_capacity(SENDERS),
        }
    }

    /// Verifies an advert with its trailer, which is the last 28 bytes. Does not yet record it:
    /// that is [`Guard::take`], once the rest of the advert is valid.
    ///
    /// A `goodbye` that the process before this one may have received is refused as a replay: for
    /// one window after the start, as the sender's clock may be ahead by as much. If that goodbye
    /// was genuine, this host notices the peer's silence instead. Other adverts are accepted, as a
    /// replay of one delays a takeover by at most one interval of silence, and a sender whose clock
    /// is behind must be heard.
    pub(super) fn check(
        &self,
        signed: &[u8],
        (bound, goodbye): (Bound, bool),
        utc: Duration,
    ) -> Result<Fresh, Refusal> {
        let (covered, hmac) = signed.split_last_chunk::<HMAC>().ok_or(Refusal::Unsigned)?;
        let (_, trailer) = covered
            .split_last_chunk::<{ LENGTH - HMAC }>()
            .ok_or(Refusal::Unsigned)?;
        let [kind, key, reserved_high, reserved_low, time @ ..] = *trailer;
        if (kind, reserved_high, reserved_low) != (SHA256, 0, 0) {
            return Err(Refusal::Trailer);
        }
        let stamp = Stamp(u64::from_be_bytes(time));
        // The time is checked before the HMAC is computed, so a flood of old adverts is cheap to
        // refuse.
        self.window.holds(stamp, utc)?;
        let key = self.keys.find(key).ok_or(Refusal::Key { id: key })?;
        mac(key, covered, bound)
            .verify_truncated_left(hmac)
            .map_err(|_| Refusal::Hmac)?;
        if goodbye && !stamp.is_after(Stamp::of(self.started + self.window.0)) {
            return Err(Refusal::Replayed);
        }
        let source = bound.source;
        let last = self.heard.iter().find(|(sender, _)| *sender == source);
        match last {
            // If the time of the sender's last advert is outside the window around this host's
            // clock, that time cannot be compared with times inside the window.
            Some((_, last)) if self.window.holds(*last, utc).is_ok() && !stamp.is_after(*last) => {
                Err(Refusal::Replayed)
            }
            _ => Ok(Fresh { source, stamp }),
        }
    }

    /// Records an accepted advert: from now on, that advert and earlier ones of its sender are
    /// replays.
    pub(super) fn take(&mut self, fresh: Fresh) {
        self.heard.retain(|(sender, _)| *sender != fresh.source);
        if self.heard.len() == SENDERS {
            self.heard.pop_front();
        }
        self.heard.push_back((fresh.source, fresh.stamp));
    }
}

/// Sender and time of a valid trailer that was not received before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    source: IpAddr,
    stamp: Stamp,
}

/// Computes the HMAC over an advert and the part of its trailer before the HMAC.
fn mac(key: &Key, covered: &[u8], bound: Bound) -> Hmac<Sha256> {
    let mut header = [0; 20];
    header[1] = bound.version;
    header[2] = bound.router_id.get();
    match bound.source {
        IpAddr::V4(v4) => {
            header[0] = 4;
            header[4..8].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            header[0] = 6;
            header[4..].copy_from_slice(&v6.octets());
        }
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*key.secret()).into());
    let (before, after) = covered.split_at(checksum::OFFSET.min(covered.len()));
    mac.update(&header);
    mac.update(before);
    mac.update(&[0; 2]);
    mac.update(after.get(2..).unwrap_or_default());
    mac.update(&[0; HMAC]);
    mac
}
