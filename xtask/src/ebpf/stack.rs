//! The stack usage of functions in eBPF objects.

/// Stack limit in bytes of a program with the functions that it calls (linux/filter.h,
/// `MAX_BPF_STACK`).
pub(crate) const STACK_BUDGET: usize = 512;

/// Kernels before 6.8, and those that interpret programs, round the size of each stack frame up to
/// a multiple of this many bytes; later kernels round it to a multiple of half of it
/// (kernel/bpf/verifier.c, `check_max_stack_depth`).
const ROUNDED_TO: usize = 32;

/// The eBPF register that points to the end of the stack frame, `r10`.
const FRAME: u8 = 10;
/// Opcode of the instruction that copies a register: `BPF_ALU64 | BPF_MOV | BPF_X`.
const COPY: u8 = 0xbf;
/// Opcode of the instruction that adds a constant to a register: `BPF_ALU64 | BPF_ADD | BPF_K`.
const ADD: u8 = 0x07;

/// Returns the size of a function's stack frame in bytes: the farthest offset from the frame
/// pointer that an instruction, or a pointer into the frame, reaches.
pub(super) fn frame(code: &[u8]) -> usize {
    let mut deepest = 0;
    let mut copied = None;
    for instruction in code.chunks_exact(8) {
        let &[opcode, registers, o0, o1, i0, i1, i2, i3] = instruction else {
            continue;
        };
        let (destination, source) = (registers & 0x0f, registers >> 4);
        let offset = i64::from(i16::from_le_bytes([o0, o1]));
        let immediate = i64::from(i32::from_le_bytes([i0, i1, i2, i3]));
        // Only instructions of the classes BPF_LDX, BPF_ST and BPF_STX access memory.
        let base = match opcode & 0x07 {
            1 => Some(source),
            2 | 3 => Some(destination),
            _ => None,
        };
        if base == Some(FRAME) {
            deepest = deepest.min(offset);
        }
        if opcode == ADD && copied == Some(destination) {
            deepest = deepest.min(immediate);
        }
        copied = (opcode == COPY && source == FRAME).then_some(destination);
    }
    let bytes = usize::try_from(-deepest).unwrap_or(0);
    bytes.next_multiple_of(ROUNDED_TO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reaches_as_far_as_its_deepest_access() {
        let store = [0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0]; // *(u64 *)(r10 - 24) = r1
        let copy = [0xbf, 0xa2, 0, 0, 0, 0, 0, 0]; // r2 = r10
        let moved = [0x07, 0x02, 0, 0, 0xd0, 0xff, 0xff, 0xff]; // r2 += -48
        let elsewhere = [0x07, 0x03, 0, 0, 0x00, 0xff, 0xff, 0xff]; // r3 += -256
        assert_eq!(frame(&store), 32);
        assert_eq!(frame(&[store, copy, moved].concat()), 64);
        assert_eq!(frame(&[store, copy, elsewhere].concat()), 32);
        assert_eq!(frame(&[]), 0);
    }
}
