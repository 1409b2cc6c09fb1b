//! Tests of parsing the key file.

use super::super::BadKeys;
use super::*;

const HEX: &str = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn a_key_file_of_keepalived_is_one_key_with_the_number_1() {
    assert_eq!(Keys::parse(HEX), Ok(Keys::one(draft_key())));
    assert_eq!(
        Keys::parse(&format!("{HEX}\r\n")),
        Ok(Keys::one(draft_key()))
    );
    let text = "thirty-two characters or more it has to have";
    let one = Key::new(NonZeroU8::MIN, text.replace(' ', "_").as_bytes()).expect("a key");
    assert_eq!(Keys::parse(&text.replace(' ', "_")), Ok(Keys::one(one)));
}

#[test]
fn the_first_of_several_keys_signs_and_all_are_taken() {
    let other = "hex:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let with = |text: &str| Settings {
        authentication: Authentication::Hmac(Keys::parse(text).expect("keys")),
        ..sender()
    };
    let (old, both, new) = (
        with(&format!("1 {HEX}")),
        with(&format!("2 {other}\n1 {HEX}\n")),
        with(&format!("2 {other}")),
    );
    assert_eq!(encode(&both, 100)[9], 2, "the second key's number");
    for signs in [&old, &both, &new] {
        let taken = decode(&both, &encode(signs, 100)).map(|advert| advert.priority.get());
        assert_eq!(taken, Ok(100));
    }
    assert_eq!(
        decode(&old, &encode(&new, 100)),
        Err(Refusal::Key { id: 2 })
    );
}

#[test]
fn what_is_no_key_is_refused_with_its_line() {
    let line = |line| Err(BadKeys::Line { line });
    assert_eq!(Keys::parse(" \n\n"), Err(BadKeys::None));
    assert_eq!(Keys::parse("short"), line(1));
    assert_eq!(Keys::parse(&"x".repeat(65)), line(1));
    assert_eq!(Keys::parse(&format!("{HEX}\n2 {HEX}0")), line(2));
    assert_eq!(Keys::parse(&format!("0 {HEX}")), line(1));
    assert_eq!(Keys::parse(&format!("256 {HEX}")), line(1));
    let twice = Keys::parse(&format!("{HEX}\n1 {HEX}"));
    assert_eq!(twice, Err(BadKeys::Twice { id: NonZeroU8::MIN }));
}

#[test]
fn no_secret_is_printed() {
    let settings = Settings {
        authentication: hmac(),
        ..sender()
    };
    let shown = format!("{:?}", Encoder::new(wire(settings)));
    assert!(
        shown.contains("Key(1, …)") && !shown.contains("31"),
        "{shown}"
    );
    let shown = format!("{:?}", password("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
}
