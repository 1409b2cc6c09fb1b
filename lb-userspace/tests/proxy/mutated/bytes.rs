//! Reproducible random numbers, and mutations of bytes.

use std::{io, thread, time::Duration};

/// A generator of pseudorandom numbers, which are the same for the same seed (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    /// Returns the generator for the connection or response with this number.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a pseudorandom number from 0 to `most` - 1.
    pub(super) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    /// Returns true with a probability of 1 in `times`.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    pub(super) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

/// Strings that parsers of HTTP/1 look for, which mutations insert.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b":",
    b" ",
    b"\t",
    b"\0",
    b";",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"18446744073709551616",
    b"-1",
    b"HTTP/1.0",
    b"\r\nContent-Length: 5",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nConnection: close",
    b"\r\nConnection: upgrade\r\nUpgrade: x",
    b"\r\nExpect: 100-continue",
    b"HEAD",
    b"CONNECT",
];

/// Mutates these bytes in one to four places.
pub(super) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let place = random.below(bytes.len());
        let some = (place + 1 + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes[place] = random.byte(),
            2 => bytes.insert(place, random.byte()),
            3 => drop(bytes.drain(place..some)),
            4 => drop(bytes.splice(place..place, random.pick(TOKENS).iter().copied())),
            5 => {
                let again = bytes[place..some].to_vec();
                drop(bytes.splice(place..place, again));
            }
            _ if random.one_in(4) => bytes.truncate(place),
            _ => bytes.swap(place, some - 1),
        }
    }
}

/// Sends bytes in one to four pieces with pauses. Returns whether `send` accepted all of them.
pub(super) fn send_in_pieces(
    random: &mut Random,
    mut bytes: &[u8],
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> bool {
    for _ in 0..random.below(4) {
        let (piece, rest) = bytes.split_at(random.below(bytes.len() + 1));
        if send(piece).is_err() {
            return false;
        }
        // One pause in a hundred is longer than the front's timeouts in this test.
        let pause = match random.below(100) {
            0 => 1_200,
            1..=20 => 10,
            pause => pause % 3,
        };
        thread::sleep(Duration::from_millis(pause as u64));
        bytes = rest;
    }
    send(bytes).is_ok()
}
