//! Forged TCP segments, as any host on the network could send them, and an observer of a
//! connection.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _},
    net::SocketAddrV4,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    host::{Host, joined},
    wait,
};

/// The control bit FIN (RFC 9293, section 3.1).
pub const FIN: u8 = 0x01;
/// The control bit SYN.
pub const SYN: u8 = 0x02;
/// The control bit RST.
pub const RST: u8 = 0x04;
/// The control bit ACK.
pub const ACK: u8 = 0x10;

/// Length of an IPv4 header without options, in bytes.
pub(crate) const IPV4_HEADER: usize = 20;

/// Length in bytes of an IPv4 packet with a TCP header, without options and data.
pub(crate) const EMPTY_SEGMENT: usize = 40;

/// Time-out of waiting for a segment of an observed connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Interval at which the capturing thread checks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// A TCP segment without data or options.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Source address and port of the segment.
    pub source: SocketAddrV4,
    /// Destination address and port of the segment.
    pub destination: SocketAddrV4,
    /// The control bits of the segment.
    pub flags: u8,
    /// The sequence number of the segment.
    pub sequence: u32,
    /// The acknowledgement number of the segment; valid only with [`ACK`].
    pub acknowledgement: u32,
}

impl Segment {
    /// Returns the segment as an IPv4 packet, with valid checksums.
    #[must_use]
    pub fn packet(&self) -> [u8; EMPTY_SEGMENT] {
        let mut packet = [0; EMPTY_SEGMENT];
        let (ipv4, tcp) = packet.split_at_mut(IPV4_HEADER);
        ipv4[0] = 0x45;
        ipv4[2..4].copy_from_slice(&(EMPTY_SEGMENT as u16).to_be_bytes());
        // The fields are time to live (64) and protocol (6, TCP).
        ipv4[8..10].copy_from_slice(&[64, 6]);
        ipv4[12..16].copy_from_slice(&self.source.ip().octets());
        ipv4[16..20].copy_from_slice(&self.destination.ip().octets());
        tcp[0..2].copy_from_slice(&self.source.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.destination.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        // This is the header's length (five words of 32 bits) in the high four bits, and the
        // control bits.
        tcp[12..14].copy_from_slice(&[0x50, self.flags]);
        tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let pseudo_header = sum(&ipv4[12..20]) + 6 + (EMPTY_SEGMENT - IPV4_HEADER) as u32;
        let checksum = folded(pseudo_header + sum(tcp));
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let checksum = folded(sum(ipv4));
        ipv4[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

/// Returns the sum of the 16-bit words of `bytes`, whose length is even (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum()
}

/// Returns the Internet checksum of data whose 16-bit words add up to `sum`.
pub(crate) fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// How far a TCP connection has got in both directions, as sequence numbers, according to the last
/// segment that its server sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The sequence number of the server's next byte, which the client expects.
    pub server: u32,
    /// The sequence number of the client's next byte, which the server expects.
    pub client: u32,
}

/// Captures the TCP segments that arrive at a host, as an observer on its link could.
#[derive(Debug)]
pub struct Tap {
    stop: Arc<AtomicBool>,
    positions: Arc<Mutex<HashMap<u16, Position>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    /// Starts capturing the segments that `server` sends to a host.
    #[must_use]
    pub fn start(host: &Host, server: SocketAddrV4) -> Self {
        let (stop, positions) = (Arc::<AtomicBool>::default(), Arc::default());
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&positions));
        let thread = host.inside(move || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            socket.set_read_timeout(Some(GLANCE))?;
            let mut buffer = vec![0; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                let length = match (&socket).read(&mut buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error).context("could not listen to TCP segments"),
                };
                if let Some((port, position)) = position(&buffer[..length], server) {
                    with(&noted, |noted| noted.insert(port, position));
                }
            }
            Ok(())
        });
        Self {
            stop,
            positions,
            thread: Some(thread),
        }
    }

    /// Waits for the next segment to this port of the host, and returns the sequence numbers that
    /// the connection has reached.
    ///
    /// # Errors
    /// When no segment arrives within 5 s.
    pub fn position(&self, port: u16) -> Result<Position> {
        wait::until("a segment of the connection", PATIENCE, || {
            Ok(with(&self.positions, |known| known.get(&port).copied()))
        })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().map(joined) {
            eprintln!("the tap did not listen to the end: {error:#}");
        }
    }
}

fn with<T>(
    positions: &Mutex<HashMap<u16, Position>>,
    look: impl FnOnce(&mut HashMap<u16, Position>) -> T,
) -> T {
    look(&mut positions.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns the client's port and the sequence numbers that the connection has reached, according to
/// a packet from `server`; `None` for a packet from another sender or without an acknowledgement.
fn position(packet: &[u8], server: SocketAddrV4) -> Option<(u16, Position)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let tcp = packet.get(header..)?;
    let short = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let from = (packet.get(12..16)?, short(0)?);
    let flags = *tcp.get(13)?;
    if from != (&server.ip().octets()[..], server.port()) || flags & ACK == 0 {
        return None;
    }
    let data = tcp.len().checked_sub(usize::from(tcp.get(12)? >> 4) * 4)?;
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let position = Position {
        server: long(4)?.wrapping_add(data as u32).wrapping_add(controls),
        client: long(8)?,
    };
    Some((short(2)?, position))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn segment() -> Segment {
        Segment {
            source: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 74), 80),
            destination: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 10), 40_000),
            flags: FIN | ACK,
            sequence: u32::MAX,
            acknowledgement: 0x0102_0304,
        }
    }

    #[test]
    fn both_checksums_of_a_packet_are_right() {
        let packet = segment().packet();
        assert_eq!(folded(sum(&packet[..20])), 0);
        let pseudo_header = sum(&packet[12..20]) + 6 + 20;
        assert_eq!(folded(pseudo_header + sum(&packet[20..])), 0);
    }

    #[test]
    fn a_position_is_read_from_the_server_s_segments_alone() {
        let sent = segment();
        let expected = Position {
            // The segment's FIN counts as one byte, and the server's sequence number wraps around
            // to 0.
            server: 0,
            client: 0x0102_0304,
        };
        assert_eq!(
            position(&sent.packet(), sent.source),
            Some((40_000, expected))
        );
        assert_eq!(position(&sent.packet(), sent.destination), None);
        assert_eq!(position(&sent.packet()[..39], sent.source), None);
        let unacknowledged = Segment { flags: RST, ..sent };
        assert_eq!(position(&unacknowledged.packet(), sent.source), None);
    }
}
