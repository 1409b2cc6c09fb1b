//! Tests that malformed fields are found, and that the dynamic tables of this decoder and of the
//! HTTP/2 library's decoder stay equal.

use proptest::prelude::*;

use super::*;

/// Encodes a field as an HPACK literal; `indexed` says whether decoders add it to the dynamic
/// table.
fn literal(indexed: bool, name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = vec![if indexed { 0x40 } else { 0 }];
    push_string(&mut block, name.as_bytes());
    push_string(&mut block, value);
    block
}

const MALFORMED: Notice = Notice {
    malformed: true,
    target: None,
};

#[test]
fn the_rfc_s_requests_are_in_order_and_fill_the_table() {
    // The example requests of RFC 7541 appendix C.4.
    let blocks: [(&[u8], usize); 3] = [
        (
            &[
                0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab,
                0x90, 0xf4, 0xff,
            ],
            57,
        ),
        (
            &[
                0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf,
            ],
            110,
        ),
        (
            &[
                0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f,
                0x89, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
            ],
            164,
        ),
    ];
    let mut reader = FieldReader::default();
    for (block, size) in blocks {
        assert_eq!(reader.read(block), Ok((Notice::default(), None)));
        assert_eq!(reader.size, size);
    }
    // Setting the size of the dynamic table to 0 (0x20) evicts all its entries.
    assert_eq!(reader.read(&[0x20]), Ok((Notice::default(), None)));
    assert_eq!(reader.size, 0);
    assert_eq!(reader.read(&[0xbe]), Err(BrokenBlock));
}

#[test]
fn a_malformed_field_is_replaced_by_one_of_the_same_length() {
    for (name, value, good_name, good_value) in [
        ("x", &b"a\0b"[..], "x", &b"___"[..]),
        ("X-Upper", b"1", "x-xpper", b"1"),
        (":unknown", b"1", "xunknown", b"1"),
        (":status", b"no", "xstatus", b"no"),
        ("x y", b"\n", "xxy", b"_"),
        (":method", b"G(T", ":method", b"XXX"),
        (":authority", b"a b", ":authority", b"aaa"),
    ] {
        let mut reader = FieldReader::default();
        let (notice, rewritten) = reader.read(&literal(true, name, value)).expect("decoded");
        assert_eq!(notice, MALFORMED, "{name}");
        let rewritten = rewritten.expect("rewritten");
        assert_eq!(rewritten, literal(true, good_name, good_value), "{name}");
        // A reference by index (0xbe) to the entry of the dynamic table with the malformed field is
        // malformed too.
        assert_eq!(reader.read(&[0xbe]), Ok((MALFORMED, None)), "{name}");
    }
}

#[test]
fn a_pseudo_header_of_responses_is_renamed_in_a_request() {
    let mut block = vec![0x48];
    push_string(&mut block, b"no");
    let (notice, rewritten) = FieldReader::default().read(&block).expect("decoded");
    assert_eq!(notice, MALFORMED);
    assert_eq!(rewritten, Some(literal(true, "xstatus", b"no")));
}

#[test]
fn a_path_that_cannot_be_passed_on_is_kept_beside() {
    for path in ["/a#b", "/a b", "/`<>", "a"] {
        let mut reader = FieldReader::default();
        let block = [
            &[0x82][..],
            &literal(true, ":path", path.as_bytes()),
            &[0x87],
        ]
        .concat();
        let (notice, rewritten) = reader.read(&block).expect("decoded");
        assert_eq!(notice.target.as_deref(), Some(path.as_bytes()));
        assert!(!notice.malformed);
        let rewritten = rewritten.expect("rewritten");
        assert_eq!(rewritten.len(), block.len());
        assert_eq!(
            FieldReader::default().read(&rewritten),
            Ok((Notice::default(), None)),
            "what is passed on is in order"
        );
    }
}

#[test]
fn blocks_that_end_early_are_broken() {
    let block = literal(false, "name", b"value");
    for length in 1..block.len() {
        assert_eq!(
            FieldReader::default().read(&block[..length]),
            Err(BrokenBlock)
        );
    }
    for block in [
        &[0x80][..],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x3f, 0xe2, 0x1f],
    ] {
        assert_eq!(FieldReader::default().read(block), Err(BrokenBlock));
    }
}

#[test]
fn an_empty_path_is_left_to_the_library() {
    let block = [0x44, 0x00];
    let read = FieldReader::default().read(&block);
    assert_eq!(read, Ok((Notice::default(), None)));
}

proptest! {
    #[test]
    fn random_blocks_never_panic_and_are_in_order_once_rewritten(
        blocks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..60), 1..6),
    ) {
        let (mut reader, mut next) = (FieldReader::default(), FieldReader::default());
        for block in blocks {
            let Ok((_, rewritten)) = reader.read(&block) else { break };
            let passed_on = rewritten.unwrap_or(block);
            prop_assert_eq!(next.read(&passed_on), Ok((Notice::default(), None)));
            prop_assert_eq!(reader.size, next.size);
        }
    }
}
