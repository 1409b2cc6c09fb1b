//! Decodes strings in the Huffman code of HPACK (RFC 7541 appendix B).

/// The length in bits of each byte's code; the last is the code of EOS, which must not occur. The
/// code is canonical, so the codes themselves follow from their lengths.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];
const LONGEST: usize = 30;
/// The symbol EOS (end of string).
const END: u16 = 256;

/// HPACK's Huffman code, by code length: the codes of one length are consecutive numbers.
struct Code {
    /// The first code of each length in bits.
    first: [u32; LONGEST + 1],
    /// The number of codes of each length in bits.
    count: [u32; LONGEST + 1],
    /// Offset in `symbols` of the symbols whose codes have each length.
    start: [usize; LONGEST + 1],
    /// All symbols, in the order of their codes.
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut code = Code {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut placed, mut word, mut length) = (0, 0, 1);
    while length <= LONGEST {
        word <<= 1;
        code.first[length] = word;
        code.start[length] = placed;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol as usize] as usize == length {
                code.symbols[placed] = symbol;
                code.count[length] += 1;
                placed += 1;
                word += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Appends the decoded string to `out`; returns false if the coding is invalid.
pub(crate) fn decode_huffman(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut word, mut length) = (0_u32, 0);
    for byte in coded {
        for bit in (0..8).rev() {
            word = word << 1 | u32::from(byte >> bit & 1);
            length += 1;
            if length > LONGEST {
                return false;
            }
            let number = word.wrapping_sub(CODE.first[length]);
            if word >= CODE.first[length] && number < CODE.count[length] {
                match CODE.symbols[CODE.start[length] + number as usize] {
                    END => return false,
                    symbol => out.push(symbol as u8),
                }
                (word, length) = (0, 0);
            }
        }
    }
    // The bits that are left must be padding: less than a byte, all ones (RFC 7541 §5.2).
    length < 8 && word == (1 << length) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode_huffman(coded, &mut out).then(|| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn the_rfc_s_examples_are_decoded() {
        // The examples of RFC 7541 appendices C.4 and C.6.
        for (coded, text) in [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                "custom-value",
            ),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            assert_eq!(decoded(coded).as_deref(), Some(text));
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        assert_eq!(decoded(&[0x64, 0x02, 0xff]), None);
        assert_eq!(decoded(&[0x18]), None);
        assert_eq!(decoded(&[0xff; 4]), None);
    }
}
