//! The interface to measured balancers, and `lb` (Katran is in a separate file).

use std::time::Duration;

use lb_common::{flow::FlowKey, host::TcpPacket};

use crate::{
    packets::{ACK, FIN_ACK, SYN, SYN_ACK, XDP_TX},
    stage::Stage,
};

/// An XDP program that steers TCP connections, fed one packet at a time.
pub(crate) trait Balancer: Sync {
    /// Feeds one packet. Returns the XDP action and the time reported by the kernel; the resulting
    /// packet is in `out`.
    fn feed(&self, packet: &[u8], out: &mut Vec<u8>) -> (u32, Duration);

    /// Establishes a client's connection on each of `cpus`, or on this thread's CPU if `cpus` is
    /// empty. Returns whether all packets were forwarded.
    fn open(&self, client: FlowKey, cpus: &[usize], out: &mut Vec<u8>) -> bool;

    /// Like [`Self::open`], for a connection that first its client and then its backend closes
    /// immediately.
    fn open_and_close(&self, client: FlowKey, out: &mut Vec<u8>) -> bool;

    /// Prepares for up to 100,000 new connections, which are opened after this call; by default
    /// there is nothing to prepare.
    fn before_new(&self) {}
}

/// The balancer `lb`, which sees both directions of a connection.
pub(crate) struct Lb<'a> {
    /// The test stage on which the XDP program of `lb` is loaded.
    pub(crate) stage: &'a Stage,
}

impl Lb<'_> {
    /// Feeds a SYN; returns the key of the backend's packets, or `None` if it was not forwarded.
    pub(crate) fn begin(&self, client: FlowKey, out: &mut Vec<u8>) -> Option<FlowKey> {
        let (action, _) = self.stage.feed(&TcpPacket::new(client, SYN).bytes(), out);
        (action == XDP_TX).then(|| answers(out))
    }

    fn sends_on(&self, key: FlowKey, flags: u8, out: &mut Vec<u8>) -> bool {
        let (action, _) = self.stage.feed(&TcpPacket::new(key, flags).bytes(), out);
        action == XDP_TX
    }

    /// Establishes a connection; returns the key of the backend's packets.
    pub(crate) fn establish(&self, client: FlowKey, out: &mut Vec<u8>) -> Option<FlowKey> {
        let back = self.begin(client, out)?;
        let established = self.sends_on(back, SYN_ACK, out) && self.sends_on(client, ACK, out);
        established.then_some(back)
    }
}

impl Balancer for Lb<'_> {
    fn feed(&self, packet: &[u8], out: &mut Vec<u8>) -> (u32, Duration) {
        self.stage.feed(packet, out)
    }

    fn open(&self, client: FlowKey, _cpus: &[usize], out: &mut Vec<u8>) -> bool {
        self.establish(client, out).is_some()
    }

    fn open_and_close(&self, client: FlowKey, out: &mut Vec<u8>) -> bool {
        self.establish(client, out).is_some_and(|back| {
            self.sends_on(client, FIN_ACK, out)
                && self.sends_on(back, FIN_ACK, out)
                && self.sends_on(client, ACK, out)
        })
    }
}

/// Returns the key of the replies to a packet, which is given as it reached the backend.
fn answers(packet: &[u8]) -> FlowKey {
    let address = |at: usize| [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    TcpPacket::key((address(30), port(36)), (address(26), port(34)))
}
