//! Records: how the messages of three lanes share one byte stream.
//!
//! A message goes in parts of at most 16 KiB, each with a header of four bytes: the lane, whether
//! it is the last part, and the part's length. Parts of different lanes may alternate, so a
//! heartbeat waits for one part of a long message and not for all of it.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest part of a message that one record carries, in bytes. It fits into one TLS record.
pub(super) const PART_BYTES: usize = 16 << 10;
/// Length of a record's header, in bytes.
pub(super) const HEADER_BYTES: usize = 4;
/// The bit in the first byte of a record that marks the last part of a message.
const LAST: u8 = 0x80;

/// The lanes on which messages are sent, the most urgent one first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    /// Short messages: pings, permissions to send more flows, and messages about who is active,
    /// such as heartbeats.
    Urgent,
    /// Messages with shared state: ticket keys, operator overrides, certificates.
    Control,
    /// Messages with flows.
    Bulk,
}

impl Lane {
    /// Returns the size limit in bytes of a message of this lane (class of urgency).
    pub(super) const fn limit(self) -> usize {
        match self {
            Self::Urgent => 4 << 10,
            Self::Control => 1 << 20,
            Self::Bulk => 64 << 10,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Urgent),
            1 => Some(Self::Control),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Urgent => 0,
            Self::Control => 1,
            Self::Bulk => 2,
        }
    }
}

/// A message of which parts are still to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    lane: Lane,
    message: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    pub(super) fn new(lane: Lane, message: Vec<u8>) -> Self {
        Self {
            lane,
            message,
            sent: 0,
        }
    }

    /// Replaces the content of `record` by the next record of the message: a header, and a part of
    /// at most 16 KiB. Returns whether it is the last record of the message.
    pub(super) fn next_record(&mut self, record: &mut Vec<u8>) -> bool {
        let left = &self.message[self.sent..];
        let part = &left[..left.len().min(PART_BYTES)];
        let is_last = part.len() == left.len();
        let [_, high, middle, low] = u32::try_from(part.len()).unwrap_or(0).to_be_bytes();
        let first = self.lane.bits() | if is_last { LAST } else { 0 };
        record.clear();
        record.extend_from_slice(&[first, high, middle, low]);
        record.extend_from_slice(part);
        self.sent += part.len();
        is_last
    }
}

/// Why no message could be read from the connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The stream ended, or reading from it failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The header of a record is invalid, for the reason given.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads records from a stream, each with a part of a message, and puts the messages together from
/// their parts.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: R,
    /// The parts received so far of the next message of each lane (class of urgency).
    parts: [Vec<u8>; 3],
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            parts: Default::default(),
        }
    }

    /// Returns the next complete message and its lane (class of urgency). Not cancel safe: bytes
    /// that were received would be lost.
    pub(super) async fn next(&mut self) -> Result<(Lane, Vec<u8>), ReadError> {
        loop {
            let mut header = [0; HEADER_BYTES];
            self.reader.read_exact(&mut header).await?;
            let (lane, is_last, length) = parse(header)?;
            let message = &mut self.parts[usize::from(lane.bits())];
            let begin = message.len();
            if begin + length > lane.limit() {
                return Err(ReadError::Malformed(
                    "a message longer than its lane allows",
                ));
            }
            message.resize(begin + length, 0);
            self.reader.read_exact(&mut message[begin..]).await?;
            if is_last {
                return Ok((lane, std::mem::take(message)));
            }
        }
    }
}

fn parse([first, high, middle, low]: [u8; HEADER_BYTES]) -> Result<(Lane, bool, usize), ReadError> {
    let lane = Lane::from_bits(first & !LAST);
    let lane = lane.ok_or(ReadError::Malformed("a record of no lane"))?;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    let is_last = first & LAST != 0;
    if length > PART_BYTES {
        return Err(ReadError::Malformed("a record longer than 16 KiB"));
    }
    // Without this check, a peer could keep the reader busy with an endless sequence of empty
    // parts.
    if length == 0 && !is_last {
        return Err(ReadError::Malformed("an empty part that is not the last"));
    }
    Ok((lane, is_last, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(lane: Lane, message: &[u8]) -> Vec<Vec<u8>> {
        let mut outgoing = Outgoing::new(lane, message.to_vec());
        let mut records = Vec::new();
        loop {
            let mut record = Vec::new();
            let is_last = outgoing.next_record(&mut record);
            records.push(record);
            if is_last {
                return records;
            }
        }
    }

    fn read_all(bytes: &[u8]) -> (Vec<(Lane, Vec<u8>)>, ReadError) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let mut incoming = Incoming::new(bytes);
            let mut messages = Vec::new();
            loop {
                match incoming.next().await {
                    Ok(message) => messages.push(message),
                    Err(error) => return (messages, error),
                }
            }
        })
    }

    #[test]
    fn messages_of_different_lanes_may_alternate() {
        let long = vec![7; 3 * PART_BYTES + 1];
        let parts = records(Lane::Bulk, &long);
        assert_eq!(parts.len(), 4);
        let mut stream = Vec::new();
        for (number, part) in (0..).zip(&parts) {
            stream.extend_from_slice(part);
            stream.extend(records(Lane::Urgent, &[number]).concat());
        }
        let (messages, end) = read_all(&stream);
        assert!(matches!(end, ReadError::Io(_)), "{end}");
        let urgent = |number| (Lane::Urgent, vec![number]);
        let expected = [
            urgent(0),
            urgent(1),
            urgent(2),
            (Lane::Bulk, long),
            urgent(3),
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn an_empty_message_is_a_message() {
        let (messages, _) = read_all(&records(Lane::Control, &[]).concat());
        assert_eq!(messages, [(Lane::Control, Vec::new())]);
    }

    #[test]
    fn what_breaks_a_limit_is_malformed() {
        let too_long = records(Lane::Bulk, &vec![0; Lane::Bulk.limit() + 1]).concat();
        for bytes in [
            &[0x83, 0, 0, 0][..],
            &[0x40, 0, 0, 1, 0],
            &[0x01, 0, 0, 0],
            &[0x81, 0, 0x40, 1],
            &[0x81, 0xff, 0xff, 0xff],
            &too_long,
        ] {
            let (messages, error) = read_all(bytes);
            assert!(messages.is_empty());
            assert!(matches!(error, ReadError::Malformed(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_hoard(
            bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        ) {
            let (messages, _) = read_all(&bytes);
            let sum: usize = messages.iter().map(|(_, message)| message.len()).sum();
            prop_assert!(sum <= bytes.len());
        }
    }
}
