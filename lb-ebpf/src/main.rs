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
mod shared;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{
    steer::{Part, Step, steer_changing, steer_known, steer_new},
    tables::Tables as _,
    verdict::{DropReason, Verdict},
};

use crate::{
    kernel::Kernel,
    maps::{INTERFACES, PROGRAMS},
    packet::PacketMemory,
};

/// Steers a packet that changes nothing, and hands every other on.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb(context: XdpContext) -> u32 {
    match steer_known(&mut PacketMemory::new(&context), &Kernel::new(&context)) {
        Step::Done(verdict) => action(verdict),
        Step::Next(part) => hand_on(&context, part),
    }
}

/// Steers a packet of a known connection that may change it.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb_changing(context: XdpContext) -> u32 {
    match steer_changing(&mut PacketMemory::new(&context), &Kernel::new(&context)) {
        Step::Done(verdict) => action(verdict),
        Step::Next(part) => hand_on(&context, part),
    }
}

/// Steers a packet that may begin a connection.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb_new(context: XdpContext) -> u32 {
    action(steer_new(
        &mut PacketMemory::new(&context),
        &Kernel::new(&context),
    ))
}

/// Hands a packet on to the program of another part, which parses it again.
#[inline(always)]
fn hand_on(context: &XdpContext, part: Part) -> u32 {
    // SAFETY: nothing here has a destructor, and the packet is as it came.
    unsafe { PROGRAMS.tail_call(context, part as u32) };
    Kernel::new(context).count_verdict(Verdict::Drop(DropReason::NoProgram));
    xdp_action::XDP_DROP
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit(_) => xdp_action::XDP_TX,
        Verdict::Redirect(_, interface) => {
            // It was there a moment ago, when the packet was counted as sent.
            INTERFACES
                .redirect(interface, 0)
                .unwrap_or_else(|action| action)
        }
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

/// Whether this machine's CPUs order loads more weakly than x86 does: 1 where they do. The agent sets it
/// before it loads the program, and the verifier removes what it switches off.
#[unsafe(no_mangle)]
static WEAKLY_ORDERED: u8 = 0;

#[inline(always)]
fn weakly_ordered() -> bool {
    // SAFETY: a byte of the object's own read-only data; volatile, for the loader sets it.
    unsafe { core::ptr::read_volatile(&raw const WEAKLY_ORDERED) != 0 }
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
