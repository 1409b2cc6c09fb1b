//! Tests with large bodies in both directions.

use std::{
    io::{BufReader, Read as _, Write as _},
    thread,
    time::Duration,
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient, curl},
    raw_http2::{self, FrameClient},
    site::{Site, wait_until},
};

const BYTES: usize = 64 << 20;

/// Returns the bytes of a body that does not repeat itself, so that lost or swapped parts are
/// noticed.
fn pattern() -> Vec<u8> {
    (0..BYTES as u64 / 8)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

/// Returns a backend that answers a GET with the bytes of `pattern`, with a Content-Length or
/// chunked, and that says in its response to a POST whether the request's body was these bytes.
fn library() -> Backend {
    let pattern = pattern();
    Backend::answering(move |seen| {
        if seen.head.starts_with("POST") {
            let text: &[u8] = if seen.body == pattern {
                b"same"
            } else {
                b"different"
            };
            return ok(text);
        }
        if seen.head.contains("/chunked") {
            let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in pattern.chunks(100_003) {
                write!(response, "{:x}\r\n", chunk.len()).expect("written");
                response.extend_from_slice(chunk);
                response.extend_from_slice(b"\r\n");
            }
            response.extend_from_slice(b"0\r\n\r\n");
            return response;
        }
        ok(&pattern)
    })
}

#[test]
fn large_bodies_arrive_unchanged_both_ways_over_both_protocols() {
    let backend = library();
    let site = Site::https(&[backend.address]);
    let wanted = pattern();
    let file = site.folder.path().join("upload");
    std::fs::write(&file, &wanted).expect("write");
    let upload = format!("@{}", file.display());
    for version in ["--http1.1", "--http2"] {
        for path in ["length", "chunked"] {
            let url = format!("https://{}/{path}", site.address);
            let output = curl(&[version, &url]);
            assert!(output.status.success(), "{version} {path}: {output:?}");
            assert!(output.stdout == wanted, "{version} {path}: bytes differ");
            let mut arguments = vec![version, "--data-binary", &upload];
            if path == "chunked" {
                arguments.extend(["--header", "Transfer-Encoding: chunked"]);
            }
            arguments.push(&url);
            let output = curl(&arguments);
            assert_eq!(output.stdout, b"same", "{version} {path}: {output:?}");
        }
    }
}

#[test]
fn a_response_may_flow_while_the_request_still_does() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        stream.write_all(head).expect("sent");
        let mut part = [0; 4];
        for _ in 0..3 {
            reader.read_exact(&mut part).expect("a part");
            stream.write_all(&part).expect("sent");
        }
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.0\r\nContent-Length: 12\r\n\r\n");
    client.head();
    for part in ["one.", "two.", "tri."] {
        client.send(part);
        assert_eq!(client.bytes(4), part.as_bytes());
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_backend_that_answers_before_the_body_is_heard() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let response = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
        stream.write_all(response).expect("sent");
        thread::sleep(Duration::from_millis(300));
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nxyz");
    let response = client.response();
    assert_eq!(response.status(), 413);
    assert_eq!(
        crate::backends::header(&response.head, "Connection"),
        Some("close")
    );
    assert_eq!(client.rest(), b"");
}

/// The backend sends chunks one by one, each only after the client has received the one before.
#[test]
fn a_chunk_goes_on_before_the_next_one_is_waited_for() {
    let (arrived, next) = std::sync::mpsc::channel();
    let next = std::sync::Mutex::new(next);
    let backend = Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).expect("sent");
        let next = next.lock().expect("one connection");
        while let Ok(()) = next.recv() {
            if stream.write_all(b"6\r\nevent\n\r\n").is_err() {
                return;
            }
        }
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    for _ in 0..3 {
        arrived.send(()).expect("the backend waits");
        assert_eq!(client.bytes(11), b"6\r\nevent\n\r\n");
    }
}

#[test]
fn what_came_before_a_response_broke_off_is_passed_on_and_counted_as_broken() {
    let closed = Reason::BackendResponseBodyClosed;
    for (broken, whole, reason) in [
        ("1000\r\n", "chunked, in the middle of a chunk", closed),
        ("6\r\nevent\n\r\n", "chunked, between two chunks", closed),
        (
            "6\r\nevent\n\r\nno size",
            "chunked, and then something else",
            Reason::BackendResponseBodyChunk,
        ),
    ] {
        let backend = Backend::raw(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            read_head(&mut reader);
            let body = "x".repeat(4096);
            let response = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n{body}\r\n{broken}"
            );
            let _done = stream.write_all(response.as_bytes());
        });
        let site = Site::https(&[backend.address]);
        let mut client = TlsClient::tls(site.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.head();
        let rest = client.rest_of_any_kind();
        assert!(rest.len() >= 4096, "{whole}: {} bytes", rest.len());
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{whole}");
        let answer = FrameClient::connect(site.address).ask(&raw_http2::get(&[]), None);
        assert_eq!((answer.status, answer.complete), (200, false), "{whole}");
        assert!(answer.reset.is_some(), "{whole}");
        assert!(
            answer.body.len() >= 4096,
            "{whole}: {} bytes",
            answer.body.len()
        );
        wait_until("both are counted", || site.broken(reason) == 2);
        assert_eq!(site.answered(200), 0, "{whole}");
    }
}

/// Returns a backend that answers the head of a request with 413, reads nothing of the request's
/// body, and closes the connection a little later.
fn refusing() -> Backend {
    Backend::raw(|mut stream| {
        let mut reader = BufReader::with_capacity(1, stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let response =
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large";
        let _done = stream.write_all(response);
        thread::sleep(Duration::from_millis(200));
    })
}

#[test]
fn an_upload_that_is_answered_early_gets_its_answer_over_both_protocols() {
    let backend = refusing();
    let site = Site::https(&[backend.address]);
    let file = site.folder.path().join("upload");
    std::fs::write(&file, vec![0; 20_000_000]).expect("write");
    let upload = format!("@{}", file.display());
    let url = format!("https://{}/", site.address);
    for version in ["--http1.1", "--http2"] {
        for _ in 0..3 {
            let output = curl(&[
                version,
                "--header",
                "Expect:",
                "--write-out",
                " %{http_code}",
                "--data-binary",
                &upload,
                &url,
            ]);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "too large 413",
                "{version}: {output:?}"
            );
        }
    }
}

#[test]
fn a_client_that_sends_all_before_it_reads_gets_its_answer() {
    let backend = refusing();
    let site = Site::plain(&[backend.address], |_| {});
    let mut client = Client::plain(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n");
    for _ in 0..200 {
        client.send(vec![0; 100_000]);
    }
    let response = client.response();
    assert_eq!(
        (response.status(), response.text().as_str()),
        (413, "too large")
    );
    assert_eq!(client.rest(), b"");
}
