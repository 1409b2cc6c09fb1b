//! Tests of the memory that the front uses for clients that do not read.

use std::{
    io::{BufReader, Write as _},
    thread,
    time::Duration,
};

use crate::{
    backends::{Backend, read_head},
    clients::TlsClient,
    frames::Frames,
    raw_http2::DATA,
    site::{Site, wait_until},
};

const KIB: usize = 1 << 10;
/// Size of a response in bytes, larger than what the front buffers of a response. Unread data stays
/// in the kernel, whose memory for all sockets of the machine is limited, so the size is not larger
/// than necessary.
const BODY: usize = 128 * KIB;
/// The largest HTTP/2 flow-control window, in bytes.
const WIDE_OPEN: u32 = 0x7fff_ffff;

/// Returns a backend that answers each request with a body of 128 KiB.
fn generous() -> Backend {
    Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while read_head(&mut reader).is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
            let piece = [0; 64 * KIB];
            let mut sent = stream.write_all(head.as_bytes());
            for _ in 0..BODY / piece.len() {
                sent = sent.and_then(|()| stream.write_all(&piece));
            }
            if sent.is_err() {
                return;
            }
        }
    })
}

/// Opens a connection, sends as many requests as it may have at once, and reads nothing.
fn greedy(site: &Site) -> Frames {
    let mut client = Frames::connect(site.address, WIDE_OPEN);
    for number in 0..100 {
        client.request(2 * number + 1, "GET", "/", true);
    }
    client
}

fn buffered(site: &Site) -> usize {
    usize::try_from(site.proxy().counters().buffered_bytes).expect("a size")
}

/// Waits until the amount of data that the front buffers no longer changes, and returns it in
/// bytes.
fn settled(site: &Site) -> usize {
    let mut last = usize::MAX;
    wait_until("the buffers are as full as they get", || {
        thread::sleep(Duration::from_millis(200));
        let now = buffered(site);
        now > 0 && std::mem::replace(&mut last, now) == now
    });
    last
}

#[test]
fn a_client_that_reads_nothing_has_no_more_kept_than_its_bound() {
    let backend = generous();
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.connection_buffer_bytes = 256 * KIB;
    });
    let client = greedy(&site);
    // Each of the 100 responses begins with a buffer of 8 KiB, and each of the first eight with one
    // of 64 KiB. In addition, the last part of a response may exceed the bound.
    let most = (256 + 64 + 100 * 8 + 8 * 64) * KIB;
    let kept = settled(&site);
    assert!(kept <= most, "{kept} bytes of {most}");
    drop(client);
    wait_until("it is given back", || buffered(&site) == 0);
}

#[test]
fn many_clients_that_read_nothing_leave_room_for_one_that_does() {
    let backend = generous();
    let bound = 1024 * KIB;
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.buffer_bytes = 2 * bound;
    });
    let clients: Vec<_> = (0..8).map(|_| greedy(&site)).collect();
    // The memory bound of each of the two workers may be exceeded by the amount that each
    // connection may buffer in any case, and by the first read of each response.
    let most = 2 * bound + 8 * (16 + 64 + 100 * 8) * KIB;
    let kept = settled(&site);
    assert!(kept <= most, "{kept} bytes of {most}");
    let mut honest = TlsClient::tls(site.address);
    honest.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(honest.response().body.len(), BODY);
    let mut honest = Frames::connect(site.address, WIDE_OPEN);
    honest.request(1, "GET", "/", true);
    let mut received = 0;
    let end = honest.find(|frame| {
        received += if frame.kind == DATA {
            frame.payload.len()
        } else {
            0
        };
        frame.ends_stream()
    });
    assert!(end.is_some(), "after {received} bytes");
    assert_eq!(received, BODY);
    drop(clients);
    wait_until("it is given back", || buffered(&site) <= 64 * KIB);
}

#[test]
fn requests_that_wait_for_their_backend_take_up_no_buffer() {
    let silent = Backend::raw(|_stream| thread::sleep(Duration::from_secs(30)));
    let site = Site::https(&[silent.address]);
    let _client = greedy(&site);
    wait_until("all are under way", || silent.requests() == 100);
    assert_eq!(buffered(&site), 0);
}
