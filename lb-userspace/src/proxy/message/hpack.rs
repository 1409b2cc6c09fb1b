//! Decodes HTTP/2 field blocks (HPACK, RFC 7541) to find malformed fields.

use std::{borrow::Cow, collections::VecDeque};

use super::{fields::is_token, huffman::decode_huffman};

/// Size limit of the dynamic table of HPACK, in bytes: the default of SETTINGS_HEADER_TABLE_SIZE
/// (RFC 9113 §6.5.2).
const TABLE_BYTES: usize = 4096;
/// Bytes that an entry of the dynamic table counts in addition to its strings (RFC 7541 §4.1).
const ENTRY_BYTES: usize = 32;

/// The field names of HPACK's static table, in the order of their indices from 1 (RFC 7541 appendix
/// A).
const STATIC_NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// Properties of a request's original field block that its rewritten form does not show.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Notice {
    /// Whether the name or value of a field is malformed (RFC 9113 §8.2.1, §8.3.1).
    pub(crate) malformed: bool,
    /// The path as the client sent it, if the rewritten block has another path; else `None`.
    pub(crate) target: Option<Vec<u8>>,
}

/// The error of a field block that cannot be decoded, which is an error of the whole connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BrokenBlock;

/// Decodes the field blocks of one HTTP/2 connection, in the order in which they arrive.
#[derive(Debug)]
pub(crate) struct FieldReader {
    table: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

/// An entry of the dynamic table of HPACK, without its text: the class and the length of its name,
/// its size, and what is wrong with the field.
#[derive(Debug)]
struct Entry {
    name: Name,
    name_length: usize,
    size: usize,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Field,
    /// A name that has upper-case letters, is not a token, or is a pseudo-header that requests do
    /// not have.
    Malformed,
}

#[derive(Clone, Debug)]
enum Fault {
    Malformed,
    Target(Vec<u8>),
}

impl Default for FieldReader {
    fn default() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            limit: TABLE_BYTES,
        }
    }
}

impl FieldReader {
    /// Decodes a complete field block. Returns the notice about it and, if something in it is
    /// malformed, a rewritten block. That block has valid strings of the same lengths, so that the
    /// decoder of the HTTP/2 library, which reads it next, has the same dynamic table.
    ///
    /// # Errors
    /// The block cannot be decoded.
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<(Notice, Option<Vec<u8>>), BrokenBlock> {
        let mut notice = Notice::default();
        let mut rewritten: Option<Vec<u8>> = None;
        let mut input = Input { block, at: 0 };
        while let Some(&first) = block.get(input.at) {
            let start = input.at;
            let changed = match first {
                0x80.. => {
                    let index = input.integer(7)?;
                    if let Some(fault) = self.fault_at(index)? {
                        notice.add(fault);
                    }
                    None
                }
                0x40..0x80 => self.literal(&mut input, 6, &mut notice)?,
                0x20..0x40 => {
                    self.limit = input.integer(5)?;
                    if self.limit > TABLE_BYTES {
                        return Err(BrokenBlock);
                    }
                    self.evict();
                    None
                }
                _ => self.literal(&mut input, 4, &mut notice)?,
            };
            match (changed, &mut rewritten) {
                (None, None) => {}
                (None, Some(out)) => out.extend_from_slice(&block[start..input.at]),
                (Some(changed), out) => {
                    let out = out.get_or_insert_with(|| block[..start].to_vec());
                    out.extend_from_slice(&changed);
                }
            }
        }
        Ok((notice, rewritten))
    }

    /// Decodes a literal field, with or without indexing. Returns its replacement if it is
    /// malformed.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        prefix: u8,
        notice: &mut Notice,
    ) -> Result<Option<Vec<u8>>, BrokenBlock> {
        let start = input.at;
        let first = input.block[start];
        let index = input.integer(prefix)?;
        let (name, name_length, good_name) = if index == 0 {
            let text = input.string()?;
            let name = Name::of(&text);
            let good = (name == Name::Malformed).then(|| good_name(&text));
            (name, text.len(), good)
        } else {
            let (name, length, text) = self.name_at(index)?;
            // A malformed name in the dynamic table was replaced by a valid one when it was
            // inserted.
            let good = text.filter(|_| name == Name::Malformed).map(good_name);
            (name, length, good)
        };
        let name_end = input.at;
        let value = input.string()?;
        let (fault, good_value) = name.check_value(&value);
        let fault = match name {
            Name::Malformed => Some(Fault::Malformed),
            _ => fault,
        };
        if let Some(fault) = &fault {
            notice.add(fault);
        }
        if prefix == 6 {
            self.insert(Entry {
                name,
                name_length,
                size: name_length + value.len() + ENTRY_BYTES,
                fault,
            });
        }
        if good_name.is_none() && good_value.is_none() {
            return Ok(None);
        }
        let mut out = Vec::new();
        match good_name {
            Some(name) => {
                // Index 0 says that the name follows as a literal.
                out.push(first & !((1 << prefix) - 1));
                push_string(&mut out, &name);
            }
            None => out.extend_from_slice(&input.block[start..name_end]),
        }
        match good_value {
            Some(value) => push_string(&mut out, &value),
            None => out.extend_from_slice(&input.block[name_end..input.at]),
        }
        Ok(Some(out))
    }

    fn insert(&mut self, entry: Entry) {
        self.size += entry.size;
        self.table.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size;
        }
    }

    fn entry(&self, index: usize) -> Result<&Entry, BrokenBlock> {
        let place = index.checked_sub(STATIC_NAMES.len() + 1);
        let entry = place.and_then(|place| self.table.get(place));
        entry.ok_or(BrokenBlock)
    }

    /// Returns the name with this index: its class, its length in bytes, and its text if it is in
    /// the static table.
    fn name_at(&self, index: usize) -> Result<(Name, usize, Option<&'static [u8]>), BrokenBlock> {
        if let Some(name) = index.checked_sub(1).and_then(|at| STATIC_NAMES.get(at)) {
            let name = name.as_bytes();
            return Ok((Name::of(name), name.len(), Some(name)));
        }
        let entry = self.entry(index)?;
        Ok((entry.name, entry.name_length, None))
    }

    fn fault_at(&self, index: usize) -> Result<Option<&Fault>, BrokenBlock> {
        if (1..=STATIC_NAMES.len()).contains(&index) {
            return Ok(None);
        }
        Ok(self.entry(index)?.fault.as_ref())
    }
}

impl Notice {
    fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::Malformed => self.malformed = true,
            Fault::Target(target) => self.target = Some(target.clone()),
        }
    }

    /// Returns whether there is nothing to report about the request.
    pub(crate) fn is_empty(&self) -> bool {
        !self.malformed && self.target.is_none()
    }
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            name if !name.is_empty() && name.iter().all(is_name_byte) => Self::Field,
            _ => Self::Malformed,
        }
    }

    /// Returns the fault of a value of a field with this name, and the value that replaces it;
    /// `None` where there is none.
    fn check_value(self, value: &[u8]) -> (Option<Fault>, Option<Vec<u8>>) {
        let good = match self {
            Self::Path => {
                // An empty path is not replaced, because the HTTP/2 library resets only the stream
                // whose request has an empty path.
                value.is_empty() || is_plain_path(value) || {
                    let path = http::uri::PathAndQuery::try_from(value);
                    path.is_ok_and(|path| path.as_str().as_bytes() == value)
                }
            }
            Self::Method => value.iter().all(|byte| is_token(*byte)),
            Self::Scheme | Self::Authority => value.iter().all(u8::is_ascii_graphic),
            Self::Field | Self::Malformed => value.iter().all(is_value_byte),
        };
        if good {
            return (None, None);
        }
        let replaced = match self {
            Self::Path => {
                let mut path = vec![b'_'; value.len()];
                path.first_mut().into_iter().for_each(|byte| *byte = b'/');
                return (Some(Fault::Target(value.to_vec())), Some(path));
            }
            Self::Method => vec![b'X'; value.len()],
            Self::Scheme | Self::Authority => vec![b'a'; value.len()],
            Self::Field | Self::Malformed => vec![b'_'; value.len()],
        };
        (Some(Fault::Malformed), Some(replaced))
    }
}

/// Returns a valid header name that has the same length as this malformed one.
fn good_name(name: &[u8]) -> Vec<u8> {
    let good = |byte: &u8| if is_name_byte(byte) { *byte } else { b'x' };
    name.iter().map(good).collect()
}

/// Returns whether a path has only common characters, which every server interprets in the same
/// way.
fn is_plain_path(path: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~%?=&,:;+@".contains(byte);
    path.first() == Some(&b'/') && path.iter().all(plain)
}

fn is_name_byte(byte: &u8) -> bool {
    is_token(*byte) && !byte.is_ascii_uppercase()
}

/// Returns whether HTTP/1 allows this byte in the value of a header field.
fn is_value_byte(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}

/// Appends a string in HPACK's form, without Huffman coding (RFC 7541 §5.2).
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let mut left = text.len();
    if left < 127 {
        out.push(left as u8);
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text);
}

struct Input<'b> {
    block: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn byte(&mut self) -> Result<u8, BrokenBlock> {
        let byte = *self.block.get(self.at).ok_or(BrokenBlock)?;
        self.at += 1;
        Ok(byte)
    }

    /// Decodes an HPACK integer whose first byte has this many bits of it (RFC 7541 §5.1), up to
    /// about 2^28.
    fn integer(&mut self, prefix: u8) -> Result<usize, BrokenBlock> {
        let most = (1_usize << prefix) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BrokenBlock)
    }

    fn string(&mut self) -> Result<Cow<'b, [u8]>, BrokenBlock> {
        let is_huffman = self.block.get(self.at).is_some_and(|byte| byte & 0x80 != 0);
        let length = self.integer(7)?;
        let rest = &self.block[self.at..];
        let text = rest.get(..length).ok_or(BrokenBlock)?;
        self.at += length;
        if !is_huffman {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = Vec::with_capacity(length * 8 / 5);
        if decode_huffman(text, &mut out) {
            Ok(Cow::Owned(out))
        } else {
            Err(BrokenBlock)
        }
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
