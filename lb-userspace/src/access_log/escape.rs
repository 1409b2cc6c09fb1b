//! Escapes values that a client supplied, so that they cannot end their field or line of the access
//! log.

/// Appends a value as a JSON string with its quotes (RFC 8259 §7). Valid UTF-8 is copied; each
/// invalid byte becomes the escape of the character with the same number (`\u00ff`); characters
/// that may end a line are escaped.
pub(super) fn push_json(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                ' '..='~' => out.push(character as u8),
                // These characters include NEL, LINE SEPARATOR and PARAGRAPH SEPARATOR, which may
                // end a line.
                '\0'..='\u{9f}' | '\u{2028}' | '\u{2029}' => push_code(out, character as u32),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            push_code(out, u32::from(*byte));
        }
    }
    out.push(b'"');
}

/// Appends a value escaped as Apache and nginx do it: quotes, backslashes and all bytes other than
/// printable ASCII become `\xHH`.
pub(super) fn push_text(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' | b'\\' => push_hex(out, *byte),
            b' '..=b'~' => out.push(*byte),
            _ => push_hex(out, *byte),
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    let digit = |shift: u8| DIGITS[usize::from(byte >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'x', digit(4), digit(0)]);
}

fn push_code(out: &mut Vec<u8>, code: u32) {
    let digit = |shift: u32| DIGITS[(code >> shift & 15) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &[u8]) -> String {
        let mut out = Vec::new();
        push_json(&mut out, value);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn text(value: &[u8]) -> String {
        let mut out = Vec::new();
        push_text(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn values_are_escaped_as_documented() {
        assert_eq!(json(b"a\"b\\c\r\n\x7f"), r#""a\"b\\c\u000d\u000a\u007f""#);
        assert_eq!(json("ä\u{2028}\u{85}".as_bytes()), "\"ä\\u2028\\u0085\"");
        assert_eq!(json(b"\xff"), r#""\u00ff""#);
        assert_eq!(text(b"a\"b\\\r\n\xff"), r"a\x22b\x5c\x0d\x0a\xff");
    }

    proptest! {
        #[test]
        fn json_is_one_line_and_reads_back(value: Vec<u8>) {
            let written = json(&value);
            let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert_eq!(written.chars().find(|c| ends_line(*c)), None);
            let read: String = serde_json::from_str(&written).expect("JSON");
            match String::from_utf8(value) {
                Ok(value) => prop_assert_eq!(read, value),
                Err(error) => {
                    let bytes = error.as_bytes();
                    prop_assert!(read.chars().count() <= bytes.len());
                }
            }
        }

        #[test]
        fn text_is_printable_and_has_no_quote(value: Vec<u8>) {
            let written = text(&value);
            prop_assert!(written.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'));
        }
    }
}
