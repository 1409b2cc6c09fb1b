//! The hash that flows are spread by: the same on every host, so that a peer picks the same
//! backend and the same source port for a flow.

use crate::flow::FlowKey;

/// Spreads a flow over 32 bits.
#[inline(always)]
pub(crate) fn of_flow(key: &FlowKey) -> u32 {
    let addresses = u64::from(u32::from_be_bytes(key.source)) << 32
        | u64::from(u32::from_be_bytes(key.destination));
    let ports = u64::from(key.source_port) << 32
        | u64::from(key.destination_port) << 16
        | u64::from(key.protocol);
    mixed(addresses ^ u64::from(mixed(ports)).rotate_left(17))
}

/// Spreads a client's address over 32 bits.
#[inline(always)]
pub(crate) fn of_source(key: &FlowKey) -> u32 {
    mixed(u64::from(u32::from_be_bytes(key.source)))
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
