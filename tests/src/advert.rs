//! Forged VRRP adverts, as any host on the network could send them: valid, invalid, or for another
//! virtual router.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::host::{Host, joined};

/// The IP protocol number of VRRP, which adverts have.
const VRRP: u8 = 112;

/// Protocol number of a raw socket whose packets include the IP header (`IPPROTO_RAW`).
const RAW: i32 = 255;

/// An advert of version 3 over IPv4 that carries no address (RFC 9568, section 5.1), and the IP
/// packet that it is in.
#[derive(Clone, Debug)]
pub struct Forged {
    /// Source address of the IP packet.
    pub source: Ipv4Addr,
    /// Destination address of the IP packet.
    pub destination: Ipv4Addr,
    /// Time to live of the IP packet: 255 if it is from the same network.
    pub ttl: u8,
    /// Virtual router ID in the advert.
    pub virtual_router_id: u8,
    /// Priority in the advert.
    pub priority: u8,
    /// Whether the advert's checksum is correct.
    pub checksum: bool,
    /// Bytes appended to the advert, where an HMAC would be.
    pub trailer: Vec<u8>,
    /// Number of bytes of the packet that are sent; `None` for the whole packet.
    pub cut: Option<usize>,
}

impl Forged {
    /// Returns a valid advert from one host to another, as the agents in the tests send them, but
    /// with a higher priority.
    #[must_use]
    pub fn from(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            ttl: 255,
            virtual_router_id: 41,
            priority: 254,
            checksum: true,
            trailer: Vec::new(),
            cut: None,
        }
    }

    /// Returns the IP packet; the kernel fills in the header's checksum when it is sent.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut advert = vec![0x31, self.virtual_router_id, self.priority, 0, 0, 10, 0, 0];
        let sum = checksum(self.source, self.destination, &advert);
        let sum = if self.checksum { sum } else { !sum };
        advert[6..].copy_from_slice(&sum.to_be_bytes());
        advert.extend(&self.trailer);
        advert.truncate(self.cut.unwrap_or(usize::MAX));
        let length = u16::try_from(20 + advert.len()).unwrap_or(u16::MAX);
        let mut packet = vec![0x45, 0xc0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, self.ttl, VRRP, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(advert);
        packet
    }
}

/// Sends IP packets, including their headers, from a host.
///
/// # Errors
/// When the kernel refuses a packet.
pub fn send(from: &Host, packets: Vec<Vec<u8>>) -> Result<()> {
    joined(from.inside(move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
        for packet in packets {
            let destination = packet.get(16..20).context("not an IP packet")?;
            let destination = <[u8; 4]>::try_from(destination)?;
            let to = SockAddr::from(SocketAddrV4::new(destination.into(), 0));
            socket.send_to(&packet, &to)?;
        }
        Ok(())
    }))
}

/// Receives `count` adverts on a host, and returns them with their IP headers.
///
/// # Errors
/// When fewer adverts arrive within `limit`.
pub fn overhear(on: &Host, count: usize, limit: Duration) -> Result<Vec<Vec<u8>>> {
    joined(on.inside(move || {
        let protocol = Protocol::from(i32::from(VRRP));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(limit))?;
        let deadline = Instant::now() + limit;
        let (mut packets, mut buffer) = (Vec::new(), [0; 512]);
        while packets.len() < count {
            ensure!(
                Instant::now() < deadline,
                "received {} adverts within {limit:?}, expected {count}",
                packets.len()
            );
            let length = (&socket).read(&mut buffer).context("no advert came")?;
            packets.push(buffer[..length].to_vec());
        }
        Ok(packets)
    }))
}

/// Computes the checksum of an advert (RFC 9568, section 5.2.8), with the pseudo-header, which
/// keepalived includes too.
fn checksum(source: Ipv4Addr, destination: Ipv4Addr, advert: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend([0, VRRP]);
    bytes.extend(
        u16::try_from(advert.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    bytes.extend(advert);
    let sum = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    u16::try_from(folded).map_or(0, |sum| !sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected value is from an advert of keepalived 2.2.7; the input is that advert without
    /// its checksum.
    #[test]
    fn the_checksum_is_keepalived_s() {
        let seen = [0x31, 51, 150, 1, 0, 10, 0, 0, 10, 77, 0, 100];
        let sum = checksum([10, 77, 0, 1].into(), [10, 77, 0, 2].into(), &seen);
        assert_eq!(sum, 0x18f7);
    }

    #[test]
    fn a_whole_advert_sums_up_to_nothing() {
        let forged = Forged::from([10, 77, 0, 1].into(), [10, 77, 0, 2].into());
        let packet = forged.packet();
        assert_eq!(
            checksum(forged.source, forged.destination, &packet[20..]),
            0
        );
        assert_eq!(packet.len(), 28);
    }
}
