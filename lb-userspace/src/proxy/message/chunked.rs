//! A strict decoder of the chunked coding (RFC 9112 §7.1).

use super::{Refusal, fields::is_token};

/// Limit of the chunk extensions of one body together, in bytes.
const MAX_EXTENSION_BYTES: u32 = 4096;
/// Limit of the trailers of one body together, in bytes.
const MAX_TRAILER_BYTES: u32 = 16384;
/// Limit of the hexadecimal digits of a chunk size: 16 digits fit 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Decodes the chunked coding of one body, however the body is cut into reads. Extensions and
/// trailers are validated and left out.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    extension_bytes: u32,
    trailer_bytes: u32,
}

/// What the input that [`ChunkedDecoder::step`] was given begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// All of the input was framing of the chunked coding; more input is needed.
    More,
    /// The input begins with `skip` bytes of framing, and then `length` bytes of the body, at least
    /// one.
    Data {
        /// Number of bytes of framing before the data.
        skip: usize,
        /// Number of bytes of the body after the framing.
        length: usize,
    },
    /// The body ends after the first `skip` bytes of the input, which are framing.
    End {
        /// Number of bytes of framing before the end of the body.
        skip: usize,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    /// White space after the chunk size: before an extension (where RFC 9112 §7.1.1 calls it
    /// `BWS`), or, as some servers send it, without an extension.
    SizeSpace {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    TrailerStart,
    Trailer {
        colon: bool,
    },
    TrailerLineFeed,
    EndLineFeed,
    Ended,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl ChunkedDecoder {
    /// Decodes `input`, up to the end of its first run of data. The caller must consume the bytes
    /// that the returned step describes (all of `input` for [`Step::More`]) before the next call.
    ///
    /// # Errors
    /// [`Refusal::Chunk`]: the coding is invalid, and nothing after it can be trusted.
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        loop {
            if let State::Data { left } = self.state {
                let available = input.len() - at;
                if available == 0 {
                    return Ok(Step::More);
                }
                let length = usize::try_from(left).map_or(available, |left| left.min(available));
                self.state = match left - length as u64 {
                    0 => State::DataReturn,
                    left => State::Data { left },
                };
                return Ok(Step::Data { skip: at, length });
            }
            if self.state == State::Ended {
                return Ok(Step::End { skip: at });
            }
            let Some(&byte) = input.get(at) else {
                return Ok(Step::More);
            };
            at += 1;
            self.state = self.after(byte)?;
        }
    }

    /// Returns the state of the decoder after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Refusal::Chunk);
                }
                State::Size {
                    size: size << 4 | hex_value(byte),
                    digits: digits + 1,
                }
            }
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeLineFeed { size },
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::SizeSpace { size }, b' ' | b'\t') => {
                self.count_extension_byte()?;
                State::SizeSpace { size }
            }
            (State::SizeSpace { size }, b';') => State::Extension { size },
            (State::SizeSpace { size } | State::Extension { size }, b'\r') => {
                State::SizeLineFeed { size }
            }
            (State::Extension { size }, byte) if is_text(byte) => {
                self.count_extension_byte()?;
                State::Extension { size }
            }
            (State::SizeLineFeed { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLineFeed { size }, b'\n') => State::Data { left: size },
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLineFeed,
            (State::TrailerStart, byte) => {
                self.count_trailer_byte()?;
                trailer_byte(byte, false, byte)?
            }
            (State::Trailer { colon: true }, b'\r') => State::TrailerLineFeed,
            (State::Trailer { colon }, byte) => {
                self.count_trailer_byte()?;
                trailer_byte(byte, colon, b'x')?
            }
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::EndLineFeed, b'\n') => State::Ended,
            _ => return Err(Refusal::Chunk),
        })
    }

    fn count_extension_byte(&mut self) -> Result<(), Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(Refusal::Chunk);
        }
        Ok(())
    }

    fn count_trailer_byte(&mut self) -> Result<(), Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Refusal::Chunk);
        }
        Ok(())
    }
}

/// Returns the state of the decoder after one byte of a trailer line. `colon` says whether the line
/// has had its colon. `first` is the line's first byte, which must not be a colon; the caller
/// passes a letter for it when `byte` is a later byte.
fn trailer_byte(byte: u8, colon: bool, first: u8) -> Result<State, Refusal> {
    let good = if colon {
        is_text(byte)
    } else {
        (byte == b':' && first != b':') || is_token(byte)
    };
    if good {
        Ok(State::Trailer {
            colon: colon || byte == b':',
        })
    } else {
        Err(Refusal::Chunk)
    }
}

fn hex_value(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => (digit - b'A') + 10,
    })
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type BodyAndRest = (Vec<u8>, Vec<u8>);

    /// Decodes the pieces of a body one after another, and returns the body and what follows it;
    /// `None` if the body is incomplete.
    fn decode(pieces: &[&[u8]]) -> Result<Option<BodyAndRest>, Refusal> {
        let mut decoder = ChunkedDecoder::default();
        let mut body = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let mut input = *piece;
            loop {
                match decoder.step(input)? {
                    Step::More => break,
                    Step::Data { skip, length } => {
                        body.extend_from_slice(&input[skip..skip + length]);
                        input = &input[skip + length..];
                    }
                    Step::End { skip } => {
                        let mut rest = input[skip..].to_vec();
                        rest.extend(pieces[number + 1..].concat());
                        return Ok(Some((body, rest)));
                    }
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_taken_apart() {
        let coded = b"5\r\nhello\r\n6;a=b;c=\"d\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nGET";
        assert_eq!(
            decode(&[coded]),
            Ok(Some((b"hello world".to_vec(), b"GET".to_vec())))
        );
    }

    #[test]
    fn a_broken_coding_is_refused() {
        for coded in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            "1 1\r\na\r\n",
            "1 a\r\na\r\n",
            " 1\r\na\r\n",
            "11111111111111111\r\n",
            "1;a\nb\r\n",
            "1;\0\r\n",
            "0\r\n\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n: empty\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\nspace : x\r\n\r\n",
            "0\r\na: b\n\r\n",
        ] {
            assert_eq!(
                decode(&[coded.as_bytes()]),
                Err(Refusal::Chunk),
                "{coded:?}"
            );
        }
    }

    #[test]
    fn white_space_may_stand_before_an_extension() {
        for line in ["5 ;a=b", "5\t; a = b", "5 \t ;a", "5  ", "05 ;a=\"b;c\""] {
            let coded = format!("{line}\r\nhello\r\n0 ;x\r\n\r\n");
            let whole = Ok(Some((b"hello".to_vec(), Vec::new())));
            assert_eq!(decode(&[coded.as_bytes()]), whole, "{line:?}");
        }
        let mut padded = b"1".to_vec();
        padded.resize(2 + MAX_EXTENSION_BYTES as usize, b' ');
        assert_eq!(decode(&[&padded]), Err(Refusal::Chunk));
    }

    #[test]
    fn chunk_extensions_have_a_bound() {
        let mut coded = b"1;".to_vec();
        coded.resize(2 + MAX_EXTENSION_BYTES as usize, b'a');
        assert_eq!(decode(&[&coded]), Ok(None));
        coded.push(b'a');
        assert_eq!(decode(&[&coded]), Err(Refusal::Chunk));
    }

    #[test]
    fn many_chunks_with_small_extensions_have_a_bound() {
        let coded = b"1;abcdefgh\r\nx\r\n".repeat(MAX_EXTENSION_BYTES as usize / 8 + 1);
        assert_eq!(decode(&[&coded]), Err(Refusal::Chunk));
    }

    #[test]
    fn trailers_have_a_bound() {
        let coded = [&b"0\r\na:"[..], &vec![b'x'; MAX_TRAILER_BYTES as usize]].concat();
        assert_eq!(decode(&[&coded]), Err(Refusal::Chunk));
    }

    proptest! {
        #[test]
        fn the_same_bytes_split_anywhere_give_the_same_body(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(1usize..30, 1..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut coded = Vec::new();
            let mut left = &body[..];
            for size in sizes.iter().cycle() {
                if left.is_empty() { break; }
                let (chunk, rest) = left.split_at(left.len().min(*size));
                coded.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                coded.extend(chunk);
                coded.extend(b"\r\n");
                left = rest;
            }
            coded.extend(b"0\r\nA: b\r\n\r\nnext");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(coded.len())).collect();
            cuts.extend([0, coded.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &coded[cut[0]..cut[1]]).collect();
            prop_assert_eq!(decode(&pieces), Ok(Some((body, b"next".to_vec()))));
        }

        #[test]
        fn random_bytes_never_panic_and_split_the_same(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';')], 0..60),
        ) {
            let whole = decode(&[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode(&single), whole);
        }
    }
}
