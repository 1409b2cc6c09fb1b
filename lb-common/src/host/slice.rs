//! A packet as a slice of bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::Memory;

/// A packet as a slice of bytes. It begins at an even address, as the contents of a `Vec` do.
#[derive(Debug)]
pub struct Slice<'a>(pub &'a mut [u8]);

impl Memory for Slice<'_> {
    fn at<T: FromBytes + Immutable + KnownLayout>(&self, offset: usize) -> Option<&T> {
        T::ref_from_prefix(self.0.get(offset..)?)
            .ok()
            .map(|(header, _rest)| header)
    }

    fn at_mut<T: FromBytes + IntoBytes + KnownLayout>(&mut self, offset: usize) -> Option<&mut T> {
        T::mut_from_prefix(self.0.get_mut(offset..)?)
            .ok()
            .map(|(header, _rest)| header)
    }

    fn has(&self, length: usize) -> bool {
        self.0.len() >= length
    }
}
