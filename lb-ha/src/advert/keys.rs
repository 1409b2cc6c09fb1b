//! The keys that adverts are signed with.

use std::{collections::VecDeque, fmt, num::NonZeroU8, ops::RangeInclusive};

/// A key that adverts are signed with, and the number of the key; both are the same on both hosts.
#[derive(Clone, Eq, PartialEq)]
pub struct Key {
    id: NonZeroU8,
    /// The secret, padded with zeros to the block size of the hash, as HMAC does.
    secret: [u8; 64],
}

impl Key {
    /// Valid lengths of a key's secret, in bytes.
    pub const LENGTH: RangeInclusive<usize> = 32..=64;

    /// Creates a key; `None` if the secret is shorter than 32 bytes or longer than 64.
    #[must_use]
    pub fn new(id: NonZeroU8, secret: &[u8]) -> Option<Self> {
        Self::LENGTH.contains(&secret.len()).then(|| {
            let mut padded = [0; 64];
            padded[..secret.len()].copy_from_slice(secret);
            Self { id, secret: padded }
        })
    }

    pub(super) fn secret(&self) -> &[u8; 64] {
        &self.secret
    }

    /// Returns the number of the key, which trailers carry.
    #[must_use]
    pub fn id(&self) -> NonZeroU8 {
        self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.id)
    }
}

/// The keys of a virtual router: the first signs adverts, all of them verify adverts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

impl Keys {
    /// Returns a set of keys that consists of this key.
    #[must_use]
    pub fn one(key: Key) -> Self {
        Self {
            first: key,
            others: Vec::new(),
        }
    }

    /// Reads the file that the configuration names. Each line is a key: `hex:` and 64 to 128
    /// hexadecimal digits, or 32 to 64 other characters. A line may begin with the key's number (1
    /// to 255) and a space; without a number it is 1. The first line's key signs and all keys
    /// verify, so a key is replaced by adding the new one on both hosts, then putting it first,
    /// then removing the old one. A key file of keepalived has this format.
    ///
    /// # Errors
    /// The first line that is not a key, a number that occurs twice, or a file without keys. The
    /// key itself is never in the error.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let lines = text.lines().enumerate();
        let mut keys = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| parse_line(index + 1, line.trim()))
            .collect::<Result<VecDeque<Key>, BadKeys>>()?;
        let first = keys.pop_front().ok_or(BadKeys::None)?;
        let keys = Self {
            first,
            others: keys.into(),
        };
        let twice = keys
            .iter()
            .find(|key| keys.iter().filter(|other| other.id == key.id).count() > 1);
        match twice {
            Some(key) => Err(BadKeys::Twice { id: key.id }),
            None => Ok(keys),
        }
    }

    /// Returns the key that signs this host's adverts.
    pub(super) fn first(&self) -> &Key {
        &self.first
    }

    /// Returns the key with this number; `None` if there is none.
    pub(super) fn find(&self, id: u8) -> Option<&Key> {
        self.iter().find(|key| key.id.get() == id)
    }

    fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Why a key file is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadKeys {
    /// The file contains no key.
    None,
    /// A line of the file is not a key.
    Line {
        /// Number of the line that is not a key, counted from 1.
        line: usize,
    },
    /// Two keys in the file have this number.
    Twice {
        /// The number that both keys have.
        id: NonZeroU8,
    },
}

impl std::error::Error for BadKeys {}

impl fmt::Display for BadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = "a key is `hex:` and 64 to 128 hexadecimal digits: \
                    (printf hex:; openssl rand -hex 32) makes one";
        match self {
            Self::None => write!(f, "there is no key in it; {form}"),
            Self::Line { line } => write!(f, "line {line} is not a key; {form}"),
            Self::Twice { id } => write!(
                f,
                "two keys have the number {id}: begin each line with a number of its own and a space"
            ),
        }
    }
}

fn parse_line(line: usize, text: &str) -> Result<Key, BadKeys> {
    let (id, secret) = match text.split_once(' ') {
        Some((id, secret)) => (id.parse().ok(), secret.trim_start()),
        None => (Some(NonZeroU8::MIN), text),
    };
    let secret = match secret.strip_prefix("hex:") {
        Some(digits) => from_hex(digits),
        None => Some(secret.as_bytes().to_vec()),
    };
    id.zip(secret)
        .and_then(|(id, secret)| Key::new(id, &secret))
        .ok_or(BadKeys::Line { line })
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = (digits.chars())
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
