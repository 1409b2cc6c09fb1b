//! The Internet checksum (RFC 1071) of an advert.

use std::net::IpAddr;

use super::PROTOCOL;

/// Offset of the checksum in an advert, in bytes.
pub(super) const OFFSET: usize = 6;

/// What the checksum of an advert covers besides the advert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pseudo {
    /// The checksum covers only the advert: there is no pseudo-header.
    None,
    /// The checksum also covers a pseudo-header: the packet's addresses, protocol and length.
    Header { source: IpAddr, destination: IpAddr },
}

/// Returns the checksum of `bytes`, whose checksum field must hold zero. If the field already holds
/// a checksum, returns 0 when that checksum is right.
pub(super) fn of(bytes: &[u8], pseudo: Pseudo) -> u16 {
    let sum = add(pseudo_header(bytes.len(), pseudo), bytes);
    !fold(sum)
}

fn pseudo_header(length: usize, pseudo: Pseudo) -> u64 {
    let Pseudo::Header {
        source,
        destination,
    } = pseudo
    else {
        return 0;
    };
    let addresses = [source, destination]
        .iter()
        .fold(0, |sum, address| match address {
            IpAddr::V4(v4) => add(sum, &v4.octets()),
            IpAddr::V6(v6) => add(sum, &v6.octets()),
        });
    // `length` is at most a few thousand bytes: the size of a packet.
    addresses + u64::from(PROTOCOL) + length as u64
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u16::from_be_bytes([*high, *low]),
        [last] => u16::from_be_bytes([*last, 0]),
        _ => 0,
    });
    words.fold(sum, |sum, word| sum + u64::from(word))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
