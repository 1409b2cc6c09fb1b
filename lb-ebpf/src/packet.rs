//! Packet memory under XDP.

use aya_ebpf::programs::XdpContext;
use lb_common::memory::Memory;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bytes of a packet, between `data` and `data_end` of the XDP context.
pub(crate) struct PacketMemory<'a> {
    context: &'a XdpContext,
}

impl<'a> PacketMemory<'a> {
    pub(crate) const fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// Returns the address of the `T` at `offset` in the packet; `None` if it extends past the end.
    ///
    /// The comparison is `start + length > end`, with the pointer itself on the left: the form from
    /// which the verifier derives the bounds of the packet (kernel/bpf/verifier.c,
    /// `try_match_pkt_pointers`).
    #[inline(always)]
    fn address<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.context.data() + offset;
        if start + size_of::<T>() > self.context.data_end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Memory for PacketMemory<'_> {
    #[inline(always)]
    fn at<T: FromBytes + Immutable + KnownLayout>(&self, offset: usize) -> Option<&T> {
        // SAFETY: the `T` lies within the packet, which this program owns until it returns; any
        // bytes are a valid `T`; it begins at an even address, as drivers ensure; and nothing
        // writes while `self` is borrowed.
        self.address::<T>(offset)
            .map(|address| unsafe { &*address })
    }

    #[inline(always)]
    fn at_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: the `T` is valid as in `at`, and `self` is borrowed for this one reference alone.
        self.address::<T>(offset)
            .map(|address| unsafe { &mut *address })
    }

    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        self.context.data_end() - self.context.data() >= length
    }
}
