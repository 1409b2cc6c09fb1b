//! Parses packets as far as steering needs it.

use crate::{
    flow::FlowKey,
    memory::Memory,
    tcp::{Flags, Numbers},
    verdict::{DropReason, PassReason, Verdict},
    wire::{
        ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, Ethernet, Ipv4, PROTOCOL_TCP, Tcp,
    },
};

/// A parsed TCP packet: the offsets of its headers, and the fields that steering needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Offset of the IP header in bytes.
    pub network: usize,
    /// Offset of the TCP header in bytes.
    pub transport: usize,
    /// Length in bytes from the IP header to the end of the data.
    pub length: u16,
    /// The IPv4 header's time to live.
    pub ttl: u8,
    /// Control bits of the TCP header.
    pub flags: Flags,
    /// Addresses, ports and protocol of the packet.
    pub key: FlowKey,
}

/// Parses the Ethernet, IPv4 and TCP headers of a packet.
///
/// # Errors
/// The verdict on a packet that is malformed, or is not IPv4 TCP.
#[inline(always)]
pub fn parse<M: Memory>(memory: &M) -> Result<Packet, Verdict> {
    let ethernet = memory.at::<Ethernet>(0).ok_or(TRUNCATED)?;
    match ethernet.ethertype.get() {
        ETHERTYPE_IPV4 => ipv4(memory, size_of::<Ethernet>()),
        // The key of a connection contains no VLAN, and steered packets leave without a tag: the
        // host's network stack handles tagged packets.
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => Err(Verdict::Pass(PassReason::Vlan)),
        _ => Err(Verdict::Pass(PassReason::NotIp)),
    }
}

#[inline(always)]
fn ipv4<M: Memory>(memory: &M, network: usize) -> Result<Packet, Verdict> {
    let header = memory.at::<Ipv4>(network).ok_or(TRUNCATED)?;
    let header_length = usize::from(header.version_and_length & 0x0f) * 4;
    let length = header.total_length.get();
    if header.version_and_length >> 4 != 4
        || header_length < size_of::<Ipv4>()
        || usize::from(length) < header_length
        || !memory.has(network + usize::from(length))
    {
        return Err(Verdict::Drop(DropReason::BadIpv4));
    }
    if header.protocol != PROTOCOL_TCP {
        return Err(Verdict::Pass(PassReason::NotTcp));
    }
    if header.fragment.get() & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return Err(Verdict::Pass(PassReason::Fragment));
    }
    let (source, destination, ttl) = (header.source, header.destination, header.ttl);
    let transport = network + header_length;
    let segment_length = usize::from(length) - header_length;
    let (source_port, destination_port, flags) = tcp(memory, transport, segment_length)?;
    let key = FlowKey {
        source,
        destination,
        source_port,
        destination_port,
        protocol: u32::from(PROTOCOL_TCP),
    };
    Ok(Packet {
        network,
        transport,
        length,
        ttl,
        flags,
        key,
    })
}

#[inline(always)]
fn tcp<M: Memory>(
    memory: &M,
    transport: usize,
    segment_length: usize,
) -> Result<(u16, u16, Flags), Verdict> {
    let header = memory.at::<Tcp>(transport).ok_or(TRUNCATED)?;
    let header_length = usize::from(header.data_offset >> 4) * 4;
    if header_length < size_of::<Tcp>() || segment_length < header_length {
        return Err(Verdict::Drop(DropReason::BadTcp));
    }
    Ok((
        header.source.get(),
        header.destination.get(),
        Flags(header.flags),
    ))
}

/// Returns the numbers that an endpoint in TIME-WAIT compares: the packet's timestamp and its
/// sequence number or, if the packet has a FIN, the sequence number that follows the FIN.
#[inline(always)]
pub(crate) fn numbers<M: Memory>(memory: &M, packet: &Packet) -> Numbers {
    Numbers::of_word(numbers_word(memory, packet))
}

/// Returns the packet's TCP acknowledgement number; 0 if the header is truncated.
#[inline(always)]
pub(crate) fn acknowledgement<M: Memory>(memory: &M, packet: &Packet) -> u32 {
    (memory.at::<Tcp>(packet.transport)).map_or(0, |header| header.acknowledgement.get())
}

/// Returns the packet's [`Numbers`] (sequence number and timestamp) in one word; 0 if the header is
/// truncated.
#[inline(always)]
fn numbers_word<M: Memory>(memory: &M, packet: &Packet) -> u64 {
    let Some(header) = memory.at::<Tcp>(packet.transport) else {
        return 0;
    };
    let header_length = usize::from(header.data_offset >> 4) * 4;
    let mut sequence = header.sequence.get();
    if packet.flags.finishes() {
        let before_data = packet.transport - packet.network + header_length;
        let data = usize::from(packet.length).saturating_sub(before_data);
        #[expect(clippy::cast_possible_truncation, reason = "below 65,536")]
        let data = data as u32;
        sequence = sequence.wrapping_add(data).wrapping_add(1);
    }
    let timestamp = timestamp(memory, packet.transport, header_length).unwrap_or(0);
    Numbers {
        sequence,
        timestamp,
    }
    .word()
}

/// Reads the timestamp option (RFC 7323, section 3.2) at its usual offsets: after two NOPs in a
/// segment (appendix A); in a SYN after the segment size, directly or with SACK (Linux) or the
/// window scale (BSD) in between. A walk through the options would cost more time, and most of all
/// more of the verifier's budget.
#[inline(always)]
fn timestamp<M: Memory>(memory: &M, transport: usize, header_length: usize) -> Option<u32> {
    let options = transport + size_of::<Tcp>();
    let word = |at: usize| memory.at::<[u8; 4]>(options + at).copied();
    let first = word(0)?;
    let at = if first == FILLED_TIMESTAMP {
        4
    } else if first[..2] == SEGMENT_SIZE {
        let second = word(4)?;
        if second == SACK_TIMESTAMP || second == FILLED_TIMESTAMP {
            8
        } else if second[..3] == FILLED_WINDOW_SCALE && word(8)? == FILLED_TIMESTAMP {
            12
        } else {
            return None;
        }
    } else {
        return None;
    };
    if header_length < size_of::<Tcp>() + at + 4 {
        return None;
    }
    word(at).map(u32::from_be_bytes)
}

/// Beginnings of TCP options that precede a timestamp (RFC 9293, section 3.1, RFC 7323 and RFC
/// 2018): kind and length of each option; a NOP is kind 1 alone.
const FILLED_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];
const SACK_TIMESTAMP: [u8; 4] = [4, 2, 8, 10];
const SEGMENT_SIZE: [u8; 2] = [2, 4];
const FILLED_WINDOW_SCALE: [u8; 3] = [1, 3, 3];

const TRUNCATED: Verdict = Verdict::Drop(DropReason::Truncated);

/// Mask of the fragment word's bits except the two flags that an unfragmented packet may have (RFC
/// 791, section 3.1).
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
