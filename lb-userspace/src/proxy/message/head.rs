//! Finds the end of a message's head in bytes that arrive in several reads.

use super::Refusal;

/// Finds the empty line that ends a head, visiting every byte once, into however many reads the
/// head is cut, and rejects lines that do not end in CR LF.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HeadScanner {
    /// Offset in the input of the beginning of the line that is not complete yet.
    line: usize,
    /// Offset in the input up to which LF was searched for.
    seen: usize,
}

impl HeadScanner {
    /// Returns the length of the head in bytes, including its empty line; `None` while the head is
    /// incomplete. `input` begins with the head and may only grow between calls: after consuming
    /// bytes of the input, the caller must use a new scanner.
    ///
    /// # Errors
    /// [`Refusal::BareLineEnd`]: a line ends in LF alone.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = memchr::memchr(b'\n', &input[self.seen..]) {
            let end = self.seen + offset;
            if end == self.line || input[end - 1] != b'\r' {
                return Err(Refusal::BareLineEnd);
            }
            if end - 1 == self.line {
                return Ok(Some(end + 1));
            }
            self.line = end + 1;
            self.seen = end + 1;
        }
        self.seen = input.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_after_its_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        assert_eq!(HeadScanner::default().scan(head), Ok(Some(27)));
    }

    #[test]
    fn a_line_that_ends_in_line_feed_alone_is_refused() {
        for head in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"\n",
        ] {
            assert_eq!(
                HeadScanner::default().scan(head),
                Err(Refusal::BareLineEnd),
                "{}",
                head.escape_ascii()
            );
        }
    }

    #[test]
    fn bytes_that_arrive_one_by_one_give_the_same_end() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut scanner = HeadScanner::default();
        for length in 0..head.len() {
            assert_eq!(scanner.scan(&head[..length]), Ok(None), "{length}");
        }
        assert_eq!(scanner.scan(head), Ok(Some(head.len())));
    }
}
