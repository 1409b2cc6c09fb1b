//! Memory of maps that other CPUs and the agent access concurrently.

use core::arch::asm;

use lb_common::{
    limits::PORTS_PER_LINE,
    tables::{Ports, Words},
};

use crate::maps::Line;

/// A value of a map, accessed as words of eight bytes.
#[derive(Clone, Copy)]
pub(crate) struct MapWords(*mut u64);

impl MapWords {
    /// Gives access to the words of a value that consists of numbers only.
    pub(crate) const fn new<T>(value: *mut T) -> Self {
        Self(value.cast())
    }
}

impl Words for MapWords {
    #[inline(always)]
    fn load(&self, word: usize) -> u64 {
        // SAFETY: the pointer is to a word of a value that the map holds for as long as the program
        // runs, aligned as every value of an array is; callers name words within the value, which
        // the verifier checks.
        unsafe { self.0.add(word).read_volatile() }
    }

    #[inline(always)]
    fn store(&self, word: usize, value: u64) {
        // SAFETY: the pointer is valid as in `load`.
        unsafe { self.0.add(word).write_volatile(value) };
    }

    #[inline(always)]
    fn exchange(&self, word: usize, old: u64, new: u64) -> bool {
        let found: u64;
        // SAFETY: the pointer is valid as in `load`. The instruction is `BPF_CMPXCHG` (Linux 5.12),
        // for which rustc has no atomic type on this target; it is fully ordered
        // (Documentation/bpf/standardization/instruction-set.rst), and the asm block orders the
        // compiler's own loads and stores.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) self.0.add(word),
                new = in(reg) new,
                inlateout("r0") old => found,
            );
        }
        found == old
    }
}

/// A line of source ports: sixteen words of 32 bits, one for each of sixteen adjacent ports of one
/// source address towards one backend. A word says which connection holds the port, or since when
/// it is free. A line is a value of an inner map of `source_ports`.
#[derive(Clone, Copy)]
pub(crate) struct MapPorts(*mut u32);

impl MapPorts {
    pub(crate) const fn new(line: *mut Line) -> Self {
        Self(line.cast())
    }
}

impl Ports for MapPorts {
    #[inline(always)]
    fn load(&self, port: u32) -> u32 {
        let port = (port % PORTS_PER_LINE) as usize;
        // SAFETY: the pointer is to one of the sixteen numbers of the line.
        unsafe { self.0.add(port).read_volatile() }
    }

    #[inline(always)]
    fn exchange(&self, port: u32, old: u32, new: u32) -> bool {
        let port = (port % PORTS_PER_LINE) as usize;
        let found: u64;
        // SAFETY: the pointer is to one of the sixteen numbers of the line; otherwise as in
        // `MapWords::exchange`, with the instruction for four bytes.
        unsafe {
            asm!(
                "w0 = cmpxchg32_32(r1 + 0, w0, w2)",
                in("r1") self.0.add(port),
                in("r2") u64::from(new),
                inlateout("r0") u64::from(old) => found,
            );
        }
        found == u64::from(old)
    }
}

/// Orders all loads before the call before all loads after it.
///
/// The compiler keeps volatile loads in order, and so does x86. CPUs with weaker ordering execute
/// an atomic instruction on the stack, which is a full barrier.
#[inline(always)]
pub(crate) fn order_loads() {
    if crate::weakly_ordered() {
        let mut word = 0_u64;
        // SAFETY: the instruction changes only a word on this function's own stack.
        unsafe {
            asm!(
                "lock *(u64 *)({word} + 0) += {zero}",
                word = in(reg) &raw mut word,
                zero = in(reg) 0_u64,
            );
        }
    }
}
