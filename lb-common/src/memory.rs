//! Access to the bytes of a packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bytes of one packet, from its Ethernet header on.
///
/// In the kernel this is the memory between `xdp_md.data` and `xdp_md.data_end`, and every call is
/// one bounds check of a form that the verifier understands; on the host it is a slice. The packet
/// begins at an even address, and so does every header of [`wire`](crate::wire).
pub trait Memory {
    /// Returns the `T` at `offset` bytes; `None` if it extends past the end of the packet.
    fn at<T: FromBytes + Immutable + KnownLayout>(&self, offset: usize) -> Option<&T>;

    /// Like [`Self::at`], but returns a mutable reference.
    fn at_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self, offset: usize) -> Option<&mut T>;

    /// Whether the packet has at least `length` bytes.
    fn has(&self, length: usize) -> bool;
}
