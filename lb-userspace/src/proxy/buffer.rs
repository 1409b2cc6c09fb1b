//! A buffer that bytes are read into at its end and taken from at its beginning.

/// Bytes that arrived and were not used up yet. Its room is cleared once, when it grows.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer with that much room.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self {
            room: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// How much memory it takes up.
    pub(super) fn room(&self) -> usize {
        self.room.len()
    }

    /// The bytes that were not used up.
    pub(super) fn filled(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// The bytes that were not used up, to be changed in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    /// Whether every byte was used up.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Uses up the first `bytes` bytes.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Room to read into, not empty unless `limit` bytes wait to be used. What is filled is moved
    /// to the beginning only where there is no room behind it; the room doubles up to `limit`.
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

    /// `bytes` bytes were read into [`Self::space`].
    pub(super) fn fill(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.room.len());
    }

    /// Makes room for at least `bytes` bytes in all.
    pub(super) fn grow(&mut self, bytes: usize) {
        if self.room.len() < bytes {
            self.room.resize(bytes, 0);
        }
    }

    /// Gives back room beyond `bytes` where nothing in it waits.
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
