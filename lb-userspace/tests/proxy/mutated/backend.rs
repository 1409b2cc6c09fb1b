//! A backend that sends mutated responses and aborts connections.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufRead, BufReader, Read, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use super::{
    bytes::{Random, mutate, send_in_pieces},
    client::reset,
};
use crate::{
    backends::{Backend, ok, read_body},
    replay::responses,
};

/// Path of the requests to which the backend sends a valid response.
pub(super) const HONEST: &str = "/honest";
/// Time-out of reading from the front, longer than the front's own time-outs in this test.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum size of a request's head that the backend reads, in bytes.
const MOST: u64 = 65_536;

/// Starts a backend that misbehaves in a reproducible way: the seed and the head of each request
/// determine how it misbehaves.
pub(super) fn misbehaving(seed: u64) -> Backend {
    let mut responses = responses();
    responses.push(ok(&[b'x'; 100_000]));
    let chunk = [b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    responses.push([chunked, &chunk.repeat(6)[..], b"0\r\n\r\n"].concat());
    Backend::raw(move |stream| {
        let _gone = stream.set_read_timeout(Some(PATIENCE));
        let _gone = stream.set_write_timeout(Some(PATIENCE));
        let Ok(reader) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(reader);
        while let Some(head) = read_any_head(&mut reader) {
            let goes_on = if is_honest(&head) {
                answer(&head, &mut reader, &stream)
            } else {
                let mut hasher = DefaultHasher::new();
                head.hash(&mut hasher);
                let mut random = Random::new(seed, hasher.finish());
                misbehave(&mut random, &responses, &mut reader, &stream)
            };
            if !goes_on {
                return;
            }
        }
    })
}

/// Reads a head up to its empty line, whatever bytes its lines contain; `None` if it is incomplete.
fn read_any_head(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut line = reader.by_ref().take(MOST - head.len() as u64);
        if line.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn is_honest(head: &[u8]) -> bool {
    let target = head.split(|byte| *byte == b' ').nth(1);
    target == Some(HONEST.as_bytes())
}

fn answer(head: &[u8], reader: &mut impl BufRead, mut stream: &TcpStream) -> bool {
    let head = String::from_utf8_lossy(head);
    let body = read_body(&head, reader);
    body.is_some_and(|body| stream.write_all(&ok(&body)).is_ok())
}

/// Answers a request in a random way. Returns whether the connection to the front stays open.
fn misbehave(
    random: &mut Random,
    responses: &[Vec<u8>],
    reader: &mut impl Read,
    mut stream: &TcpStream,
) -> bool {
    match random.below(40) {
        0 => return false,
        1 => {
            reset(stream);
            return false;
        }
        2 => {
            let _end = reader.read(&mut [0; 4096]);
            return false;
        }
        _ => {}
    }
    let mut response = random.pick(responses).clone();
    if !random.one_in(3) {
        mutate(random, &mut response);
    }
    if !send_in_pieces(random, &response, |piece| stream.write_all(piece)) {
        return false;
    }
    match random.below(8) {
        0 => false,
        1 => {
            reset(stream);
            false
        }
        2 | 3 => stream.shutdown(Shutdown::Write).is_ok(),
        _ => true,
    }
}
