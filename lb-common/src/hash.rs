//! Hash functions for flows and connections.

use crate::{connection::ClientKey, flow::FlowKey};

/// Hashes a flow to 32 bits. The result is the same on every host, so both hosts of a pair pick the
/// same backend.
#[inline(always)]
pub(crate) fn of_flow(key: &FlowKey) -> u32 {
    let addresses = u64::from(u32::from_be_bytes(key.source)) << 32
        | u64::from(u32::from_be_bytes(key.destination));
    let ports = u64::from(key.source_port) << 32
        | u64::from(key.destination_port) << 16
        | u64::from(key.protocol);
    mixed(addresses ^ u64::from(mixed(ports)).rotate_left(17))
}

/// Hashes a client's address to 32 bits. The result is the same on every host.
#[inline(always)]
pub(crate) fn of_source(key: &FlowKey) -> u32 {
    mixed(u64::from(u32::from_be_bytes(key.source)))
}

/// Hashes a connection to 64 bits with a secret of this host. An attacker who does not know the
/// secret cannot choose connections that all fall into one bucket of the connection table, nor
/// connections that all get the same source address towards a backend and so compete for its ports.
#[inline(always)]
pub(crate) const fn of_connection(key: &ClientKey, secret: [u64; 2]) -> u64 {
    let mut bits = (key.addresses() ^ secret[0]).wrapping_mul(0x9fb2_1c65_1e98_df25);
    bits ^= bits >> 32;
    bits = (bits ^ key.ports() as u64 ^ secret[1]).wrapping_mul(0x9fb2_1c65_1e98_df25);
    bits ^ (bits >> 29)
}

/// Mixes the bits with the finalizer of MurmurHash3 (64 bits), and returns the upper half.
#[inline(always)]
fn mixed(mut bits: u64) -> u32 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^= bits >> 33;
    (bits >> 32) as u32
}
