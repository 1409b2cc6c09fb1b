//! How chunks of flows are encoded for the link to the peer. The encoding does not depend on the
//! host's architecture.
//!
//! ```text
//! version (1)  kind (1)  reserved (2)
//! kind 1, a pass begins:  pass (4)
//! kind 2, connections:    up to 2,048 records of 24 bytes
//! kind 3, a pass ends:    pass (4)  whole (1)  reserved (3)
//! ```
//!
//! All numbers are big-endian. A record consists of the addresses and ports of the client, the
//! service and the backend, the source port of NAT, the protocol, the state
//! (`lb_common::tcp::State`), and the seconds since the last packet.

use lb_common::{flow::FlowKey, record::Record, tcp::State};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

/// The version of the encoding. Chunks of other versions are rejected.
const VERSION: u8 = 2;

/// Maximum number of records in a chunk, which is then 48 KiB long.
pub const RECORDS_PER_CHUNK: usize = 2048;

/// A chunk of flows: a message from the active host to the standby.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Chunk {
    /// Begins a pass over the sender's connection table: every connection follows once, with
    /// changes in between.
    Begin {
        /// The number of the pass. The sender counts its passes.
        pass: u32,
    },
    /// The present state of some connections, at most [`RECORDS_PER_CHUNK`].
    Records(Vec<Record>),
    /// Ends a pass over the sender's connection table.
    End {
        /// The number of the pass that ends.
        pass: u32,
        /// Whether the pass covered the whole table. If not, another pass follows.
        whole: bool,
    },
}

/// Why bytes are not a valid chunk of flows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The chunk has this version, or no version (0), instead of the supported one.
    #[error(
        "the peer sends flows in layout {0}, but this version of lb reads layout {VERSION}: run the same version of lb on both hosts"
    )]
    Version(u8),
    /// The chunk has this kind, which does not exist.
    #[error("the peer sent a message about flows of the unknown kind {0}")]
    Kind(u8),
    /// The chunk has a length that is invalid for its kind.
    #[error(
        "the peer sent a message about flows of kind {kind} with an invalid length in bytes: {length}"
    )]
    Length {
        /// The kind of the chunk.
        kind: u8,
        /// The length of the chunk in bytes.
        length: usize,
    },
    /// A record has this state, which does not exist or is never sent.
    #[error("the peer sent a flow in the unknown state {0}")]
    State(u8),
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version: u8,
    kind: u8,
    reserved: [u8; 2],
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct WireEnd {
    pass: U32,
    whole: u8,
    reserved: [u8; 3],
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct WireRecord {
    client: [u8; 4],
    service: [u8; 4],
    backend: [u8; 4],
    client_port: U16,
    service_port: U16,
    backend_port: U16,
    source_port: U16,
    protocol: u8,
    state: u8,
    idle: U16,
}

const _CHECK: () = assert!(size_of::<WireRecord>() == 24);

const BEGIN: u8 = 1;
const RECORDS: u8 = 2;
const END: u8 = 3;

/// Encodes a chunk of flows.
#[must_use]
pub fn encode(chunk: &Chunk) -> Vec<u8> {
    let (kind, body) = match chunk {
        Chunk::Begin { pass } => (BEGIN, pass.to_be_bytes().to_vec()),
        Chunk::Records(records) => {
            let mut body = Vec::with_capacity(records.len() * size_of::<WireRecord>());
            for record in records {
                body.extend_from_slice(WireRecord::of(record).as_bytes());
            }
            (RECORDS, body)
        }
        Chunk::End { pass, whole } => {
            let end = WireEnd {
                pass: U32::new(*pass),
                whole: u8::from(*whole),
                reserved: [0; 3],
            };
            (END, end.as_bytes().to_vec())
        }
    };
    let header = Header {
        version: VERSION,
        kind,
        reserved: [0; 2],
    };
    [header.as_bytes(), &body].concat()
}

/// Decodes a chunk of flows.
///
/// # Errors
/// The bytes are not a valid chunk of flows.
pub fn decode(bytes: &[u8]) -> Result<Chunk, WireError> {
    let Ok((header, body)) = Header::ref_from_prefix(bytes) else {
        return Err(WireError::Version(bytes.first().copied().unwrap_or(0)));
    };
    if header.version != VERSION {
        return Err(WireError::Version(header.version));
    }
    let length = WireError::Length {
        kind: header.kind,
        length: bytes.len(),
    };
    match header.kind {
        BEGIN => {
            let pass = U32::read_from_bytes(body).map_err(|_other| length)?;
            Ok(Chunk::Begin { pass: pass.get() })
        }
        RECORDS => {
            let records = <[WireRecord]>::ref_from_bytes(body).map_err(|_other| length)?;
            if records.len() > RECORDS_PER_CHUNK {
                return Err(length);
            }
            let records = records.iter().map(WireRecord::parse);
            Ok(Chunk::Records(records.collect::<Result<_, _>>()?))
        }
        END => {
            let end = WireEnd::read_from_bytes(body).map_err(|_other| length)?;
            Ok(Chunk::End {
                pass: end.pass.get(),
                whole: end.whole != 0,
            })
        }
        kind => Err(WireError::Kind(kind)),
    }
}

impl WireRecord {
    fn of(record: &Record) -> Self {
        Self {
            client: record.client.source,
            service: record.client.destination,
            backend: record.backend,
            client_port: U16::new(record.client.source_port),
            service_port: U16::new(record.client.destination_port),
            backend_port: U16::new(record.backend_port),
            source_port: U16::new(record.source_port),
            // The protocol fits, because a protocol number has eight bits.
            protocol: u8::try_from(record.client.protocol).unwrap_or(u8::MAX),
            state: record.state,
            idle: U16::new(record.idle),
        }
    }

    fn parse(&self) -> Result<Record, WireError> {
        if !(State::ESTABLISHED.0..=State::RESET_BY_BACKEND.0).contains(&self.state) {
            return Err(WireError::State(self.state));
        }
        let client = FlowKey {
            source: self.client,
            destination: self.service,
            source_port: self.client_port.get(),
            destination_port: self.service_port.get(),
            protocol: self.protocol.into(),
        };
        Ok(Record {
            client,
            backend: self.backend,
            backend_port: self.backend_port.get(),
            source_port: self.source_port.get(),
            state: self.state,
            further_source: 0,
            idle: self.idle.get(),
            padding: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let host = || (any::<[u8; 4]>(), any::<u16>());
        (host(), host(), host(), any::<(u8, u16, u16)>(), 3..=9_u8).prop_map(
            |(client, service, backend, (protocol, source_port, idle), state)| {
                let key = |source: ([u8; 4], u16), destination: ([u8; 4], u16)| FlowKey {
                    source: source.0,
                    destination: destination.0,
                    source_port: source.1,
                    destination_port: destination.1,
                    protocol: protocol.into(),
                };
                Record {
                    client: key(client, service),
                    backend: backend.0,
                    backend_port: backend.1,
                    source_port,
                    state,
                    further_source: 0,
                    idle,
                    padding: 0,
                }
            },
        )
    }

    fn any_chunk() -> impl Strategy<Value = Chunk> {
        prop_oneof![
            any::<u32>().prop_map(|pass| Chunk::Begin { pass }),
            prop::collection::vec(any_record(), 0..50).prop_map(Chunk::Records),
            any::<(u32, bool)>().prop_map(|(pass, whole)| Chunk::End { pass, whole }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_the_same(chunk in any_chunk()) {
            prop_assert_eq!(decode(&encode(&chunk)), Ok(chunk));
        }

        #[test]
        fn a_chunk_that_lost_bytes_or_gained_some_is_refused(chunk in any_chunk(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&chunk);
            let cut = cut.index(bytes.len());
            // The decoder cannot notice that whole records are missing: the integrity check of the
            // link to the peer must.
            let whole_records = matches!(chunk, Chunk::Records(_)) && cut >= 4 && (cut - 4) % 24 == 0;
            prop_assert_eq!(decode(&bytes[..cut]).is_ok(), whole_records);
            prop_assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn junk_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(chunk) = decode(&bytes) {
                let again = encode(&chunk);
                prop_assert_eq!(decode(&again), Ok(chunk));
            }
        }

        #[test]
        fn junk_behind_a_right_header_is_refused_or_read_in_full(kind in 0..5_u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let bytes = [&[VERSION, kind, 0, 0][..], &body].concat();
            match decode(&bytes) {
                Ok(Chunk::End { .. }) => prop_assert_eq!(bytes.len(), 12),
                Ok(chunk) => prop_assert_eq!(encode(&chunk), bytes),
                Err(error) => prop_assert_ne!(error, WireError::Version(VERSION)),
            }
        }
    }

    #[test]
    fn a_record_stands_on_the_wire_as_documented() {
        let key = |source, destination, source_port, destination_port| FlowKey {
            source,
            destination,
            source_port,
            destination_port,
            protocol: 6,
        };
        let (client, vip, backend) = ([198, 51, 100, 10], [172, 31, 0, 68], [10, 0, 0, 6]);
        let record = Record {
            client: key(client, vip, 40_000, 443),
            backend,
            backend_port: 8080,
            source_port: 10_240,
            state: State::ESTABLISHED.0,
            further_source: 0,
            idle: 0x0102,
            padding: 0,
        };
        let expected = [
            &[2, 2, 0, 0][..],
            &client,
            &vip,
            &backend,
            &[0x9c, 0x40, 0x01, 0xbb, 0x1f, 0x90, 0x28, 0x00],
            &[6, 3, 1, 2],
        ]
        .concat();
        assert_eq!(encode(&Chunk::Records(vec![record])), expected);
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(decode(&[]), Err(WireError::Version(0)));
        assert_eq!(decode(&[3, 1, 0, 0]), Err(WireError::Version(3)));
        assert_eq!(decode(&[2, 9, 0, 0]), Err(WireError::Kind(9)));
        let length = |kind, length| Err(WireError::Length { kind, length });
        assert_eq!(decode(&[2, 1, 0, 0, 0]), length(1, 5));
        let many = [&[2, 2, 0, 0][..], &[3; 24 * (RECORDS_PER_CHUNK + 1)]].concat();
        assert_eq!(decode(&many), length(2, many.len()));
        let opening = [&[2, 2, 0, 0][..], &[1; 24]].concat();
        assert_eq!(decode(&opening), Err(WireError::State(1)));
    }
}
