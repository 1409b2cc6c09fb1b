//! Formats numbers faster than `core::fmt` does.

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    push_digits::<10>(out, number);
}

/// Appends a number in hexadecimal digits.
pub(crate) fn push_hexadecimal(out: &mut Vec<u8>, number: u64) {
    push_digits::<16>(out, number);
}

fn push_digits<const BASE: u64>(out: &mut Vec<u8>, mut number: u64) {
    // The digits of the number: at most 20, as 2^64 has 20 decimal digits.
    let mut text = [0; 20];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_as_the_standard_library_writes_them(
            number in prop_oneof![any::<u64>(), 0..300u64, Just(u64::MAX)],
        ) {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            out.push(b' ');
            push_hexadecimal(&mut out, number);
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{number} {number:x}"));
        }
    }
}
