//! Tests of requests that HTTP/2 clients cancel.

use std::{
    io::{BufReader, Write as _},
    thread,
    time::{Duration, Instant},
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, ok, read_head},
    frames::Frames,
    raw_http2::{GOAWAY, HEADERS},
    site::Site,
};

const WINDOW: u32 = 65_535;
/// The HTTP/2 error code ENHANCE_YOUR_CALM, as the four bytes of a frame (RFC 9113 §7).
const CALM: [u8; 4] = 11_u32.to_be_bytes();

/// Returns a backend that answers each request after a delay.
fn steady(after: Duration) -> Backend {
    Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while read_head(&mut reader).is_some() {
            thread::sleep(after);
            if stream.write_all(&ok(b"steady")).is_err() {
                return;
            }
        }
    })
}

/// Sends a request on each of these streams, and cancels each soon after.
fn ask_in_vain(client: &mut Frames, streams: &[u32]) {
    for stream in streams {
        client.request(*stream, "GET", "/", true);
    }
    thread::sleep(Duration::from_millis(2));
    for stream in streams {
        client.reset(*stream);
    }
}

fn sent_away(site: &Site) -> u64 {
    site.closed(Reason::LbHeadCancellations)
}

#[test]
fn requests_that_are_taken_back_at_a_pace_do_not_reach_backends_in_numbers() {
    let backend = steady(Duration::from_millis(30));
    let site = Site::https(&[backend.address]);
    let mut client = Frames::connect(site.address, WINDOW);
    let began = Instant::now();
    let mut streams = (1..).step_by(2);
    while began.elapsed() < Duration::from_secs(1) {
        ask_in_vain(&mut client, &streams.by_ref().take(50).collect::<Vec<_>>());
    }
    assert_eq!(sent_away(&site), 1);
    assert!(backend.requests() <= 196, "{}", backend.requests());
}

#[test]
fn a_client_that_cancels_all_its_requests_gets_enhance_your_calm() {
    let backend = steady(Duration::from_millis(30));
    let site = Site::https(&[backend.address]);
    let mut client = Frames::connect(site.address, WINDOW);
    let mut streams = (1..).step_by(2);
    for _ in 0..4 {
        ask_in_vain(&mut client, &streams.by_ref().take(25).collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(50));
    }
    client.request(201, "GET", "/", true);
    let goaway = client.find(|frame| frame.kind == GOAWAY).expect("GOAWAY");
    assert_eq!(goaway.payload[4..8], CALM);
    assert_eq!(sent_away(&site), 1);
}

#[test]
fn the_backend_s_connection_of_a_request_that_was_taken_back_is_kept() {
    let backend = steady(Duration::from_millis(50));
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.workers = std::num::NonZeroUsize::MIN;
    });
    let mut client = Frames::connect(site.address, WINDOW);
    for number in 0..5 {
        client.request(4 * number + 1, "GET", "/", true);
        thread::sleep(Duration::from_millis(20));
        client.reset(4 * number + 1);
        thread::sleep(Duration::from_millis(80));
        let stream = 4 * number + 3;
        client.request(stream, "GET", "/", true);
        let head = client.find(|frame| frame.kind == HEADERS && frame.stream == stream);
        assert!(head.is_some());
    }
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_client_that_takes_back_half_of_what_it_asks_may_go_on() {
    let backend = steady(Duration::ZERO);
    let site = Site::https(&[backend.address]);
    let mut client = Frames::connect(site.address, WINDOW);
    for number in 0..300 {
        client.request(4 * number + 1, "GET", "/", true);
        client.reset(4 * number + 1);
        let stream = 4 * number + 3;
        client.request(stream, "GET", "/", true);
        let head = client
            .find(|frame| frame.kind == HEADERS && frame.stream == stream || frame.kind == GOAWAY);
        assert_eq!(head.expect("an answer").kind, HEADERS, "{number}");
    }
}
