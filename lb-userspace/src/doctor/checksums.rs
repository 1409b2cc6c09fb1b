//! Check of `lb doctor` for packets that arrive with incomplete checksums: their sender is on the
//! same machine, and leaves checksums to network hardware that does not exist.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::config::Interfaces;

pub(super) static CHECKSUMS: Check = Check {
    name: "checksums",
    group: Group::Interfaces,
    looks_at: "The checksums of TCP packets that open connections and arrive while the backends and the \
               peer are probed.",
    why: "A sender on the same machine (the other end of a veth, a virtual machine over virtio) leaves checksums to the hardware. The kernel knows that and accepts the packets, but the XDP program \
          rewrites the checksum that is there, and the packets of `tcp` services arrive with wrong checksums.",
    fix: "On the sender: `ethtool -K IFACE tx off tso off gso off`.",
};

pub(super) static CHECKS: [&Check; 1] = [&CHECKSUMS];

/// Numbers of packets from one address, by whether their checksum is complete.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) complete: u32,
    pub(super) incomplete: u32,
}

/// The numbers of packets that arrived on an interface, by the address of their sender.
pub(super) type Senders = BTreeMap<Ipv4Addr, Seen>;

/// A packet socket, which receives copies of the IPv4 packets that arrive on this host.
#[derive(Debug)]
pub(super) struct Tap {
    /// The packet socket, in tokio's type for UDP sockets, because tokio has no type for packet
    /// sockets.
    socket: UdpSocket,
    /// Names of the interfaces whose packets are counted, by interface index.
    interfaces: HashMap<usize, String>,
}

/// The Ethernet type of IPv4, `ETH_P_IP` of linux/if_ether.h. A packet socket for one Ethernet type
/// does not receive the packets that this host sends.
const ETHERNET_IPV4: u16 = 0x0800;

impl Tap {
    /// Opens the packet socket. Must be called within a tokio runtime, before the backends and the
    /// peer are probed.
    pub(super) fn open(interfaces: &Interfaces) -> std::io::Result<Self> {
        let protocol = Protocol::from(i32::from(ETHERNET_IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        let interfaces = interfaces.names().filter_map(|name| {
            let index = nix::net::if_::if_nametoindex(name).ok()?;
            Some((usize::try_from(index).ok()?, name.to_owned()))
        });
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            interfaces: interfaces.collect(),
        })
    }

    /// Counts the packets that arrive until `end` completes. Packets that are in the socket's queue
    /// at that time are counted too.
    pub(super) async fn watch(self, end: impl Future<Output = ()>) -> BTreeMap<String, Senders> {
        let mut seen: BTreeMap<String, Senders> = BTreeMap::new();
        for name in self.interfaces.values() {
            seen.entry(name.clone()).or_default();
        }
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                ready = self.socket.readable() => match ready {
                    Ok(()) => self.drain(&mut seen),
                    Err(_) => break,
                },
            }
        }
        // The answers to the last probes of backends may still be in the socket's queue.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.drain(&mut seen);
        seen
    }

    fn drain(&self, seen: &mut BTreeMap<String, Senders>) {
        // Maximum number of packets that one call reads, so that it also ends in a flood of
        // packets.
        const MOST: usize = 100_000;
        let mut frame = [0; 2048];
        for _ in 0..MOST {
            let received = self.socket.try_io(Interest::READABLE, || {
                Ok(recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame)?)
            });
            let Ok((length, Some(from))) = received else {
                return;
            };
            let Some(name) = self.interfaces.get(&from.ifindex()) else {
                continue;
            };
            let Some((sender, complete)) = opening(frame.get(14..length).unwrap_or_default())
            else {
                continue;
            };
            let counts = seen
                .entry(name.clone())
                .or_default()
                .entry(sender)
                .or_default();
            match complete {
                true => counts.complete += 1,
                false => counts.incomplete += 1,
            }
        }
    }
}

/// Parses an IPv4 packet. Returns the source address of a TCP packet with SYN, and whether its
/// checksum is complete; `None` for any other packet, because the kernel may merge such packets and
/// leaves their checksums incomplete too.
fn opening(packet: &[u8]) -> Option<(Ipv4Addr, bool)> {
    const TCP: u8 = 6;
    const SYN: u8 = 2;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x3fff;
    let segment = packet.get(header..total)?;
    let is_opening = *packet.get(9)? == TCP && fragment == 0 && segment.get(13)? & SYN != 0;
    if !is_opening {
        return None;
    }
    let addresses = packet.get(12..20)?;
    let length = u16::try_from(segment.len()).ok()?;
    let pseudo = sum(addresses) + u32::from(TCP) + u32::from(length);
    let source = Ipv4Addr::from(*addresses.first_chunk::<4>()?);
    Some((source, folded(pseudo + sum(segment)) == u16::MAX))
}

/// Adds up the 16-bit words of `bytes` in network byte order (RFC 1071). The sum does not overflow,
/// because TCP segments with SYN are short.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(u16::from_be_bytes([high, 0])),
        _ => 0,
    });
    words.sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Checks the packets that arrived on an interface. `steers` says whether any service is of mode
/// `tcp`.
pub(super) fn judge(interface: &str, senders: &Senders, steers: bool) -> Finding {
    let incomplete: Vec<String> = senders
        .iter()
        .filter(|(_, seen)| seen.incomplete > 0)
        .map(|(address, _)| address.to_string())
        .collect();
    let total: u32 = senders.values().map(|seen| seen.complete).sum();
    if incomplete.is_empty() {
        return match total {
            0 => CHECKSUMS.skipped(interface, "no TCP connection was opened through it"),
            _ => CHECKSUMS.ok(
                interface,
                format!("complete in all packets that opened connections: {total}"),
            ),
        };
    }
    let found = format!(
        "packets arrive with incomplete checksums, from {}",
        incomplete.join(", ")
    );
    let fix = "on these senders (in a lab or between virtual machines, also on the host between): `ethtool \
               -K eth0 tx off tso off gso off`, with the name of their interface";
    match steers {
        true => CHECKSUMS.fail(interface, format!("{found}: the packets of tcp services get wrong checksums"), fix),
        false => CHECKSUMS.warn(
            interface,
            format!("{found}: harmless for http and https services, but packets of tcp services would get wrong checksums"),
            fix,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    /// Returns an IPv4 packet: a SYN-ACK from 10.0.0.6:80 to 172.31.0.68:40000 with a correct
    /// checksum.
    fn syn_ack() -> Vec<u8> {
        let mut packet = vec![
            0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 6, 172, 31, 0, 68,
        ];
        packet.extend([
            0, 80, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        let pseudo = sum(&packet[12..20]) + 6 + 20;
        let checksum = !folded(pseudo + sum(&packet[20..]));
        packet[36..38].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn a_finished_checksum_is_told_from_the_sum_of_the_pseudo_header() {
        let mut packet = syn_ack();
        let source = Ipv4Addr::new(10, 0, 0, 6);
        assert_eq!(opening(&packet), Some((source, true)));
        // A sender that leaves the checksum to its hardware writes the sum of the pseudo-header
        // into the checksum field.
        let partial = folded(sum(&packet[12..20]) + 6 + 20);
        packet[36..38].copy_from_slice(&partial.to_be_bytes());
        assert_eq!(opening(&packet), Some((source, false)));
    }

    #[test]
    fn packets_that_open_nothing_are_not_counted() {
        let mut packet = syn_ack();
        packet[33] = 0x10;
        assert_eq!(opening(&packet), None, "an acknowledgement");
        let mut packet = syn_ack();
        packet[9] = 17;
        assert_eq!(opening(&packet), None, "UDP");
        let packet = syn_ack();
        for length in 0..packet.len() {
            assert_eq!(opening(&packet[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn incomplete_checksums_damage_tcp_services_only() {
        let seen = |complete, incomplete| {
            let counts = Seen {
                complete,
                incomplete,
            };
            Senders::from([(Ipv4Addr::new(10, 0, 0, 6), counts)])
        };
        assert_eq!(judge("eth0", &seen(3, 0), true).state, State::Ok);
        assert_eq!(judge("eth0", &seen(3, 1), true).state, State::Fail);
        assert_eq!(judge("eth0", &seen(0, 1), false).state, State::Warn);
        assert_eq!(judge("eth0", &Senders::new(), true).state, State::Skipped);
        assert!(
            judge("eth0", &seen(0, 1), true)
                .found
                .contains("from 10.0.0.6")
        );
    }
}
