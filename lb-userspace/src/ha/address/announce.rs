//! Announces an address to the network: gratuitous ARP (RFC 5944, 4.6) and unsolicited
//! neighbour advertisements (RFC 4861, 7.2.6), as raw Ethernet frames.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket},
};

use super::super::Error;

/// The hardware type of Ethernet (ARPHRD_ETHER of linux/if_arp.h). Only interfaces of this type
/// have neighbours that resolve addresses.
const ETHERNET: u16 = 1;

type Mac = [u8; 6];

/// Announces addresses on one interface to its neighbours.
pub(super) struct Announcer {
    interface: String,
    /// The socket that announcements are sent through, or `None` while it is not open. It is kept
    /// open because closing a packet socket waits for every processor of the host, which takes 10
    /// ms or more.
    socket: Option<OpenSocket>,
}

impl Announcer {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            socket: None,
        }
    }

    /// Returns a socket that sends frames out of the interface as it exists now; `None` if the
    /// interface has no neighbours to notify, as a tunnel has none.
    ///
    /// # Errors
    /// There is no such interface, or raw packets are not allowed to this process.
    pub(super) fn ready(&mut self) -> Result<Option<&OpenSocket>, Error> {
        let interface = &self.interface;
        let failed = |error: nix::Error| {
            Error::new(format!(
                "cannot open a socket for announcements on {interface}: {error}; CAP_NET_RAW is \
                 needed"
            ))
        };
        let Some(link) = link(interface).map_err(failed)? else {
            let sentence = format!("cannot announce addresses: there is no interface {interface}");
            return Err(Error::new(sentence));
        };
        let Some(mac) = link.addr().filter(|_| link.hatype() == ETHERNET) else {
            return Ok(None);
        };
        let socket = match self.socket.take().filter(|socket| socket.link == link) {
            Some(socket) => socket,
            None => OpenSocket::open(link, mac).map_err(failed)?,
        };
        let router = is_router(interface);
        Ok(Some(self.socket.insert(OpenSocket { router, ..socket })))
    }
}

/// A packet socket that sends Ethernet frames out of one interface.
pub(super) struct OpenSocket {
    socket: OwnedFd,
    link: LinkAddr,
    mac: Mac,
    router: bool,
}

impl OpenSocket {
    fn open(link: LinkAddr, mac: Mac) -> nix::Result<Self> {
        // The packet socket is opened without a protocol number, so it receives nothing and only
        // sends.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self {
            socket,
            link,
            mac,
            router: false,
        })
    }

    /// Sends one announcement of `address`, by ARP or by a neighbour advertisement.
    pub(super) fn announce(&self, address: IpAddr) -> io::Result<()> {
        let frame = match address {
            IpAddr::V4(address) => gratuitous_arp(self.mac, address).to_vec(),
            IpAddr::V6(address) => neighbour_advertisement(self.mac, address, self.router).to_vec(),
        };
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        Ok(())
    }
}

fn link(interface: &str) -> nix::Result<Option<LinkAddr>> {
    let mut addresses = getifaddrs()?.filter(|one| one.interface_name == interface);
    Ok(addresses.find_map(|one| one.address?.as_link_addr().copied()))
}

/// Returns whether the interface forwards IPv6. If it does, the kernel's own neighbour
/// advertisements have the router flag.
fn is_router(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    fs::read_to_string(path).is_ok_and(|forwarding| forwarding.trim() == "1")
}

const BROADCAST: Mac = [0xff; 6];

/// Returns an Ethernet frame with an ARP request for `address`, sent from that same address: hosts
/// with an ARP entry for the address learn the new MAC, and only the holder of the address would
/// answer.
fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    let mut rest = &mut frame[..];
    put(&mut rest, &BROADCAST);
    put(&mut rest, &mac);
    put(&mut rest, &[0x08, 0x06]);
    // The ARP header: hardware type Ethernet, protocol IPv4, address lengths of 6 and 4 bytes,
    // operation request.
    put(&mut rest, &[0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    put(&mut rest, &mac);
    put(&mut rest, &address.octets());
    put(&mut rest, &[0; 6]);
    put(&mut rest, &address.octets());
    frame
}

/// The multicast address of all nodes on the link (RFC 2464, 7). `ALL_NODES_MAC` is the MAC address
/// that belongs to it.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// Length in bytes of an ICMPv6 neighbour advertisement with one option.
const ADVERTISEMENT: usize = 32;
const ICMPV6: u8 = 58;

fn neighbour_advertisement(mac: Mac, address: Ipv6Addr, router: bool) -> [u8; 86] {
    let advertisement = advertisement(mac, address, router);
    let mut frame = [0; 86];
    let mut rest = &mut frame[..];
    put(&mut rest, &ALL_NODES_MAC);
    put(&mut rest, &mac);
    put(&mut rest, &[0x86, 0xdd]);
    // The IPv6 header: version 6, the payload's length, next header ICMPv6, and a hop limit of 255,
    // which proves that no router forwarded the packet.
    put(
        &mut rest,
        &[0x60, 0, 0, 0, 0, ADVERTISEMENT as u8, ICMPV6, 255],
    );
    put(&mut rest, &address.octets());
    put(&mut rest, &ALL_NODES.octets());
    put(&mut rest, &advertisement);
    frame
}

fn advertisement(mac: Mac, address: Ipv6Addr, router: bool) -> [u8; ADVERTISEMENT] {
    const ROUTER: u8 = 0x80;
    const OVERRIDE: u8 = 0x20;
    let flags = if router { OVERRIDE | ROUTER } else { OVERRIDE };
    let mut message = [0; ADVERTISEMENT];
    let mut rest = &mut message[..];
    // ICMPv6 type 136 (neighbour advertisement), code 0, and two zero bytes where the checksum is
    // written below.
    put(&mut rest, &[136, 0, 0, 0]);
    put(&mut rest, &[flags, 0, 0, 0]);
    put(&mut rest, &address.octets());
    // The option of the neighbour advertisement: type 2, the target's link-layer address, and the
    // option's length in units of eight bytes.
    put(&mut rest, &[2, 1]);
    put(&mut rest, &mac);
    let checksum = checksum(address, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Returns the checksum of an ICMPv6 message to all nodes, which includes the pseudo-header of IPv6
/// (RFC 8200, 8.1).
fn checksum(source: Ipv6Addr, message: &[u8; ADVERTISEMENT]) -> u16 {
    let pseudo = [0, ADVERTISEMENT as u8, 0, ICMPV6];
    let (source, target) = (source.octets(), ALL_NODES.octets());
    let bytes = [&source[..], &target[..], &pseudo[..], &message[..]].concat();
    let words = bytes.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Writes `bytes` at the beginning of `rest` and advances it. `rest` must be long enough, as the
/// callers' frames are.
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    let (begin, end) = std::mem::take(rest).split_at_mut(bytes.len());
    begin.copy_from_slice(bytes);
    *rest = end;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 0x68];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks_exact(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        });
        pairs.collect()
    }

    #[test]
    fn a_gratuitous_arp_is_a_request_from_and_for_the_address() {
        let expected = hex("ffffffffffff 020000000068 0806
             0001 0800 06 04 0001 020000000068 ac1f00c8 000000000000 ac1f00c8");
        assert_eq!(
            gratuitous_arp(MAC, [172, 31, 0, 200].into()).to_vec(),
            expected
        );
    }

    #[test]
    fn an_advertisement_overrides_what_neighbours_remember() {
        let address = "2001:db8::c8".parse().expect("an address");
        let expected = hex("333300000001 020000000068 86dd
             6000 0000 0020 3a ff
             20010db8 00000000 00000000 000000c8
             ff020000 00000000 00000000 00000001
             88 00 f735 20000000 20010db8 00000000 00000000 000000c8
             0201 020000000068");
        assert_eq!(
            neighbour_advertisement(MAC, address, false).to_vec(),
            expected
        );
    }

    #[test]
    fn the_checksum_over_an_advertisement_with_its_own_is_zero() {
        let address = "2001:db8::c8".parse().expect("an address");
        for router in [false, true] {
            assert_eq!(checksum(address, &advertisement(MAC, address, router)), 0);
        }
        let flags = |router| advertisement(MAC, address, router)[4];
        assert_eq!((flags(false), flags(true)), (0x20, 0xa0));
    }
}
