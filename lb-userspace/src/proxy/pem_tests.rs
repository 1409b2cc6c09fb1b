//! Tests that PEM files are parsed as editors, scripts and other programs write them.

use super::*;

fn certificate() -> String {
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
    made.cert.pem()
}

/// Returns the line and the label of each PEM block in the text.
fn found(text: impl AsRef<[u8]>) -> Vec<(usize, String)> {
    let blocks = blocks(text.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    let place = |block: Block| (block.line, block.label);
    blocks.into_iter().map(place).collect()
}

fn ders(text: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
    let blocks = blocks(text.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    let der = |block: Block| match block.content {
        Content::Certificate(der) => Some(der.to_vec()),
        _ => None,
    };
    blocks.into_iter().filter_map(der).collect()
}

#[test]
fn a_block_may_begin_in_the_line_in_which_another_one_ends() {
    let (one, other) = (certificate(), certificate());
    let glued = format!("{}{other}", one.trim_end());
    assert!(glued.contains("-----END CERTIFICATE----------BEGIN CERTIFICATE-----"));
    assert_eq!(ders(&glued), ders(one + &other));
}

#[test]
fn what_editors_and_scripts_add_changes_nothing() {
    let plain = certificate();
    let wanted = ders(&plain);
    for text in [
        format!("\u{feff}{plain}"),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        plain.replace('\n', "  \n"),
        plain.replace('\n', "\n\n"),
        format!("Bag Attributes\n    friendlyName: a\n----- not a block -----\n{plain}trailing"),
        format!("-----BEGIN \n{plain}"),
        plain.trim_end().to_owned(),
    ] {
        assert_eq!(ders(&text), wanted, "{text}");
    }
    let digits: String = plain.lines().filter(|line| !line.contains('-')).collect();
    let one_line = format!("-----BEGIN CERTIFICATE-----{digits}-----END CERTIFICATE-----");
    assert_eq!(ders(one_line), wanted);
}

#[test]
fn blocks_are_named_with_their_lines() {
    let text = format!(
        "comment\n-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n{}",
        certificate()
    );
    let wanted = [
        (2, "DH PARAMETERS".to_owned()),
        (5, "CERTIFICATE".to_owned()),
    ];
    assert_eq!(found(text), wanted);
    assert!(found("").is_empty());
}

#[test]
fn what_cannot_be_used_is_named_and_not_passed_over() {
    let plain = certificate();
    let no_end = plain.replace("-----END CERTIFICATE-----\n", "");
    let block = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let encrypted = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA";
    for (text, wanted) in [
        (
            no_end.clone(),
            "the CERTIFICATE that begins on line 1 has no end",
        ),
        (
            no_end + &plain,
            "the CERTIFICATE that begins on line 1 has no end",
        ),
        (
            plain.replace("END CERTIFICATE", "END PRIVATE KEY"),
            "begins on line 1 ends as PRIVATE KEY",
        ),
        (
            format!("{plain}{}", block("CERTIFICATE", "not base64!")),
            "cannot be decoded",
        ),
        (block("RSA PRIVATE KEY", encrypted), "line 1 is encrypted"),
        (
            block("ENCRYPTED PRIVATE KEY", "AAAA"),
            "line 1 is encrypted",
        ),
        (block("OPENSSH PRIVATE KEY", "AAAA"), "ssh-keygen"),
    ] {
        let error = blocks(text.as_bytes()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&[0xff, 0xfe][..], &utf16].concat();
    assert_eq!(blocks(&utf16).expect_err("UTF-16"), PemProblem::Utf16);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken_apart_or_refused(
        pieces in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::strategy::Just(b"-----BEGIN CERTIFICATE-----".to_vec()),
                proptest::strategy::Just(b"-----END CERTIFICATE-----".to_vec()),
                proptest::strategy::Just(b"-----BEGIN PRIVATE KEY-----\n".to_vec()),
                proptest::strategy::Just(b"-----".to_vec()),
                proptest::strategy::Just(b"-----BEGIN ".to_vec()),
                proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..40),
            ],
            0..12,
        )
    ) {
        let _taken_apart = blocks(&pieces.concat());
    }
}
