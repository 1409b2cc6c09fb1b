//! The messages of the link: the greeting, and the frames that follow it.

use lb_ha::pair::Word;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{CertificateWord, record::Lane};
use crate::{acme, pool::OverridesMessage, tickets};

/// The version of the protocol. It changes with every change of a frame, which keeps the link down
/// while the hosts run two versions. A new message does not change it: see [`Capabilities`].
pub(super) const PROTOCOL: u16 = 1;

/// The first bytes of a connection in either direction, in every version, so that a difference of
/// versions is recognised.
const MAGIC: [u8; 8] = *b"lb-link\0";
/// Bytes of the preamble: magic, version and the length of the hello.
pub(super) const PREAMBLE_BYTES: usize = 12;
/// Size limit of the hello of any version, in bytes.
const HELLO_LIMIT: u16 = 4096;

/// The identity of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Hello {
    /// The name of the node.
    pub(super) node: String,
    /// The version of `lb`, and after a `+` the messages that it supports besides version 1 of the link.
    /// See [`Capabilities`].
    pub(super) version: String,
    /// A random number of this process, by which an agent recognises a connection to itself.
    pub(super) instance: u64,
}

/// The messages that an agent supports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Capabilities {
    acme: bool,
}

impl Capabilities {
    const ACME: &'static str = "acme";

    /// Returns the version of this agent, with its capabilities.
    pub(super) fn ours() -> String {
        format!("{}+{}", env!("CARGO_PKG_VERSION"), Self::ACME)
    }

    /// Parses the version of the peer into its capabilities and the version without them.
    pub(super) fn read(version: &str) -> (Self, &str) {
        let (version, known) = version.split_once('+').unwrap_or((version, ""));
        let acme = known.split('.').any(|one| one == Self::ACME);
        (Self { acme }, version)
    }

    /// Whether the peer supports a message.
    pub(super) fn has(self, message: &Message) -> bool {
        match message {
            Message::Tickets(_) | Message::Drains(_) | Message::Certificates(_) => true,
            Message::Acme(_) => self.acme,
        }
    }
}

/// A message with shared state. All state is sent when the link comes up, then the changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Message {
    /// The keys of session tickets.
    Tickets(tickets::Offer),
    /// Operator overrides.
    Drains(OverridesMessage),
    /// Certificates.
    Certificates(CertificateWord),
    /// Certificates obtained by ACME. Sent only to a peer that supports it.
    Acme(acme::PeerMessage),
}

/// Number of messages that this version supports.
const MESSAGES: u32 = 4;

/// A frame of the urgent lane.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Urgent {
    /// Requests a [`Self::Pong`].
    Ping {
        /// Microseconds since the sender's session began.
        sent: u64,
    },
    /// Answers a [`Self::Ping`].
    Pong {
        /// The content of the ping.
        sent: u64,
    },
    /// Grants credit for this many more messages of flows.
    Credit(u32),
    /// A message about who is active.
    Word(Word),
}

/// A frame of any lane.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Urgent(Urgent),
    Control(Message),
    /// A message of a later version of `lb`, which is ignored.
    Unknown,
    /// Flows, in the encoding of the data plane.
    Flows(Vec<u8>),
}

impl Frame {
    /// Decodes a message of a lane. Returns `None` if it is not exactly one frame.
    pub(super) fn decode(lane: Lane, message: Vec<u8>) -> Option<Self> {
        match lane {
            Lane::Urgent => exactly(&message).map(Self::Urgent),
            Lane::Control => match kind(&message) {
                Some(kind) if kind >= MESSAGES => Some(Self::Unknown),
                _ => exactly(&message).map(Self::Control),
            },
            Lane::Bulk => Some(Self::Flows(message)),
        }
    }
}

/// Encodes a frame. Returns `None` if it is too long for its lane.
pub(super) fn encode(lane: Lane, frame: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = postcard::to_allocvec(frame).ok()?;
    (bytes.len() <= lane.limit()).then_some(bytes)
}

/// Returns the number of the message: postcard writes the variant of an enum first.
fn kind(message: &[u8]) -> Option<u32> {
    let (kind, _rest) = postcard::take_from_bytes(message).ok()?;
    Some(kind)
}

fn exactly<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((frame, [])) => Some(frame),
        _ => None,
    }
}

/// The content of a preamble.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Preamble {
    pub(super) protocol: u16,
    /// Length of the hello, in bytes.
    pub(super) hello: u16,
}

impl Preamble {
    /// Returns `None` if another protocol is spoken.
    pub(super) fn decode(bytes: [u8; PREAMBLE_BYTES]) -> Option<Self> {
        let (magic, numbers) = bytes.split_first_chunk()?;
        let [version_high, version_low, length_high, length_low] = *numbers.first_chunk()?;
        let hello = u16::from_be_bytes([length_high, length_low]);
        (*magic == MAGIC && hello <= HELLO_LIMIT).then_some(Self {
            protocol: u16::from_be_bytes([version_high, version_low]),
            hello,
        })
    }
}

/// Encodes the preamble and the hello.
pub(super) fn greeting(protocol: u16, hello: &Hello) -> Option<Vec<u8>> {
    let hello = postcard::to_allocvec(hello).ok()?;
    let length = u16::try_from(hello.len()).ok()?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&protocol.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&hello);
    (length <= HELLO_LIMIT).then_some(bytes)
}

/// Decodes the hello of this version.
pub(super) fn hello(bytes: &[u8]) -> Option<Hello> {
    exactly(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::Overrides;

    #[test]
    fn a_frame_survives_the_wire_and_only_whole() {
        let frame = Urgent::Word(Word::Ask);
        let bytes = encode(Lane::Urgent, &frame).expect("short");
        let back = Frame::decode(Lane::Urgent, bytes.clone());
        assert_eq!(back, Some(Frame::Urgent(frame)));
        for cut in 0..bytes.len() {
            assert_eq!(Frame::decode(Lane::Urgent, bytes[..cut].to_vec()), None);
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(Frame::decode(Lane::Urgent, longer), None);
    }

    #[test]
    fn a_greeting_says_who_and_which_version_before_anything_else() {
        let one = Hello {
            node: "lb-a".to_owned(),
            version: "0.1.0".to_owned(),
            instance: 7,
        };
        let bytes = greeting(9, &one).expect("short");
        let (preamble, rest) = bytes.split_first_chunk().expect("long enough");
        let read = Preamble::decode(*preamble).expect("ours");
        assert_eq!(read.protocol, 9);
        assert_eq!(usize::from(read.hello), rest.len());
        assert_eq!(hello(rest), Some(one));
        assert_eq!(Preamble::decode(*b"GET / HTTP/1"), None);
    }

    #[test]
    fn a_message_of_a_later_version_is_passed_over_and_a_broken_one_is_not() {
        let tickets = Message::Drains(OverridesMessage::all(&Overrides::default()));
        let bytes = encode(Lane::Control, &tickets).expect("short");
        assert_eq!(
            Frame::decode(Lane::Control, bytes),
            Some(Frame::Control(tickets))
        );
        for later in [
            &[4, 1, 2, 3][..],
            &[0x80, 1],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            let frame = Frame::decode(Lane::Control, later.to_vec());
            assert_eq!(frame, Some(Frame::Unknown), "{later:?}");
        }
        for broken in [&[][..], &[0x80], &[3, 9]] {
            assert_eq!(Frame::decode(Lane::Control, broken.to_vec()), None);
        }
        // The last message that is known must not be mistaken for one of a later version.
        let acme = Message::Acme(acme::PeerMessage::Serving(1));
        let bytes = encode(Lane::Control, &acme).expect("short");
        assert_eq!(kind(&bytes), Some(MESSAGES - 1));
    }

    #[test]
    fn an_older_agent_is_not_sent_what_it_does_not_know() {
        let acme = Message::Acme(acme::PeerMessage::Serving(1));
        let (older, version) = Capabilities::read("0.1.0");
        assert!(
            !older.has(&acme)
                && older.has(&Message::Drains(OverridesMessage::all(
                    &Overrides::default()
                )))
        );
        assert_eq!(version, "0.1.0");
        let ours = Capabilities::ours();
        let (known, version) = Capabilities::read(&ours);
        assert!(known.has(&acme));
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(Capabilities::read("0.2.0+acme.later").0.has(&acme));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            for lane in [Lane::Urgent, Lane::Control, Lane::Bulk] {
                let _frame = Frame::decode(lane, bytes.clone());
            }
            let _hello = hello(&bytes);
        }
    }
}
