//! Generates packets of all kinds for the differential test of the packet logic in the kernel and
//! on the host.

use std::net::Ipv4Addr;

use lb_common::{
    flow::FlowKey,
    host::TcpPacket,
    verdict::{Steered, Verdict},
};

use crate::stage::VIP;

/// Generates packets of connections, mixed with packets of every other kind.
pub(super) struct Traffic {
    random: u64,
    /// The ports that steered services listen on.
    services: &'static [u16],
    /// The last connection of each client: the addresses and ports of the client's packets, and
    /// those of the backend's packets.
    begun: Vec<(FlowKey, FlowKey)>,
    /// The next packets of a connection, the last one first: their addresses and ports, and their
    /// TCP flags.
    next: Vec<(FlowKey, u8)>,
    /// Number of changes of connections that the XDP program and the library on the host have
    /// exported.
    pub(super) told: usize,
}

/// Maximum number of connections that the generator remembers.
const BEGUN: usize = 4000;

impl Traffic {
    pub(super) fn new(services: &'static [u16]) -> Self {
        Self {
            random: 2026,
            services,
            begun: Vec::new(),
            next: Vec::new(),
            told: 0,
        }
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let kind = self.below(16);
        if kind == 0 {
            return self.noise();
        }
        if self.next.is_empty() && !self.begun.is_empty() && self.below(64) == 0 {
            // Some connections must end: otherwise a small table would hold only established
            // connections.
            let which = self.below(self.begun.len());
            let (client, back) = self.begun[which];
            let ends = [(client, 0x11), (back, 0x11)];
            self.next = Vec::from(ends);
            if self.below(2) == 0 {
                self.next.reverse();
            }
        }
        let (key, flags) = match self.next.pop() {
            Some(next) if self.below(4) > 0 => next,
            _ => (self.key(), self.flags()),
        };
        let mut packet = TcpPacket::new(key, flags);
        packet.ttl = if self.below(50) == 0 {
            self.below(3) as u8
        } else {
            64
        };
        packet.vlans = (0..[0, 0, 0, 0, 0, 0, 0, 1][self.below(8)]).collect();
        packet.sequence = self.below(1 << 20) as u32;
        packet.timestamp = [None, Some(self.below(1000) as u32)][self.below(2)];
        packet.ip_options = [0, 0, 0, 3, 10][self.below(5)];
        packet.tcp_options = self.below(8);
        packet.payload = (0..self.below(300)).map(|byte| byte as u8).collect();
        let mut bytes = packet.bytes();
        match kind {
            1 => self.damage(&mut bytes, &packet),
            2 => bytes.truncate(14 + self.below(bytes.len() - 14)),
            // Six bytes of padding are added, as Ethernet adds to short frames.
            3 => bytes.extend([0; 6]),
            _ => {}
        }
        bytes
    }

    /// Records the backend to which a generated packet was steered if it began a connection, so
    /// that the packets generated later can be replies of that backend. `packet` is the packet as
    /// generated; `bytes` is the same packet as it was forwarded to the backend.
    pub(super) fn learn(&mut self, verdict: Verdict, packet: &[u8], bytes: &[u8]) {
        let (Verdict::Transmit(how) | Verdict::Redirect(how, _)) = verdict else {
            return;
        };
        let new = [Steered::NewFlow, Steered::Retried].contains(&how);
        let plain = bytes.get(12..14) == Some(&[8, 0]) && bytes.get(14) == Some(&0x45);
        if !new || !plain {
            return;
        }
        let key = |bytes: &[u8]| {
            let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            TcpPacket::key((four(26), port(34)), (four(30), port(36)))
        };
        let (client, back) = (key(packet), key(bytes).reversed());
        let mut known = self.begun.iter_mut();
        if let Some(one) = known.find(|(known, _)| *known == client) {
            one.1 = back;
        } else if self.begun.len() < BEGUN {
            self.begun.push((client, back));
        } else {
            let place = self.below(BEGUN);
            self.begun[place] = (client, back);
        }
        self.next = match self.below(6) {
            // The backend refuses the connection (0), or does not answer (1).
            0 => vec![(client, 0x02), (back, 0x14)],
            1 => Vec::new(),
            // The connection opens. Then the client or the backend closes it first, or it stays
            // open.
            ending => {
                let mut next = match ending {
                    2 | 3 => vec![(client, 0x11), (back, 0x11)],
                    4 => vec![(back, 0x11), (client, 0x11)],
                    _ => Vec::new(),
                };
                next.extend([(back, 0x10), (client, 0x10), (back, 0x12)]);
                next
            }
        };
    }

    fn key(&mut self) -> FlowKey {
        let client = Ipv4Addr::new(198, 51, 100, 10 + self.below(20) as u8).octets();
        let from = 40_000 + self.below(40) as u16;
        match self.below(8) {
            0 => TcpPacket::key((client, from), (VIP, 443)),
            1 => TcpPacket::key((client, from), (VIP, self.below(65_536) as u16)),
            2 => TcpPacket::key((client, from), ([172, 31, 0, 69], 80)),
            3 | 4 if !self.begun.is_empty() => {
                let which = self.below(self.begun.len());
                self.begun[which].1
            }
            _ => {
                let which = self.below(self.services.len());
                TcpPacket::key((client, from), (VIP, self.services[which]))
            }
        }
    }

    fn flags(&mut self) -> u8 {
        match self.below(10) {
            0..=3 => 0x02,
            4 => 0x12,
            5..=7 => 0x10,
            8 => [0x11, 0x04, 0x14][self.below(3)],
            _ => self.below(256) as u8,
        }
    }

    /// Changes a few bytes of a packet, but not the sender's address: the host's routes cover only
    /// the clients of the test.
    fn damage(&mut self, bytes: &mut [u8], packet: &TcpPacket) {
        let source = 14 + 4 * packet.vlans.len() + 12;
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len().min(100));
            if !(source..source + 4).contains(&at) && at >= 12 {
                bytes[at] = self.below(256) as u8;
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = 14 + self.below(200);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// Returns a pseudorandom number below `limit`, by SplitMix64: every run of the test has the
    /// same packets.
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 16) as usize % limit
    }
}
