//! Maps of the kernel as memory: the one room of the agent with `unsafe`.
//!
//! An array map that was created with [`MMAPABLE`] can be mapped into the agent's address space:
//! what the agent stores there, the XDP program loads, and the other way round, without a system
//! call. Since the program, or a second mapping, reads and writes the same memory at the same
//! time, it is offered as atomics only.
//!
//! Everything else in the agent stays without `unsafe`: a room that wants such a map opens it here.
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

/// The flag of an array map that can be mapped (linux/bpf.h, `BPF_F_MMAPABLE`; Linux 5.5).
pub(super) const MMAPABLE: u32 = 1 << 10;

/// An array map of the kernel, mapped readable and writable. The mapping keeps the kernel's map
/// alive, with or without its file descriptor, and ends with this value.
///
/// The kernel rounds each value of an array up to a multiple of eight bytes (kernel/bpf/arraymap.c,
/// `array_map_alloc`): values of four bytes lie eight bytes apart.
///
/// Look at one map through one of the two views: Rust gives no meaning to accesses of different
/// sizes that race.
pub(super) struct Mapped {
    start: NonNull<c_void>,
    /// Bytes that are lent; at most `length`.
    bytes: usize,
    /// Bytes that are mapped: whole pages.
    length: NonZeroUsize,
}

// SAFETY: the memory belongs to this value alone, whichever thread it is on, until it is unmapped
// by `drop`.
unsafe impl Send for Mapped {}

// SAFETY: a shared reference gives atomics, which any number of threads may use at once.
unsafe impl Sync for Mapped {}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Mapped {
    /// Maps the first `bytes` bytes of the values of an array map, rounded up to whole pages.
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
        // SAFETY: without MAP_FIXED the kernel chooses a free place, so that no memory that is in
        // use is replaced.
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

    /// The values as words of eight bytes; a rest of less than eight bytes is left out.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, which is aligned for any atomic; it is readable and
        // writable for `bytes` bytes, all of which are initialised, until `self` is dropped; every
        // bit pattern is a number; and whoever else writes there is the kernel or another mapping,
        // which atomics allow for.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 8) }
    }

    /// The values as words of four bytes; a rest of less than four bytes is left out.
    pub(super) fn halves(&self) -> &[AtomicU32] {
        // SAFETY: as in `words`.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 4) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this range was mapped by `open` and by nobody else, and no slice of it outlives
        // `self`. It fails for a range that is not mapped only.
        let _unmapped = unsafe { munmap(self.start, self.length.get()) };
    }
}

fn page_size() -> Result<usize, Errno> {
    let size = sysconf(SysconfVar::PAGE_SIZE)?;
    // Linux always says one; 4,096 is the smallest of any architecture.
    Ok(size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096))
}
