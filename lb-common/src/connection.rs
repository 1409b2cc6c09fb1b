//! Connections: the map `connections` has one entry for each, which serves packets in both
//! directions.
//!
//! An entry is a cache line of eight words. The CPU that has claimed the entry writes words 0, 1, 3
//! and 4 before it publishes them; they do not change until the next claim. Word 2, the [`Stamp`],
//! is the state of the entry and changes by compare-and-exchange only. Words 5 and 6 change while
//! the connection lives; each is read and written atomically.
//!
//! A reader reads the stamp, the other words, and the stamp again: if its serial is the same, the
//! words are consistent (a seqlock).
//!
//! IPv6 can be added as a second table with the same words 1 to 7, two more words for the rest of
//! the client's address, and the index of the service in place of its address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    backend::BackendId,
    checksum::Delta,
    flow::FlowKey,
    tcp::{Numbers, State},
    tick::Tick,
    wire::PROTOCOL_TCP,
};

/// Addresses and ports of a client's packets to a service: the key of a connection.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ClientKey {
    /// The client's IPv4 address.
    pub client: [u8; 4],
    /// The service's IPv4 address.
    pub service: [u8; 4],
    /// The client's port.
    pub client_port: u16,
    /// The service's port.
    pub service_port: u16,
}

impl ClientKey {
    /// Returns the key of the connection that a packet from the client belongs to.
    #[must_use]
    #[inline(always)]
    pub const fn of(flow: &FlowKey) -> Self {
        Self {
            client: flow.source,
            service: flow.destination,
            client_port: flow.source_port,
            service_port: flow.destination_port,
        }
    }

    /// Returns the flow of the client's packets.
    #[must_use]
    #[inline(always)]
    pub const fn flow(&self) -> FlowKey {
        FlowKey {
            source: self.client,
            destination: self.service,
            source_port: self.client_port,
            destination_port: self.service_port,
            protocol: PROTOCOL_TCP as u32,
        }
    }

    /// Returns the client's and the service's address as word 0 of an entry of the map
    /// `connections` has them.
    #[must_use]
    #[inline(always)]
    pub const fn addresses(&self) -> u64 {
        zerocopy::transmute!([self.client, self.service])
    }

    /// Returns the client's and the service's port as the first half of word 1 of an entry of the
    /// map `connections` has them.
    #[must_use]
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        zerocopy::transmute!([self.client_port, self.service_port])
    }
}

/// A connection: the value of the map `connections`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Connection {
    /// The client's IPv4 address.
    pub client: [u8; 4],
    /// The service's IPv4 address.
    pub service: [u8; 4],
    /// The client's port.
    pub client_port: u16,
    /// The service's port.
    pub service_port: u16,
    /// The source port of packets that reach the backend.
    pub source_port: u16,
    /// Row of the map `source_ports` (one for each backend and source address) that has
    /// `source_port`; [`NO_ROW`] if the connection has claimed no port.
    pub row: u16,
    /// The connection's [`State`] as a number.
    pub state: u8,
    /// Progress of opening the connection: the bits of a [`Mode`].
    pub mode: u8,
    /// Serial number of the connection in this entry, incremented each time the entry is claimed.
    pub serial: u16,
    /// [`Tick`] of the connection's last packet, updated at most once a second.
    pub seen: u32,
    /// The source address of packets that reach the backend.
    pub source: [u8; 4],
    /// The backend's IPv4 address.
    pub backend_address: [u8; 4],
    /// The backend's port.
    pub backend_port: u16,
    /// Index of the backend in BPF maps.
    pub backend: BackendId,
    /// Change of the TCP checksum of packets to the backend, because of rewritten addresses and
    /// ports.
    pub segment_delta: u16,
    /// Change of the IPv4 checksum of packets to the backend, without the change because of the
    /// TTL.
    pub address_delta: u16,
    /// The next hop towards the client: a [`crate::hop::HopReference`].
    pub client_hop: [u16; 4],
    /// Sequence number that follows the client's FIN; until the client sends a FIN, its initial
    /// sequence number.
    pub client_sequence: u32,
    /// Last recorded timestamp of the client (RFC 7323); 0 if it sends none.
    pub client_timestamp: u32,
    /// Always zero; reserved for the offset between both sides' sequence numbers (SYN cookies).
    pub cookie: u32,
    /// On a host that imports its peer's connections: mark of the last pass over the peer's
    /// connection table (an import pass) that contained this connection; 0 for a connection that
    /// was opened on this host.
    pub pass: u32,
}

const _CHECK: () = {
    use core::mem::offset_of;
    assert!(size_of::<Connection>() == 64, "one cache line");
    assert!(offset_of!(Connection, client_port) == 8 * WORD_PORTS);
    assert!(offset_of!(Connection, state) == 8 * WORD_STAMP);
    assert!(offset_of!(Connection, source) == 8 * WORD_ADDRESSES);
    assert!(offset_of!(Connection, backend_port) == 8 * WORD_BACKEND);
    assert!(offset_of!(Connection, client_hop) == 8 * WORD_HOP);
    assert!(offset_of!(Connection, client_sequence) == 8 * WORD_NUMBERS);
    assert!(offset_of!(Connection, cookie) == 8 * WORD_PASS);
};

/// Number of words in an entry of the map `connections`, each of eight bytes.
pub const WORDS: usize = 8;
/// Index of the word with the client's and the service's address.
pub const WORD_CLIENT: usize = 0;
/// Index of the word with the client's and the service's port, the source port, and the row of the
/// map `source_ports` that has that port.
pub const WORD_PORTS: usize = 1;
/// Index of the word with the [`Stamp`].
pub const WORD_STAMP: usize = 2;
/// Index of the word with the source address that the backend sees, and the backend's address.
pub const WORD_ADDRESSES: usize = 3;
/// Index of the word with the backend's port and index, and the changes of the TCP and the IPv4
/// checksum.
pub const WORD_BACKEND: usize = 4;
/// Index of the word with the next hop towards the client.
pub const WORD_HOP: usize = 5;
/// Index of the word with the client's sequence number and timestamp.
pub const WORD_NUMBERS: usize = 6;
/// Index of the word with [`Connection::cookie`], which is reserved, and the mark of the import
/// pass ([`Connection::pass`]).
pub const WORD_PASS: usize = 7;

/// Value of [`Connection::row`] if the connection has claimed no source port, because the backend
/// sees the client's own address and port.
pub const NO_ROW: u16 = u16::MAX;

impl Connection {
    /// Returns the words of the connection's entry in the map `connections`.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u64; WORDS] {
        zerocopy::transmute!(*self)
    }

    /// Builds the connection from the words of its entry.
    #[must_use]
    #[inline(always)]
    pub const fn of_words(words: [u64; WORDS]) -> Self {
        zerocopy::transmute!(words)
    }

    /// Returns the addresses and ports of the client's packets.
    #[must_use]
    #[inline(always)]
    pub const fn key(&self) -> ClientKey {
        ClientKey {
            client: self.client,
            service: self.service,
            client_port: self.client_port,
            service_port: self.service_port,
        }
    }

    /// Returns the key of the packets that reach the backend.
    #[must_use]
    #[inline(always)]
    pub const fn to_backend(&self) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.backend_address,
            source_port: self.source_port,
            destination_port: self.backend_port,
            protocol: PROTOCOL_TCP as u32,
        }
    }

    /// Returns the connection's TCP state.
    #[must_use]
    #[inline(always)]
    pub const fn state(&self) -> State {
        State(self.state)
    }

    /// Returns the last recorded sequence number and timestamp of the client.
    #[must_use]
    #[inline(always)]
    pub const fn numbers(&self) -> Numbers {
        Numbers {
            sequence: self.client_sequence,
            timestamp: self.client_timestamp,
        }
    }

    /// Returns the rewrite that sends the client's packets to the backend.
    #[must_use]
    #[inline(always)]
    pub const fn towards_backend(&self) -> Rewrite {
        Rewrite {
            source: self.source,
            destination: self.backend_address,
            source_port: self.source_port,
            destination_port: self.backend_port,
            segment_delta: self.segment_delta,
            address_delta: self.address_delta,
        }
    }

    /// Returns the rewrite of packets from the backend. Its checksum changes are the one's
    /// complements of the changes in the other direction.
    #[must_use]
    #[inline(always)]
    pub const fn towards_client(&self) -> Rewrite {
        Rewrite {
            source: self.service,
            destination: self.client,
            source_port: self.service_port,
            destination_port: self.client_port,
            segment_delta: !self.segment_delta,
            address_delta: !self.address_delta,
        }
    }
}

/// New addresses and ports of a forwarded packet, with the changes of its checksums.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rewrite {
    /// The source address after the rewrite.
    pub source: [u8; 4],
    /// The destination address after the rewrite.
    pub destination: [u8; 4],
    /// The source port after the rewrite.
    pub source_port: u16,
    /// The destination port after the rewrite.
    pub destination_port: u16,
    /// Change of the TCP checksum because of the new addresses and ports.
    pub segment_delta: u16,
    /// Change of the IPv4 checksum because of the new addresses, without the change because of the
    /// TTL.
    pub address_delta: u16,
}

impl Rewrite {
    /// Returns the rewrite of a client's packets from `key` to these source and destination
    /// addresses and ports.
    #[must_use]
    #[inline(always)]
    pub const fn of(
        key: &ClientKey,
        (source, source_port): ([u8; 4], u16),
        (destination, destination_port): ([u8; 4], u16),
    ) -> Self {
        let addresses = Delta::ZERO
            .address(key.client, source)
            .address(key.service, destination);
        let segment = addresses
            .word(key.client_port, source_port)
            .word(key.service_port, destination_port);
        Self {
            source,
            destination,
            source_port,
            destination_port,
            segment_delta: segment.folded(),
            address_delta: addresses.folded(),
        }
    }

    /// Returns word 1 of the connection's entry: the client's and the service's port, the source
    /// port, and the row of the map `source_ports` that has that port.
    #[must_use]
    #[inline(always)]
    pub const fn word_ports(&self, key: &ClientKey, row: u16) -> u64 {
        zerocopy::transmute!([key.client_port, key.service_port, self.source_port, row])
    }

    /// Returns word 3 of the connection's entry: the source address that the backend sees, and the
    /// backend's address.
    #[must_use]
    #[inline(always)]
    pub const fn word_addresses(&self) -> u64 {
        zerocopy::transmute!([self.source, self.destination])
    }

    /// Returns word 4 of the connection's entry: the backend's port and index, and the changes of
    /// the TCP and the IPv4 checksum.
    #[must_use]
    #[inline(always)]
    pub const fn word_backend(&self, backend: BackendId) -> u64 {
        zerocopy::transmute!([
            self.destination_port,
            backend.0,
            self.segment_delta,
            self.address_delta,
        ])
    }
}

/// Progress of opening a connection: bits of [`Connection::mode`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode(pub u8);

impl Mode {
    /// The backend refused the connection, and another backend may be tried.
    pub const REFUSED: u8 = 0x01;
    const TRY: u8 = 0x10;

    /// Whether the backend refused the connection, in which case the client's next SYN goes to
    /// another backend.
    #[must_use]
    #[inline(always)]
    pub const fn is_refused(self) -> bool {
        self.0 & Self::REFUSED != 0
    }

    /// Returns the connection's progress after its backend has refused it: [`Self::REFUSED`] is
    /// set.
    #[must_use]
    #[inline(always)]
    pub const fn refused(self) -> Self {
        Self(self.0 | Self::REFUSED)
    }

    /// Returns the number of backends tried before the current one, up to 15.
    #[must_use]
    #[inline(always)]
    pub const fn tries(self) -> u8 {
        self.0 / Self::TRY
    }

    /// Returns the connection's progress after a retry at another backend: one more backend was
    /// tried, and [`Self::REFUSED`] is cleared.
    #[must_use]
    #[inline(always)]
    pub const fn retried(self) -> Self {
        let tries = if self.tries() == 15 {
            15
        } else {
            self.tries() + 1
        };
        Self(tries * Self::TRY)
    }
}

/// The state of a connection, its progress of opening, its serial number and the time of its last
/// packet, packed into one word of its entry in the map `connections`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// The connection's state.
    pub state: State,
    /// Progress of opening the connection.
    pub mode: Mode,
    /// Serial number of the connection in this entry, incremented each time the entry is claimed.
    pub serial: u16,
    /// Time of the connection's last packet.
    pub seen: Tick,
}

impl Stamp {
    /// Unpacks the stamp of an entry (state, mode, serial, time) from its word of 64 bits.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        let [state, mode, s0, s1, t0, t1, t2, t3] = word.to_ne_bytes();
        Self {
            state: State(state),
            mode: Mode(mode),
            serial: u16::from_ne_bytes([s0, s1]),
            seen: Tick(u32::from_ne_bytes([t0, t1, t2, t3])),
        }
    }

    /// Packs the stamp of an entry (state, mode, serial, time) into its word of 64 bits.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        let ([s0, s1], [t0, t1, t2, t3]) = (self.serial.to_ne_bytes(), self.seen.0.to_ne_bytes());
        u64::from_ne_bytes([self.state.0, self.mode.0, s0, s1, t0, t1, t2, t3])
    }

    /// Returns the stamp by which a CPU claims the entry: [`State::CLAIMED`], with the next serial.
    /// The entry keeps this stamp while that CPU writes another connection into it.
    #[must_use]
    #[inline(always)]
    pub const fn claimed(self, now: Tick) -> Self {
        Self {
            state: State::CLAIMED,
            mode: Mode(0),
            serial: self.serial.wrapping_add(1),
            seen: now,
        }
    }

    /// Returns the stamp of an entry that no longer holds a connection; the serial number of the
    /// stamp stays as it is.
    #[must_use]
    #[inline(always)]
    pub const fn vacated(self) -> Self {
        Self {
            state: State::VACANT,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_the_same_word_as_in_the_entry() {
        let connection = Connection {
            client: [198, 51, 100, 10],
            service: [172, 31, 0, 68],
            client_port: 40_000,
            service_port: 80,
            source_port: 1024,
            row: 3,
            state: State::ESTABLISHED.0,
            mode: 0x21,
            serial: 0x1234,
            seen: 0x89ab_cdef,
            source: [172, 31, 0, 68],
            backend_address: [10, 0, 0, 6],
            backend_port: 8080,
            backend: BackendId(7),
            segment_delta: 1,
            address_delta: 2,
            client_hop: [1, 2, 3, 4],
            client_sequence: 5,
            client_timestamp: 6,
            cookie: 0,
            pass: 8,
        };
        let words = connection.words();
        assert_eq!(Connection::of_words(words), connection);
        let stamp = Stamp::of_word(words[WORD_STAMP]);
        assert_eq!(stamp.word(), words[WORD_STAMP]);
        assert_eq!(
            (stamp.state, stamp.serial, stamp.seen),
            (State::ESTABLISHED, 0x1234, Tick(0x89ab_cdef))
        );
        assert_eq!((stamp.mode.tries(), stamp.mode.is_refused()), (2, true));
        assert_eq!(words[WORD_CLIENT], connection.key().addresses());
        assert_eq!(words[WORD_PORTS] as u32, connection.key().ports());
    }

    #[test]
    fn tries_are_counted_to_fifteen_and_clear_the_refusal() {
        let mut mode = Mode(0).refused();
        for tries in 1..=20 {
            mode = mode.retried();
            assert_eq!((mode.tries(), mode.is_refused()), (tries.min(15), false));
        }
    }
}
