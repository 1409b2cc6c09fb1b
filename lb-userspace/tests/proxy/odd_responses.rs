//! Tests with unusual but valid responses of backends: clients of both protocols get well-formed
//! responses.

use std::io::{BufReader, Write as _};

use crate::{
    backends::{Backend, read_head},
    clients::TlsClient,
    raw_http2::{self, FrameClient},
    site::Site,
};

/// Returns a backend that sends these bytes on each connection and then closes it.
fn saying(response: &'static str) -> Backend {
    Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        stream.write_all(response.as_bytes()).expect("sent");
    })
}

#[test]
fn odd_and_valid_responses_are_understood_by_both_kinds_of_clients() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\t;a=b\r\nhello\r\n0 ;c\r\n\r\n",
        "HTTP/1.1 200 \r\nconnection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let backend = saying(response);
        let site = Site::https(&[backend.address]);
        let mut client = TlsClient::tls(site.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut head = client.head();
        while head.starts_with("HTTP/1.1 1") {
            head = client.head();
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{response:?}: {head}");
        let lengths = head.to_ascii_lowercase().matches("content-length").count();
        assert!(lengths <= 1, "{response:?}: {head}");
        let rest = client.rest();
        let body: &[u8] = if head.contains("chunked") {
            b"5\r\nhello\r\n0\r\n\r\n"
        } else {
            b"hello"
        };
        assert_eq!(rest, body, "{response:?}");
        let answer = FrameClient::connect(site.address).ask(&raw_http2::get(&[]), None);
        assert!(answer.complete, "{response:?}: {answer:?}");
        assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    }
}
