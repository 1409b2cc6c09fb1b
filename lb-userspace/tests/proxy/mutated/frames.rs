//! The client's bytes of HTTP/2 connections whose frames are mutated (RFC 9113 §4.1).

use super::bytes::{Random, mutate};
use crate::{
    both::CASES,
    raw_http2::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
        literals,
    },
};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// Returns all bytes that a client sends on the connection with this number.
pub(super) fn script(random: &mut Random, number: u64) -> Vec<u8> {
    let mut frames = vec![frame(SETTINGS, 0, 0, &settings(random))];
    for request in 0..=random.below(6) {
        let stream = 2 * request as u32 + 1;
        frames.extend(self::request(random, stream, number));
        while random.one_in(4) {
            frames.push(other(random, stream));
        }
    }
    if random.one_in(2) {
        for _ in 0..=random.below(3) {
            mutate_frames(random, &mut frames);
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frames.concat());
    if random.one_in(8) {
        mutate(random, &mut bytes);
    }
    bytes
}

fn request(random: &mut Random, stream: u32, number: u64) -> Vec<Vec<u8>> {
    let (case, _) = random.pick(CASES);
    let mark = number.to_string();
    let mut fields = case.http2();
    fields.push(("x-number", mark.as_bytes()));
    let mut block = literals(&fields);
    if random.one_in(2) {
        // These bytes are a field that is added to HPACK's dynamic table, and a reference to it
        // (RFC 7541 §6.1, §6.2.1).
        block.extend(b"\x40\x03x-a\x01b\xbe");
    }
    if random.one_in(4) {
        mutate(random, &mut block);
    }
    let end = case.body.map_or(END_STREAM, |_| 0);
    let mut frames = if random.one_in(4) {
        let (first, rest) = block.split_at(random.below(block.len() + 1));
        vec![
            frame(HEADERS, end, stream, first),
            frame(CONTINUATION, END_HEADERS, stream, rest),
        ]
    } else {
        vec![frame(HEADERS, END_HEADERS | end, stream, &block)]
    };
    if let Some(body) = case.body {
        if random.one_in(2) {
            frames.push(frame(DATA, 0, stream, &vec![b'x'; random.below(16_384)]));
        }
        if !random.one_in(4) {
            frames.push(frame(DATA, END_STREAM, stream, body));
        }
    }
    frames
}

/// Returns a frame that does not begin a request; a third of these frames are errors (RFC 9113 §6).
fn other(random: &mut Random, stream: u32) -> Vec<u8> {
    let about = if random.one_in(2) { 0 } else { stream };
    let word = (random.below(1 << 32) as u32).to_be_bytes();
    if random.one_in(3) {
        return match random.below(5) {
            0 => frame(WINDOW_UPDATE, 0, about, &word),
            1 => frame(PRIORITY, 0, stream, &[&word[..], &[1]].concat()),
            2 => frame(SETTINGS, 0, 0, &[&[0, random.byte()], &word[..]].concat()),
            3 => frame(PUSH_PROMISE, END_HEADERS, stream, &word),
            _ => frame(random.byte(), random.byte(), about, &word),
        };
    }
    match random.below(6) {
        0 => frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        1 | 2 => frame(WINDOW_UPDATE, 0, about, &65_535_u32.to_be_bytes()),
        3 => frame(PING, random.byte() & 1, 0, &[0; 8]),
        4 => frame(SETTINGS, 0, 0, &settings(random)),
        _ => frame(GOAWAY, 0, 0, &[0; 8]),
    }
}

/// Returns up to three HTTP/2 settings, of table size, streams, windows, frame size and list size
/// (RFC 9113 §6.5.2).
fn settings(random: &mut Random) -> Vec<u8> {
    let known: [(u8, u32); 9] = [
        (1, 0),
        (1, 65_536),
        (3, 0),
        (4, 0),
        (4, 1),
        (4, 0x7fff_ffff),
        (5, 16_384),
        (5, 0xff_ffff),
        (6, 1),
    ];
    let setting = |random: &mut Random| {
        let (name, value) = random.pick(&known);
        [&[0, *name][..], &value.to_be_bytes()].concat()
    };
    (0..random.below(4)).flat_map(|_| setting(random)).collect()
}

fn mutate_frames(random: &mut Random, frames: &mut Vec<Vec<u8>>) {
    if frames.is_empty() {
        return;
    }
    let place = random.below(frames.len());
    let other = random.below(frames.len());
    let frame = &mut frames[place];
    match random.below(8) {
        0 => frame[3] = random.below(11) as u8,
        1 => frame[4] ^= 1 << random.below(8),
        2 => frame[random.below(3)] ^= 1 << random.below(8),
        3 => frame[5 + random.below(4)] ^= 1 << random.below(8),
        4 => {
            let mut payload = frame.split_off(9);
            mutate(random, &mut payload);
            let length = (payload.len() as u32).to_be_bytes();
            frame[..3].copy_from_slice(&length[1..]);
            frame.extend(payload);
        }
        5 => drop(frames.remove(place)),
        6 => {
            let again = frame.clone();
            frames.insert(other, again);
        }
        _ => frames.swap(place, other),
    }
}
