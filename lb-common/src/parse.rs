//! From bytes to what steering needs to know of a packet.

use crate::{
    flow::FlowKey,
    memory::Memory,
    tcp::Flags,
    verdict::{Drop, Pass, Verdict},
    wire::{
        ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, Ethernet, Ipv4, PROTOCOL_TCP, Tcp,
        Vlan,
    },
};

/// A TCP packet: where its headers are, and what steering needs of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Offset of the IP header in bytes.
    pub network: usize,
    /// Offset of the TCP header in bytes.
    pub transport: usize,
    /// Bytes from the IP header to the end of the data.
    pub length: u16,
    /// Hops that are left.
    pub ttl: u8,
    /// TCP's control bits.
    pub flags: Flags,
    /// Addresses, ports, protocol.
    pub key: FlowKey,
}

/// Parses a packet.
///
/// # Errors
/// The verdict on a packet that is malformed, or none that is steered.
#[inline(always)]
pub fn parse<M: Memory>(memory: &M) -> Result<Packet, Verdict> {
    let (ethertype, network) = link_layer(memory)?;
    if ethertype != ETHERTYPE_IPV4 {
        return Err(Verdict::Pass(Pass::NotIp));
    }
    ipv4(memory, network)
}

/// Ethernet and up to two VLAN tags: what follows, and where.
#[inline(always)]
fn link_layer<M: Memory>(memory: &M) -> Result<(u16, usize), Verdict> {
    let ethernet = memory.at::<Ethernet>(0).ok_or(TRUNCATED)?;
    let mut ethertype = ethernet.ethertype.get();
    let mut offset = size_of::<Ethernet>();
    for _tag in 0..2 {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_SERVICE_VLAN {
            break;
        }
        ethertype = memory.at::<Vlan>(offset).ok_or(TRUNCATED)?.ethertype.get();
        offset += size_of::<Vlan>();
    }
    Ok((ethertype, offset))
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
        return Err(Verdict::Drop(Drop::BadIpv4));
    }
    if header.protocol != PROTOCOL_TCP {
        return Err(Verdict::Pass(Pass::NotTcp));
    }
    if header.fragment.get() & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return Err(Verdict::Pass(Pass::Fragment));
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
        return Err(Verdict::Drop(Drop::BadTcp));
    }
    Ok((
        header.source.get(),
        header.destination.get(),
        Flags(header.flags),
    ))
}

const TRUNCATED: Verdict = Verdict::Drop(Drop::Truncated);

/// All of the word but the two flags that a whole packet may have (RFC 791, section 3.1).
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
