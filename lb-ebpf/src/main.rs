//! The XDP program of `lb`.
//!
//! Thin on purpose: the packet logic is `lb_common::steer`, and here are its two traits over
//! packet memory and BPF maps.
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod kernel;
mod maps;
mod packet;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use lb_common::{steer::steer, verdict::Verdict};

use crate::{kernel::Kernel, packet::PacketMemory};

/// Steers one packet.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb(context: XdpContext) -> u32 {
    let mut memory = PacketMemory::new(&context);
    match steer(&mut memory, &Kernel::new(&context)) {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit(_) => xdp_action::XDP_TX,
        Verdict::Redirect(_, interface) => redirected(interface),
    }
}

/// Does nothing: what a benchmark subtracts, and what makes a driver ready to receive frames that
/// are sent to it by XDP (a veth needs a program on the receiving end).
#[xdp]
fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Tells the time: the agent runs this, for it cannot read the clock that flows are dated by.
#[xdp]
fn clock(_context: XdpContext) -> u32 {
    kernel::now().0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an XDP action is a small number"
)]
#[expect(clippy::cast_sign_loss, reason = "an XDP action is not negative")]
fn redirected(interface: u32) -> u32 {
    // SAFETY: takes two numbers and touches no memory of ours.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// What the verifier asks for before it lets a program call the helpers that we use.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program in which this could be reached.
    loop {}
}
