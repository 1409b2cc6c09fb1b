//! What the two agents say: the greeting, and the frames that follow it.

use lb_ha::pair::Word;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{CertificateWord, record::Lane};
use crate::{acme, pool::OverridesMessage, tickets};

/// The version of what is said here. It changes with every change of a frame, which parts the link while
/// the hosts run two versions. A message that is new does not change it: see [`Capabilities`].
pub(super) const PROTOCOL: u16 = 1;

/// What a connection begins with, in either direction, whatever the version: so that two versions
/// can tell each other that they are two.
const MAGIC: [u8; 8] = *b"lb-link\0";
/// Magic, version and the length of the hello.
pub(super) const PREAMBLE_BYTES: usize = 12;
/// More than a hello of any version has.
const HELLO_LIMIT: u16 = 4096;

/// Who says hello.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Hello {
    /// The name of the node.
    pub(super) node: String,
    /// The version of `lb`, and behind a `+` what it knows besides version 1 of the link: an older
    /// agent shows it, and is not sent what it does not know. See [`Capabilities`].
    pub(super) version: String,
    /// A number drawn when the agent started: tells it from itself.
    pub(super) instance: u64,
}

/// What an agent knows of what is said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Capabilities {
    acme: bool,
}

impl Capabilities {
    const ACME: &'static str = "acme";

    /// The version of this agent, with all that it knows.
    pub(super) fn ours() -> String {
        format!("{}+{}", env!("CARGO_PKG_VERSION"), Self::ACME)
    }

    /// What the other agent knows, and its version without that.
    pub(super) fn read(version: &str) -> (Self, &str) {
        let (version, known) = version.split_once('+').unwrap_or((version, ""));
        let acme = known.split('.').any(|one| one == Self::ACME);
        (Self { acme }, version)
    }

    /// Whether a message can be sent to it.
    pub(super) fn has(self, message: &Message) -> bool {
        match message {
            Message::Tickets(_) | Message::Drains(_) | Message::Certificates(_) => true,
            Message::Acme(_) => self.acme,
        }
    }
}

/// What one agent has the other agree to. All of it is said when the link comes up, and then what
/// changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Message {
    /// The keys of session tickets.
    Tickets(tickets::Offer),
    /// The operator's orders.
    Drains(OverridesMessage),
    /// Certificates.
    Certificates(CertificateWord),
    /// Certificates that the agents obtain. Sent to a peer that has said that it knows of them.
    Acme(acme::PeerMessage),
}

/// Messages that this version knows.
const MESSAGES: u32 = 4;

/// A frame of the urgent lane.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Urgent {
    /// Asks for a [`Self::Pong`].
    Ping {
        /// Microseconds since the sender's session began.
        sent: u64,
    },
    /// Answers a [`Self::Ping`].
    Pong {
        /// What the ping said.
        sent: u64,
    },
    /// So many more messages of flows may be sent.
    Credit(u32),
    /// About who is active.
    Word(Word),
}

/// A frame, as its lane has it.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Urgent(Urgent),
    Control(Message),
    /// A message that a later version of `lb` knows: it is passed over.
    Unknown,
    /// Flows: bytes of the room that keeps them.
    Flows(Vec<u8>),
}

impl Frame {
    /// Reads a message of a lane. `None` when it is not exactly one frame.
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

/// The bytes of a frame. `None` when it does not fit its lane.
pub(super) fn encode(lane: Lane, frame: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = postcard::to_allocvec(frame).ok()?;
    (bytes.len() <= lane.limit()).then_some(bytes)
}

/// Which message it is: what postcard writes first of an enum.
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

/// What a preamble says.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Preamble {
    pub(super) protocol: u16,
    /// How many bytes of hello follow.
    pub(super) hello: u16,
}

impl Preamble {
    /// `None` when another program speaks.
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

/// Preamble and hello, as a connection begins.
pub(super) fn greeting(protocol: u16, hello: &Hello) -> Option<Vec<u8>> {
    let hello = postcard::to_allocvec(hello).ok()?;
    let length = u16::try_from(hello.len()).ok()?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&protocol.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&hello);
    (length <= HELLO_LIMIT).then_some(bytes)
}

/// Reads the hello of this version.
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
        // The last message that is known is not taken for a later one.
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
