//! Services, and the clients that connect to them.

use lb_common::{flow::FlowKey, host::TcpPacket};

use crate::stage::{BACKENDS, VIP};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN_ACK: u8 = 0x11;

pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;

/// The port of the service with few connections: the established connections whose packets are
/// measured, and the connections that are opened during a measurement.
pub(crate) const FEW: u16 = 80;
/// The port of the service that holds a million connections.
pub(crate) const BULK: u16 = 8001;
/// The port of the service whose connections open and close.
pub(crate) const CHURN: u16 = 8002;
/// Port of the service most of whose source ports are in use.
pub(crate) const OCCUPIED: u16 = 8003;

/// Each service with the last octets of its backends' addresses. No two services share a backend,
/// so the connections of one service do not use up the source ports of another.
pub(crate) const SERVICES: [(u16, &[u8]); 4] = [
    (FEW, &BACKENDS),
    (BULK, &octets::<190>(20)),
    (CHURN, &octets::<32>(210)),
    (OCCUPIED, &octets::<OCCUPIED_BACKENDS>(245)),
];

/// Backends of the service at [`OCCUPIED`].
pub(crate) const OCCUPIED_BACKENDS: usize = 4;

const fn octets<const COUNT: usize>(first: u8) -> [u8; COUNT] {
    let mut octets = [first; COUNT];
    let mut index = 1;
    while index < COUNT {
        octets[index] = octets[index - 1] + 1;
        index += 1;
    }
    octets
}

/// A network of clients of one service.
#[derive(Clone, Copy)]
pub(crate) struct Clients {
    /// The lowest IP address of the network.
    network: [u8; 4],
    /// Number of bits of an IP address that differ between the clients of the network.
    bits: u32,
    service: u16,
}

impl Clients {
    pub(crate) const KNOWN: Self = Self::of([198, 51, 100, 0], 8, FEW);
    pub(crate) const THOUSAND: Self = Self::of([203, 0, 112, 0], 10, FEW);
    pub(crate) const NEW: Self = Self::of([100, 96, 0, 0], 21, FEW);
    pub(crate) const MANY: Self = Self::of([198, 18, 0, 0], 16, BULK);
    pub(crate) const MILLION: Self = Self::of([100, 64, 0, 0], 21, BULK);
    pub(crate) const CHURNING: Self = Self::of([198, 19, 0, 0], 16, CHURN);
    pub(crate) const OCCUPYING: Self = Self::of([192, 168, 0, 0], 16, OCCUPIED);

    const fn of(network: [u8; 4], bits: u32, service: u16) -> Self {
        Self {
            network,
            bits,
            service,
        }
    }

    /// Returns the key of the packets of the client with this number. Clients with different
    /// numbers have different addresses or, once the addresses are used up, different ports.
    pub(crate) fn key(self, number: u32) -> FlowKey {
        let host = number & ((1 << self.bits) - 1);
        let address = u32::from_be_bytes(self.network) | host;
        let turn = u16::try_from(number >> self.bits).expect("fewer turns than ports");
        let source = (address.to_be_bytes(), FIRST_PORT + turn);
        TcpPacket::key(source, (VIP, self.service))
    }
}

const FIRST_PORT: u16 = 20_000;

/// Returns a packet of an established connection.
pub(crate) fn segment(key: FlowKey) -> Vec<u8> {
    TcpPacket::new(key, ACK).bytes()
}

/// Returns a packet that opens a connection.
pub(crate) fn syn(key: FlowKey) -> Vec<u8> {
    TcpPacket::new(key, SYN).bytes()
}

/// Returns a packet from a client to a service's address at a port that no service has, as in an
/// operator's SSH session.
pub(crate) fn not_ours() -> Vec<u8> {
    segment(TcpPacket::key(([198, 51, 100, 10], 40_000), (VIP, 22)))
}

/// Returns a packet to a service's port at an address that is not a service's.
pub(crate) fn elsewhere() -> Vec<u8> {
    let destination = ([172, 31, 0, 99], FEW);
    segment(TcpPacket::key(([198, 51, 100, 10], 40_000), destination))
}
