//! Packet memory: where the bytes of a packet are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bytes of one packet, from its Ethernet header on.
///
/// In the kernel this is the memory between `xdp_md.data` and `xdp_md.data_end`, and every call is
/// one bounds check of the form that the verifier follows; on the host it is a slice. The packet
/// begins at an even address, and so does every header of [`wire`](crate::wire).
pub trait Memory {
    /// The `T` at `offset` bytes; `None` where the packet ends before the `T` does.
    fn at<T: FromBytes + Immutable + KnownLayout>(&self, offset: usize) -> Option<&T>;

    /// The same, to write to.
    fn at_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self, offset: usize) -> Option<&mut T>;

    /// Whether the packet has at least `length` bytes.
    fn has(&self, length: usize) -> bool;
}
