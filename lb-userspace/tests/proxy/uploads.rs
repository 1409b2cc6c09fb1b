//! Tests of uploads: request bodies over HTTP/2.

use std::{
    io::{BufReader, Write as _},
    thread,
    time::Duration,
};

use crate::{
    backends::{Backend, ok, read_body, read_head},
    frames::Frames,
    raw_http2::HEADERS,
    site::{Site, wait_until},
};

/// Returns a backend that does not read the body of a POST to `/stall`, and answers all other
/// requests.
fn stalling() -> Backend {
    Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Some(head) = read_head(&mut reader) {
            if head.starts_with("POST /stall ") {
                // The receive buffer is small, so that the unread data uses little of the kernel's
                // memory.
                let socket = socket2::SockRef::from(&stream);
                socket.set_recv_buffer_size(4096).expect("a small buffer");
                thread::sleep(Duration::from_secs(60));
                return;
            }
            if read_body(&head, &mut reader).is_none() || stream.write_all(&ok(b"")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn uploads_that_stall_leave_room_for_another_one_on_their_connection() {
    for stalled in [8, 100] {
        let backend = stalling();
        let site = Site::https(&[backend.address]);
        let mut client = Frames::connect(site.address, 65_535);
        let streams: Vec<u32> = (1..).step_by(2).take(stalled).collect();
        for stream in &streams {
            client.request(*stream, "POST", "/stall", false);
        }
        wait_until("all are under way", || backend.requests() == stalled);
        client.upload_all_that_goes(&streams);
        client.request(1001, "POST", "/x", false);
        assert!(client.upload(1001, 20), "{stalled} stalled uploads");
        let head = client.find(|frame| frame.kind == HEADERS && frame.stream == 1001);
        assert!(head.is_some(), "{stalled}");
    }
}
