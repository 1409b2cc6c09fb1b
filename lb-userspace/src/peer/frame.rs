//! The messages of the link between the agents: the greeting at its beginning, and the frames that
//! follow the greeting.

use lb_ha::pair::PairMessage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{CertificateMessage, record::Lane};
use crate::{acme, pool::OverridesMessage, tickets};

/// The version of the protocol of the link between the agents. It must change with every change to
/// the encoding of a frame, and the link stays down while the two hosts use different versions. A
/// new kind of message does not change it: see [`Capabilities`].
pub(super) const PROTOCOL: u16 = 1;

/// The first bytes that each agent sends on a connection. They are the same in every version of the
/// protocol, so that a difference of versions is recognised.
const MAGIC: [u8; 8] = *b"lb-link\0";
/// Length of the preamble in bytes: magic, protocol version, and the length of the hello.
pub(super) const PREAMBLE_BYTES: usize = 12;
/// Size limit of the hello in bytes, in every version of the protocol.
const HELLO_LIMIT: u16 = 4096;

/// The identity that an agent sends in its greeting.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Hello {
    /// The name of the node (host) that the agent runs on.
    pub(super) node: String,
    /// The version of `lb`. After a `+` follow the names of the messages that the agent supports
    /// besides those of version 1 of the link; see [`Capabilities`].
    pub(super) version: String,
    /// A random number of this process. An agent that receives its own number has connected to
    /// itself.
    pub(super) instance: u64,
}

/// Which messages an agent supports, besides those that every agent does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Capabilities {
    acme: bool,
}

impl Capabilities {
    const ACME: &'static str = "acme";

    /// Returns the version of this agent with its capabilities, as the hello has it.
    pub(super) fn ours() -> String {
        format!("{}+{}", env!("CARGO_PKG_VERSION"), Self::ACME)
    }

    /// Splits the version that the peer sent into the peer's capabilities and the version of `lb`.
    pub(super) fn read(version: &str) -> (Self, &str) {
        let (version, known) = version.split_once('+').unwrap_or((version, ""));
        let acme = known.split('.').any(|one| one == Self::ACME);
        (Self { acme }, version)
    }

    /// Returns whether the peer supports this kind of message.
    pub(super) fn has(self, message: &Message) -> bool {
        match message {
            Message::Tickets(_) | Message::Drains(_) | Message::Certificates(_) => true,
            Message::Acme(_) => self.acme,
        }
    }
}

/// A message with shared state. All of it is sent when the link to the peer comes up, and after
/// that each change.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Message {
    /// The keys of TLS session tickets.
    Tickets(tickets::Offer),
    /// The operator overrides of backends.
    Drains(OverridesMessage),
    /// An announcement of certificates, a request for a certificate file, or such a file.
    Certificates(CertificateMessage),
    /// The state of certificates that are obtained by ACME. It is sent only to a peer that supports
    /// this message.
    Acme(acme::PeerMessage),
}

/// Number of kinds of [`Message`] that this version of `lb` supports.
const MESSAGES: u32 = 4;

/// A frame of the urgent lane, whose messages are sent before all others.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Urgent {
    /// Asks the receiver for a [`Self::Pong`].
    Ping {
        /// When the ping was sent, in microseconds since the sender's session began.
        sent: u64,
    },
    /// Answers a [`Self::Ping`].
    Pong {
        /// The time in the ping that is answered.
        sent: u64,
    },
    /// Permits the receiver to send this many more messages with flows.
    Credit(u32),
    /// A message about who is active: a heartbeat, or a message of a hand-over of the active role.
    Pair(PairMessage),
}

/// A frame that was received, on any lane (each class of urgency has a lane).
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Urgent(Urgent),
    Control(Message),
    /// A message of a kind that only later versions of `lb` have. It is ignored.
    Unknown,
    /// Flows, in the encoding that the data plane defines.
    Flows(Vec<u8>),
}

impl Frame {
    /// Decodes a message that was received on this lane (each class of urgency has a lane). Returns
    /// `None` if the message is not exactly one valid frame.
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

/// Encodes a frame. Returns `None` if the result is longer than its lane (class of urgency)
/// permits.
pub(super) fn encode(lane: Lane, frame: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = postcard::to_allocvec(frame).ok()?;
    (bytes.len() <= lane.limit()).then_some(bytes)
}

/// Returns the number of the message's kind: postcard writes the variant of an enum first.
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

/// The content of a preamble, the first bytes that an agent sends.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Preamble {
    pub(super) protocol: u16,
    /// Length of the hello that follows, in bytes.
    pub(super) hello: u16,
}

impl Preamble {
    /// Decodes a preamble. Returns `None` if the bytes do not belong to the protocol of the link
    /// between the agents in any version.
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

/// Encodes the greeting of an agent: the preamble and the hello. Returns `None` if the hello is too
/// long.
pub(super) fn greeting(protocol: u16, hello: &Hello) -> Option<Vec<u8>> {
    let hello = postcard::to_allocvec(hello).ok()?;
    let length = u16::try_from(hello.len()).ok()?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&protocol.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&hello);
    (length <= HELLO_LIMIT).then_some(bytes)
}

/// Decodes a hello of this version of the protocol. Returns `None` if it is invalid.
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
        let frame = Urgent::Pair(PairMessage::Ask);
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
        // The kind of message that was added last must not be mistaken for one of a later version.
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
