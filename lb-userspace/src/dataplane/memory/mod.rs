//! BPF maps that are mapped into memory. This is the only module of the agent with `unsafe`.
//!
//! An array map that was created with [`MMAPABLE`] can be mapped into the agent's address space:
//! the agent and the XDP program then share memory without system calls. Because the program, or a
//! second mapping, accesses this memory concurrently, it is exposed only as atomics.
//!
//! All other modules of the agent are free of `unsafe`; they open such maps here.
#![expect(
    unsafe_code,
    reason = "mapping memory and lending it as slices takes what the compiler cannot check"
)]

use std::{
    ffi::c_void,
    fmt,
    num::NonZeroUsize,
    os::fd::BorrowedFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU32, AtomicU64},
};

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

use super::Error;

#[cfg(test)]
mod tests;

/// The flag of array maps that can be mapped into memory (linux/bpf.h, `BPF_F_MMAPABLE`; since
/// Linux 5.5).
pub(super) const MMAPABLE: u32 = 1 << 10;

/// A BPF array map that is mapped into memory, readable and writable.
///
/// The kernel rounds each value of an array up to a multiple of eight bytes (kernel/bpf/arraymap.c,
/// `array_map_alloc`): values of four bytes lie eight bytes apart.
///
/// Access one map through only one of the two views, [`Self::words`] and [`Self::halves`]: Rust
/// does not define racing accesses of different sizes.
pub(super) struct Mapped {
    start: NonNull<c_void>,
    /// The number of bytes of values that may be accessed; at most `length`.
    bytes: usize,
    /// The number of bytes that are mapped, which is a multiple of the page size.
    length: NonZeroUsize,
}

// SAFETY: this value owns the mapping, on whichever thread, until `drop` removes it.
unsafe impl Send for Mapped {}

// SAFETY: a shared reference gives access to atomics only, which several threads may use
// concurrently.
unsafe impl Sync for Mapped {}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Mapped {
    /// Maps the first `bytes` bytes of an array map's values into memory, rounded up to whole
    /// pages.
    ///
    /// # Errors
    /// `bytes` is 0 or more than the map has, the map was created without [`MMAPABLE`] or is
    /// frozen, or the kernel has no address space left.
    pub(super) fn open(map: BorrowedFd<'_>, bytes: usize) -> Result<Self, Error> {
        let refused = |errno: Errno| Error::MapMemory {
            bytes,
            source: errno.into(),
        };
        let page = page_size().map_err(refused)?;
        let length = bytes
            .checked_next_multiple_of(page)
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| refused(Errno::EINVAL))?;
        // SAFETY: without MAP_FIXED the kernel chooses a free range, so that no memory in use is
        // replaced.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )
        }
        .map_err(refused)?;
        Ok(Self {
            start,
            bytes,
            length,
        })
    }

    /// Returns the map's values as words of eight bytes; a remainder of less than a word is left
    /// out.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page boundary, which is aligned for any atomic; `bytes`
        // bytes of it are readable, writable and initialised until `self` is dropped; every bit
        // pattern is valid; and all other writers are the kernel or other mappings, which atomics
        // allow.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 8) }
    }

    /// Returns the map's values as words of four bytes; a remainder of less than a word is left
    /// out.
    pub(super) fn halves(&self) -> &[AtomicU32] {
        // SAFETY: the same holds as for the words of eight bytes in `words`: the memory is aligned,
        // initialised and valid until `self` is dropped, and is accessed only by atomics.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 4) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `open` mapped this range for this value only, and no slice of it outlives `self`.
        // The call fails only for a range that is not mapped.
        let _unmapped = unsafe { munmap(self.start, self.length.get()) };
    }
}

fn page_size() -> Result<usize, Errno> {
    let size = sysconf(SysconfVar::PAGE_SIZE)?;
    // Linux always returns the page size. The fallback of 4,096 bytes is the smallest of any
    // architecture.
    Ok(size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096))
}
