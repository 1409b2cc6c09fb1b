//! Parses the IPv4 header, which the kernel delivers to a raw socket together with the packet.

use std::net::{IpAddr, Ipv4Addr};

use super::{PROTOCOL, Packet, Refusal};

/// Length in bytes of an IPv4 header without options.
const SHORTEST: usize = 20;

/// Parses an IPv4 packet (RFC 791, section 3.1). Options are skipped: adverts have none, but are
/// allowed to.
///
/// # Errors
/// [`Refusal::IpHeader`]: the packet is not IPv4, not whole, a fragment, or of another protocol
/// than VRRP.
pub fn parse_ipv4(datagram: &[u8]) -> Result<Packet<'_>, Refusal> {
    let (header, _) = datagram
        .split_first_chunk::<SHORTEST>()
        .ok_or(Refusal::IpHeader)?;
    let header_length = usize::from(header[0] & 0xf) * 4;
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // These bits are "more fragments" and the offset: zero, as the kernel has already reassembled
    // fragments.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let whole = header[0] >> 4 == 4
        && header_length >= SHORTEST
        && total_length == datagram.len()
        && fragment == 0
        && header[9] == PROTOCOL;
    let payload = datagram.get(header_length..).filter(|_| whole);
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    Ok(Packet {
        source: IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
        destination: IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
        ttl: header[8],
        payload: payload.ok_or(Refusal::IpHeader)?,
    })
}
