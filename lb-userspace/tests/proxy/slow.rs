//! Tests with clients and backends that are slow, and with those that have stopped sending or
//! reading.

use std::{
    io::{BufReader, Write as _},
    thread,
    time::{Duration, Instant},
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient},
    raw_http2::{self, FrameClient},
    site::{Site, wait_until},
};

/// Size of a response's body in bytes, larger than the kernel's socket buffers.
const BYTES: usize = 5_250_000;
/// Number of bytes that a slow client reads at a time, every `STEP`. At this pace, the client takes
/// longer than the time-out `LIMIT` to empty a full buffer.
const PART: usize = 75_000;
const LIMIT: Duration = Duration::from_millis(600);
const STEP: Duration = Duration::from_millis(80);

fn large() -> (Backend, Site) {
    let backend = Backend::answering(|_| ok(&vec![b'x'; BYTES]));
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.send = LIMIT;
    });
    (backend, site)
}

#[test]
fn a_client_that_reads_slowly_and_steadily_gets_everything() {
    let (_backend, site) = large();
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    for _ in 0..BYTES / PART {
        client.bytes(PART);
        thread::sleep(STEP);
    }
    wait_until("it is counted", || site.answered(200) == 1);
}

#[test]
fn a_client_that_reads_slowly_over_http2_gets_everything() {
    let (_backend, site) = large();
    let mut client = FrameClient::connect(site.address);
    client.widen();
    let (stream, request) = client.request(&raw_http2::get(&[]), None);
    client.tls.send(request);
    let (mut read, mut paused) = (0, 0);
    while read < BYTES {
        let frame = client.frame().expect("a frame");
        assert_ne!(frame.kind, raw_http2::RST_STREAM, "after {read} bytes");
        if frame.kind == raw_http2::DATA && frame.stream == stream {
            read += frame.payload.len();
        }
        if read - paused > PART {
            paused = read;
            thread::sleep(STEP);
        }
    }
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (_backend, site) = large();
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut stalled = FrameClient::connect(site.address);
    stalled.widen();
    let (_, request) = stalled.request(&raw_http2::get(&[]), None);
    stalled.tls.send(request);
    wait_until("both are given up", || {
        site.broken(Reason::ClientResponseBodyTimeout) == 2
    });
    assert_eq!(site.answered(200), 0);
    assert_eq!(site.proxy().counters().backend_connections[0].in_use, 0);
}

#[test]
fn a_head_that_drips_is_not_waited_for_beyond_its_time() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
            thread::sleep(Duration::from_millis(50));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let site = Site::plain(&[backend.address], |limits| {
        limits.timeouts.response_head = Duration::from_millis(300);
    });
    let mut client = Client::plain(site.address);
    let began = Instant::now();
    assert_eq!(client.get("/").status(), 504);
    assert!(began.elapsed() < Duration::from_millis(1200));
}
