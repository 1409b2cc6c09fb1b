//! Building packets for tests.

use crate::{
    flow::FlowKey,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_VLAN, PROTOCOL_TCP},
};

/// Builder of a TCP packet with valid checksums.
#[derive(Clone, Debug)]
pub struct TcpPacket {
    /// Addresses and ports of the packet.
    pub key: FlowKey,
    /// TCP control bits, as in [`crate::tcp::Flags`].
    pub flags: u8,
    /// The IPv4 header's time to live.
    pub ttl: u8,
    /// VLAN numbers of the packet's tags, the outer tag first.
    pub vlans: Vec<u16>,
    /// IP options, in words of four bytes.
    pub ip_options: usize,
    /// TCP options, in words of four bytes.
    pub tcp_options: usize,
    /// Sequence number in the TCP header.
    pub sequence: u32,
    /// Acknowledgement number in the TCP header.
    pub acknowledgement: u32,
    /// TCP timestamp (RFC 7323) to add as an option, which takes three more words; `None` for no
    /// timestamp.
    pub timestamp: Option<u32>,
    /// Payload of the segment.
    pub payload: Vec<u8>,
}

impl TcpPacket {
    /// Creates a packet without VLAN tags, options and payload.
    #[must_use]
    pub fn new(key: FlowKey, flags: u8) -> Self {
        Self {
            key,
            flags,
            ttl: 64,
            vlans: Vec::new(),
            ip_options: 0,
            tcp_options: 0,
            sequence: 1,
            acknowledgement: 2,
            timestamp: None,
            payload: Vec::new(),
        }
    }

    /// Returns the key of a TCP packet from `source` to `destination`, each an address and a port.
    #[must_use]
    pub fn key(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> FlowKey {
        FlowKey {
            source: source.0,
            destination: destination.0,
            source_port: source.1,
            destination_port: destination.1,
            protocol: u32::from(PROTOCOL_TCP),
        }
    }

    /// Returns the bytes of the packet, from the Ethernet header on.
    ///
    /// # Panics
    /// When the packet is longer than IP allows.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let header = self.network_header(segment.len());
        [self.link_header(), header, segment].concat()
    }

    fn link_header(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 0x68, 2, 0, 0, 0, 0, 0x01];
        for vlan in &self.vlans {
            bytes.extend(ETHERTYPE_VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
        bytes
    }

    fn network_header(&self, segment: usize) -> Vec<u8> {
        let words = 5 + self.ip_options;
        let total = u16::try_from(words * 4 + segment).expect("fits into an IP packet");
        let mut bytes = vec![0x40 | u8::try_from(words).expect("at most 15 words"), 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34, 0x40, 0, self.ttl, PROTOCOL_TCP, 0, 0]);
        bytes.extend(self.key.source);
        bytes.extend(self.key.destination);
        bytes.resize(words * 4, 1);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn segment(&self) -> Vec<u8> {
        let timestamp = self.timestamp.map(|value| {
            let mut option = vec![1, 1, 8, 10];
            option.extend(value.to_be_bytes());
            option.extend([0; 4]);
            option
        });
        let timestamp = timestamp.unwrap_or_default();
        let words = 5 + self.tcp_options + timestamp.len() / 4;
        let mut bytes = Vec::from(self.key.source_port.to_be_bytes());
        bytes.extend(self.key.destination_port.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([
            u8::try_from(words << 4).expect("at most 15 words"),
            self.flags,
        ]);
        bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(timestamp);
        bytes.resize(words * 4, 1);
        bytes.extend(&self.payload);
        let checksum = tcp_checksum(self.key.source, self.key.destination, &bytes);
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// Returns the Internet checksum of `bytes` (RFC 1071); 0 if they contain a correct checksum.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|pair| {
            u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns the checksum of a TCP segment with its pseudo-header (RFC 9293, section 3.1).
#[must_use]
pub fn tcp_checksum(source: [u8; 4], destination: [u8; 4], segment: &[u8]) -> u16 {
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(source);
    bytes.extend(destination);
    bytes.extend([0, PROTOCOL_TCP]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(segment);
    checksum(&bytes)
}
