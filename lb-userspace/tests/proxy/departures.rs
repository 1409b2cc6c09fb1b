//! Tests in which clients disconnect before they have a response, and in which tunnels lose one
//! end.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient},
    site::{Site, wait_until},
};

/// Returns a backend that reads a request's head, answers with `first` and then stays silent; and
/// the number of the backend's connections that the front has closed.
fn silent(first: &'static [u8]) -> (Backend, Arc<AtomicUsize>) {
    let ended = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&ended);
    let backend = Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        stream.write_all(first).expect("sent");
        let _done = reader.read_to_end(&mut Vec::new());
        count.fetch_add(1, SeqCst);
    });
    (backend, ended)
}

#[test]
fn the_backend_of_a_client_that_has_gone_is_let_go() {
    for (first, reasons) in [
        (
            &b""[..],
            [
                Reason::ClientResponseHeadClosed,
                Reason::ClientResponseHeadReset,
            ],
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n",
            [
                Reason::ClientResponseBodyClosed,
                Reason::ClientResponseBodyReset,
            ],
        ),
    ] {
        let (backend, ended) = silent(first);
        let site = Site::plain(&[backend.address], |_| {});
        for (number, request) in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = Client::plain(site.address);
            client.send(request);
            wait_until("it is under way", || backend.requests() == number + 1);
            thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            drop(client);
            wait_until("the backend is let go", || ended.load(SeqCst) == number + 1);
            assert!(began.elapsed() < Duration::from_secs(4));
        }
        let broken = reasons.map(|reason| site.broken(reason));
        assert_eq!(broken.iter().sum::<u64>(), 2);
        wait_until("the connections are over", || {
            site.proxy().open_connections() == 0
        });
    }
}

#[test]
fn a_tls_client_that_has_gone_is_noticed() {
    let (backend, ended) = silent(b"");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is under way", || backend.requests() == 1);
    drop(client);
    wait_until("the backend is let go", || ended.load(SeqCst) == 1);
}

#[test]
fn a_client_that_closes_its_side_and_reads_on_gets_its_answer() {
    let backend = Backend::slow("slow", Duration::from_millis(400));
    let site = Site::plain(&[backend.address], |_| {});
    let mut client = TcpStream::connect(site.address).expect("connected");
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("sent");
    client.shutdown(Shutdown::Write).expect("closed");
    let mut response = String::new();
    client.read_to_string(&mut response).expect("an answer");
    assert!(response.ends_with("slow"), "{response}");
}

#[test]
fn requests_that_come_while_one_is_answered_are_served_after_it() {
    let backend = Backend::answering(|seen| {
        thread::sleep(Duration::from_millis(20));
        ok(seen.head.split(' ').nth(1).unwrap_or_default().as_bytes())
    });
    let site = Site::plain(&[backend.address], |_| {});
    let mut client = Client::plain(site.address);
    let padding = "x".repeat(900);
    for number in 0..100 {
        client.send(format!(
            "GET /{number} HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n"
        ));
    }
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_tunnel_with_one_side_closed_ends_when_it_is_silent() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        stream.write_all(SWITCHING).expect("sent");
        // The client does not close its own direction of the tunnel, and keeps sending for a while.
        let _end = reader.read_to_end(&mut Vec::new());
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(b"more.").expect("there is somebody");
        }
        thread::sleep(Duration::from_secs(30));
    });
    let site = Site::plain(&[backend.address], |limits| {
        limits.timeouts.half_closed = Duration::from_millis(300);
    });
    let mut client = TcpStream::connect(site.address).expect("connected");
    client.write_all(UPGRADE.as_bytes()).expect("sent");
    client.shutdown(Shutdown::Write).expect("closed");
    let began = Instant::now();
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("an orderly end");
    assert!(all.ends_with(&b"more.".repeat(8)), "{}", all.escape_ascii());
    assert!(began.elapsed() < Duration::from_secs(5));
    wait_until("it is over", || site.proxy().open_connections() == 0);
    assert_eq!(site.proxy().counters().backend_connections[0].in_use, 0);
}
