//! Protocol headers on the wire. Their types carry byte order and alignment: numbers are
//! big-endian, and headers are aligned to two bytes, because every preceding header has an even
//! length and drivers put frames at even addresses. BPF can then load two bytes at a time.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    network_endian::{U16, U32},
};

/// EtherType of IPv4 (IEEE 802 numbers).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of a customer VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// The Ethernet header (IEEE 802.3).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(2))]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// EtherType: the protocol of the payload.
    pub ethertype: U16,
}

/// The IPv4 header without its options (RFC 791, section 3.1).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(2))]
pub struct Ipv4 {
    /// Version (high four bits) and header length in 32-bit words.
    pub version_and_length: u8,
    /// Type of service (today DSCP and ECN).
    pub service_type: u8,
    /// Length of header and data together, in bytes.
    pub total_length: U16,
    /// Identification of fragments.
    pub identification: U16,
    /// Three flags and the fragment's offset in units of eight bytes.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Number of the payload's protocol.
    pub protocol: u8,
    /// One's complement sum of the header.
    pub checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

/// The TCP header without its options (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(2))]
pub struct Tcp {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgement number.
    pub acknowledgement: U32,
    /// Header length in 32-bit words (high four bits).
    pub data_offset: u8,
    /// Control bits: see [`crate::tcp::Flags`].
    pub flags: u8,
    /// Receive window.
    pub window: U16,
    /// One's complement sum over pseudo-header, header and data.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}
