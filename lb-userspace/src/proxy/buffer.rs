//! A buffer that is filled at its end and consumed from its beginning.

/// Received bytes that are not consumed yet. The buffer's memory is zeroed only when it grows.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Creates an empty buffer with a capacity of this many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self {
            room: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// Returns the capacity of the buffer in bytes.
    pub(super) fn room(&self) -> usize {
        self.room.len()
    }

    /// Returns the bytes that are not consumed yet.
    pub(super) fn filled(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// Returns the bytes that are not consumed yet, so that they can be changed in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    /// Returns whether the buffer has no unconsumed bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Consumes the first `bytes` of the bytes that are not consumed yet.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Discards all bytes that the buffer has.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Returns the free space of the buffer, to read into; it is empty only if `limit` bytes are
    /// unconsumed. Unconsumed bytes are moved to the beginning only if there is no space behind
    /// them; if there is none before them either, the capacity doubles, up to `limit` bytes.
    pub(super) fn space(&mut self, limit: usize) -> &mut [u8] {
        if self.end == self.room.len() {
            if self.start > 0 {
                self.room.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                let room = (self.room.len() * 2).max(1024).min(limit);
                if room > self.room.len() {
                    self.room.resize(room, 0);
                }
            }
        }
        &mut self.room[self.end..]
    }

    /// Marks the first `bytes` bytes of [`Self::space`] as filled.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.room.len());
    }

    /// Grows the capacity of the buffer to at least `bytes`.
    pub(super) fn grow(&mut self, bytes: usize) {
        if self.room.len() < bytes {
            self.room.resize(bytes, 0);
        }
    }

    /// Reduces the capacity of the buffer to `bytes` if the buffer is empty.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if self.is_empty() && self.room.len() > bytes {
            self.clear();
            self.room.truncate(bytes);
            self.room.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(buffer: &mut Buffer, bytes: &[u8], limit: usize) -> usize {
        let space = buffer.space(limit);
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        buffer.fill(count);
        count
    }

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut buffer = Buffer::with_room(4);
        assert_eq!(push(&mut buffer, b"abcdef", 4), 4);
        buffer.consume(3);
        assert_eq!(push(&mut buffer, b"ef", 4), 2);
        assert_eq!(buffer.filled(), b"def");
    }

    #[test]
    fn the_room_ends_at_its_limit() {
        let mut buffer = Buffer::with_room(2);
        assert_eq!(push(&mut buffer, b"ab", 5), 2);
        assert_eq!(push(&mut buffer, b"cdefgh", 5), 3);
        assert_eq!(push(&mut buffer, b"x", 5), 0);
        assert_eq!(buffer.filled(), b"abcde");
    }
}
