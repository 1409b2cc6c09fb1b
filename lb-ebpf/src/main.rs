//! The XDP program of `lb`.
//!
//! Deliberately thin: the packet logic is `lb_common::steer`; this crate implements its two traits
//! over packet memory and BPF maps.
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

/// Handles packets that do not change their connection, and passes all others by a tail call to the
/// program `lb_changing` or `lb_new`.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb(context: XdpContext) -> u32 {
    match steer_known(&mut PacketMemory::new(&context), &Kernel::new(&context)) {
        Step::Done(verdict) => action(verdict),
        Step::Next(part) => hand_on(&context, part),
    }
}

/// Handles packets of known connections that may change their connection.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb_changing(context: XdpContext) -> u32 {
    match steer_changing(&mut PacketMemory::new(&context), &Kernel::new(&context)) {
        Step::Done(verdict) => action(verdict),
        Step::Next(part) => hand_on(&context, part),
    }
}

/// Handles packets that may open a connection.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro hands it over")]
fn lb_new(context: XdpContext) -> u32 {
    action(steer_new(
        &mut PacketMemory::new(&context),
        &Kernel::new(&context),
    ))
}

/// Passes a packet by a tail call to the program that handles `part` of the steering: `lb_changing`
/// or `lb_new`. That program parses the packet again.
#[inline(always)]
fn hand_on(context: &XdpContext, part: Part) -> u32 {
    // SAFETY: no value in this function has a destructor, and the packet is unmodified.
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
            // The interface is in the map `interfaces`: `can_send` found it there before the packet
            // was counted as redirected.
            INTERFACES
                .redirect(interface, 0)
                .unwrap_or_else(|action| action)
        }
    }
}

/// Does nothing: the baseline of benchmarks, and the program that a driver needs to receive
/// redirected frames (a veth needs one on the receiving end).
#[xdp]
fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Returns the time in ticks of the kernel's clock. The agent runs this program, because it has no
/// other way to read the clock by which connections are dated.
#[xdp]
fn clock(_context: XdpContext) -> u32 {
    kernel::now().0
}

/// 1 if the CPUs order loads more weakly than x86 does. The agent sets the value before it loads
/// the program, and the verifier then removes the code that it makes unreachable.
#[unsafe(no_mangle)]
static WEAKLY_ORDERED: u8 = 0;

#[inline(always)]
fn weakly_ordered() -> bool {
    // SAFETY: the pointer is to a byte of the object's read-only data; volatile, because the loader
    // sets it.
    unsafe { core::ptr::read_volatile(&raw const WEAKLY_ORDERED) != 0 }
}

/// The program's licence, which the verifier requires for some of the helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program in which this loop could be reached.
    loop {}
}
