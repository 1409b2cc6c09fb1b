//! The hashes that connections are spread by.

use crate::{connection::ClientKey, flow::FlowKey};

/// Spreads a flow over 32 bits: the same on every host, so that a peer picks the same backend.
#[inline(always)]
pub(crate) fn of_flow(key: &FlowKey) -> u32 {
    let addresses = u64::from(u32::from_be_bytes(key.source)) << 32
        | u64::from(u32::from_be_bytes(key.destination));
    let ports = u64::from(key.source_port) << 32
        | u64::from(key.destination_port) << 16
        | u64::from(key.protocol);
    mixed(addresses ^ u64::from(mixed(ports)).rotate_left(17))
}

/// Spreads a client's address over 32 bits: the same on every host.
#[inline(always)]
pub(crate) fn of_source(key: &FlowKey) -> u32 {
    mixed(u64::from(u32::from_be_bytes(key.source)))
}

/// Spreads a connection over 64 bits, by a secret of this host: who does not know it cannot choose
/// connections that meet in one bucket, or at the same source ports.
#[inline(always)]
pub(crate) const fn of_connection(key: &ClientKey, secret: [u64; 2]) -> u64 {
    let mut bits = (key.addresses() ^ secret[0]).wrapping_mul(0x9fb2_1c65_1e98_df25);
    bits ^= bits >> 32;
    bits = (bits ^ key.ports() as u64 ^ secret[1]).wrapping_mul(0x9fb2_1c65_1e98_df25);
    bits ^ (bits >> 29)
}

/// The finalizer of MurmurHash3 (64 bits), of which the upper half is kept.
#[inline(always)]
fn mixed(mut bits: u64) -> u32 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^= bits >> 33;
    (bits >> 32) as u32
}
