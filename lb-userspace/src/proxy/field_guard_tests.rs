//! Tests that the output of a `FieldGuard` is the same however its input is cut into reads, and
//! equals the input if the input is valid.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::*;

/// A reader that returns one of these pieces of bytes in each read.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn cut(bytes: &[u8], places: &[usize]) -> Self {
        let mut places: Vec<usize> = places.iter().map(|at| at % (bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces = places
            .windows(2)
            .map(|pair| bytes[pair[0]..pair[1]].to_vec());
        Self(pieces.filter(|piece| !piece.is_empty()).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(room.remaining()));
            room.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the output of a `FieldGuard` that reads `bytes`, cut at the offsets `places`, and its
/// notices about malformed field blocks.
fn guarded(bytes: &[u8], places: &[usize]) -> (Vec<u8>, BTreeMap<u32, Notice>) {
    let mut guard = FieldGuard::new(Pieces::cut(bytes, places), 0);
    let notices = guard.notices();
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let read = runtime.block_on(guard.read_to_end(&mut out));
    read.expect("no error");
    let notices = notices.0.borrow().clone();
    (out, notices)
}

/// The field `:method: GET` in HPACK, by its index in the static table.
const GET: &[u8] = &[0x82];
/// The field `x: a\0` in HPACK, as a literal that is not indexed; NUL is malformed.
const MALFORMED: &[u8] = &[0, 1, b'x', 2, b'a', 0];

#[test]
fn padding_and_priority_are_no_part_of_a_field_block() {
    let padded = [&[3][..], &[0; 5], GET, MALFORMED, &[0; 3]].concat();
    let flags = END_HEADERS | END_STREAM | PADDED | PRIORITY;
    let bytes = [PREFACE, &frame(HEADERS, flags, 1, &padded)].concat();
    let (out, notices) = guarded(&bytes, &[]);
    let good = [GET, &[0, 1, b'x', 2, b'_', b'_']].concat();
    let wanted = frame(HEADERS, END_HEADERS | END_STREAM, 1, &good);
    assert_eq!(out, [PREFACE, &wanted].concat());
    assert!(notices[&1].malformed);
}

#[test]
fn a_block_may_be_cut_into_frames_anywhere() {
    let block = [GET, MALFORMED].concat();
    for at in 0..=block.len() {
        let (first, second) = block.split_at(at);
        let bytes = [
            PREFACE,
            &frame(HEADERS, 0, 1, first),
            &frame(CONTINUATION, END_HEADERS, 1, second),
        ]
        .concat();
        let (out, notices) = guarded(&bytes, &[]);
        assert!(out.ends_with(&[b'x', 2, b'_', b'_']), "{at}");
        assert!(notices[&1].malformed, "{at}");
    }
}

#[test]
fn frames_out_of_order_are_left_to_the_library_and_nothing_follows() {
    for bad in [
        frame(CONTINUATION, END_HEADERS, 1, GET),
        [frame(HEADERS, 0, 1, GET), frame(0, 0, 1, b"data")].concat(),
        frame(HEADERS, END_HEADERS, 1, &[0x80]),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0]),
    ] {
        let later = frame(HEADERS, END_HEADERS, 3, GET);
        let bytes = [PREFACE, &bad, &later].concat();
        let (out, _) = guarded(&bytes, &[PREFACE.len() + bad.len()]);
        assert_eq!(out, [PREFACE, &bad].concat());
    }
}

#[test]
fn a_block_without_end_is_not_held_for_ever() {
    let flood = frame(CONTINUATION, 0, 1, b"").repeat(MIN_LIMIT);
    let bytes = [PREFACE, &frame(HEADERS, 0, 1, GET), &flood].concat();
    let places: Vec<usize> = (0..bytes.len()).step_by(1000).collect();
    let (out, _) = guarded(&bytes, &places);
    assert!(out.len() < MIN_LIMIT + 2000, "{}", out.len());
}

/// Generates the bytes of HTTP/2 frames, most of them valid.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        Just(GET.to_vec()),
        Just(MALFORMED.to_vec()),
        Just([GET, MALFORMED].concat()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let one = prop_oneof![
        (
            any::<u8>(),
            0..9_u32,
            proptest::collection::vec(any::<u8>(), 0..40)
        )
            .prop_map(|(flags, stream, payload)| frame(0, flags, stream, &payload)),
        (any::<u8>(), 1..9_u32, block.clone())
            .prop_map(|(flags, stream, block)| frame(HEADERS, flags, stream, &block)),
        (1..9_u32, block.clone()).prop_map(|(stream, block)| frame(
            HEADERS,
            END_HEADERS,
            stream,
            &block
        )),
        (1..9_u32, block).prop_map(|(stream, block)| frame(
            CONTINUATION,
            END_HEADERS,
            stream,
            &block
        )),
    ];
    proptest::collection::vec(one, 0..8).prop_map(|frames| frames.concat())
}

/// Returns whether each field block begins a stream with a higher ID than all earlier ones.
fn only_requests(bytes: &[u8]) -> bool {
    let (mut at, mut last) = (0, 0);
    while let Some(frame) = Frame::at(bytes, at) {
        if frame.kind == HEADERS && std::mem::replace(&mut last, frame.stream) >= frame.stream {
            return false;
        }
        at = frame.end;
    }
    true
}

proptest! {
    #[test]
    fn what_passes_is_the_same_however_it_is_cut(
        frames in frames(),
        places in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let bytes = [PREFACE, &frames].concat();
        let bytewise: Vec<usize> = (0..bytes.len()).collect();
        let (out, notices) = guarded(&bytes, &bytewise);
        let (cut, cut_notices) = guarded(&bytes, &places);
        // After a protocol violation, the guard also passes the bytes that arrived in the same
        // read.
        prop_assert!(cut.starts_with(&out));
        prop_assert_eq!(&notices, &cut_notices);
        let faultless = guarded(&[&bytes[..], &frame(6, 0, 0, &[7; 8])].concat(), &bytewise).0;
        if faultless.ends_with(&[7; 8]) {
            prop_assert_eq!(out, cut);
            // For a malformed field block on an older stream, the guard replaces the block and
            // leaves no notice.
            if notices.is_empty() && only_requests(&bytes[PREFACE.len()..]) {
                prop_assert_eq!(faultless.len(), bytes.len() + 17);
            }
        }
    }
}
