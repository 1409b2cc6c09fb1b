//! Frames of a flood: they are built once, and get other source addresses and ports before each
//! use.

use std::net::SocketAddrV4;

use super::Plan;
use crate::{
    numbers::Numbers,
    segment::{EMPTY_SEGMENT, IPV4_HEADER, SYN, Segment, folded, sum},
};

/// Length of an Ethernet header in bytes.
const ETHERNET_HEADER: usize = 14;

/// Length of each frame of the flood in bytes: headers without options, and no data.
const FRAME: usize = ETHERNET_HEADER + EMPTY_SEGMENT;

/// Offsets in bytes of the fields that are changed in a frame, from the beginning of the frame.
const IPV4_CHECKSUM: usize = ETHERNET_HEADER + 10;
const SOURCE: usize = ETHERNET_HEADER + 12;
const TCP: usize = ETHERNET_HEADER + IPV4_HEADER;
const SEQUENCE: usize = TCP + 4;
const TCP_CHECKSUM: usize = TCP + 16;

/// Ethernet frames, each with one SYN segment.
pub(super) struct Frames {
    frames: Vec<[u8; FRAME]>,
    numbers: Numbers,
    /// The network part of the senders' addresses. The next field is the mask of their host part.
    network: u32,
    hosts: u32,
    /// Sum of the words of the IPv4 header that are the same in all frames; the next field is such
    /// a sum for the TCP header.
    ipv4_sum: u32,
    tcp_sum: u32,
}

impl Frames {
    pub(super) fn new(count: usize, source_mac: [u8; 6], plan: &Plan) -> Self {
        let hosts = u32::MAX
            .checked_shr(u32::from(plan.sources.prefix))
            .unwrap_or(0);
        let network = u32::from(plan.sources.base) & !hosts;
        let segment = Segment {
            source: SocketAddrV4::new([0; 4].into(), 0),
            destination: plan.to,
            flags: SYN,
            sequence: 0,
            acknowledgement: 0,
        };
        let mut frame = [0; FRAME];
        frame[0..6].copy_from_slice(&plan.destination_mac);
        frame[6..12].copy_from_slice(&source_mac);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[ETHERNET_HEADER..].copy_from_slice(&segment.packet());
        // The checksum fields are zero, so the sums below do not include them.
        frame[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].fill(0);
        frame[TCP_CHECKSUM..TCP_CHECKSUM + 2].fill(0);
        let destination = sum(&frame[SOURCE + 4..TCP]);
        let pseudo_header = destination + 6 + (EMPTY_SEGMENT - IPV4_HEADER) as u32;
        Self {
            ipv4_sum: sum(&frame[ETHERNET_HEADER..TCP]),
            tcp_sum: pseudo_header + sum(&frame[TCP..]),
            frames: vec![frame; count],
            numbers: Numbers::new(0),
            network,
            hosts,
        }
    }

    /// Changes the source address, source port and sequence number of each frame.
    pub(super) fn shuffle(&mut self) {
        for frame in &mut self.frames {
            let (address, sequence) = self.numbers.pair();
            let (port, _) = self.numbers.pair();
            let address = (self.network | (address & self.hosts)).to_be_bytes();
            // The sender's port is not below 1024, as with real clients.
            let port = (1024 + (port % (65_536 - 1024)) as u16).to_be_bytes();
            let sequence = sequence.to_be_bytes();
            frame[SOURCE..SOURCE + 4].copy_from_slice(&address);
            frame[TCP..TCP + 2].copy_from_slice(&port);
            frame[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence);
            let address = sum(&address);
            let checksum = folded(self.ipv4_sum + address);
            frame[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
            let checksum = folded(self.tcp_sum + address + sum(&port) + sum(&sequence));
            frame[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8; FRAME]> {
        self.frames.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::Ipv4Addr, time::Duration};

    use super::{super::Network, *};

    #[test]
    fn every_frame_is_of_another_sender_of_the_network_and_its_checksums_are_right() {
        let plan = Plan {
            interface: String::new(),
            destination_mac: [2, 0, 0, 0, 0, 0x68],
            to: SocketAddrV4::new(Ipv4Addr::new(172, 31, 0, 68), 80),
            sources: Network {
                base: Ipv4Addr::new(100, 64, 0, 0),
                prefix: 10,
            },
            rate: None,
            lasts: Duration::ZERO,
            most: 0,
        };
        let mut frames = Frames::new(64, [2, 0, 0, 0, 0, 1], &plan);
        let mut senders = HashSet::new();
        for _ in 0..16 {
            frames.shuffle();
            for frame in frames.iter() {
                let (ipv4, tcp) = frame[ETHERNET_HEADER..].split_at(IPV4_HEADER);
                assert_eq!(folded(sum(ipv4)), 0);
                assert_eq!(folded(sum(&ipv4[12..]) + 6 + 20 + sum(tcp)), 0);
                assert_eq!((ipv4[12], ipv4[13] & 0xc0), (100, 64));
                senders.insert((ipv4[12..16].to_vec(), tcp[..2].to_vec()));
            }
        }
        assert_eq!(senders.len(), 16 * 64);
    }
}
