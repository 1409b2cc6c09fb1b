//! Tests of requests to backends that fail in various ways.

use std::{
    io::{BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use lb_common::backend::BackendState;
use socket2::{Domain, Socket, Type};

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient},
    site::{Site, free_address, wait_until},
};

#[test]
fn a_backend_that_cannot_be_reached_is_passed_over_and_then_avoided() {
    let good = Backend::named("good");
    let site = Site::https(&[Backend::absent(), good.address]);
    let mut client = TlsClient::tls(site.address);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "good");
    }
    let retries = site.proxy().counters().retries[0].1;
    let most = 1 + began.elapsed().as_secs();
    assert!((1..=most).contains(&retries), "{retries} retries");
}

#[test]
fn no_backend_at_all_is_503() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    site.set(0, BackendState::Down);
    let mut client = TlsClient::tls(site.address);
    assert_eq!(client.get("/").status(), 503);
    wait_until("it is counted", || site.answered(503) == 1);
    let requests = site.proxy().counters().requests;
    assert_eq!(
        (requests[0].backend.as_ref(), requests[0].code),
        (None, 503)
    );
    site.set(0, BackendState::Up);
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn backends_that_are_all_down_are_tried_where_the_pool_says_so() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let site = Site::https(&[backends[0].address, backends[1].address]);
    site.try_all();
    let mut client = TlsClient::tls(site.address);
    site.set(0, BackendState::Down);
    assert_eq!(
        client.get("/").text(),
        "b",
        "one is up: the other is left out"
    );
    site.set(1, BackendState::Down);
    let mut answers: Vec<_> = (0..4).map(|_| client.get("/").text()).collect();
    answers.sort();
    assert_eq!(answers, ["a", "a", "b", "b"]);
    site.set(0, BackendState::Up);
    assert_eq!(client.get("/").text(), "a", "one is up again");
}

#[test]
fn no_backend_in_reach_is_502() {
    let site = Site::https(&[Backend::absent(), Backend::absent()]);
    assert_eq!(TlsClient::tls(site.address).get("/").status(), 502);
}

#[test]
fn a_response_that_is_none_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ] {
        let backend = Backend::answering(move |_| garbage.as_bytes().to_vec());
        let site = Site::https(&[backend.address]);
        let mut client = TlsClient::tls(site.address);
        assert_eq!(client.get("/").status(), 502, "{garbage:?}");
    }
}

#[test]
fn a_response_that_does_not_come_in_time_is_504() {
    let backend = Backend::raw(|_stream| thread::sleep(Duration::from_secs(5)));
    let other = Backend::raw(|_stream| thread::sleep(Duration::from_secs(5)));
    let site = Site::with_limits(&[backend.address, other.address], |limits| {
        limits.timeouts.response_head = Duration::from_millis(200);
    });
    assert_eq!(TlsClient::tls(site.address).get("/").status(), 504);
    assert_eq!(backend.requests() + other.requests(), 1);
}

#[test]
fn a_get_that_a_dying_backend_took_is_sent_to_another_one() {
    let dying = Backend::answering(|_| Vec::new());
    let good = Backend::named("good");
    let site = Site::https(&[dying.address, good.address]);
    let mut client = TlsClient::tls(site.address);
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert!(dying.requests() >= 1);
}

#[test]
fn a_post_that_a_dying_backend_took_is_never_sent_twice() {
    let dying = ["a", "b"].map(|_| Backend::answering(|_| Vec::new()));
    let site = Site::https(&dying.each_ref().map(|backend| backend.address));
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().status(), 502);
    assert_eq!(dying.iter().map(Backend::requests).sum::<usize>(), 1);
}

/// A time-out that is longer than any of these tests takes.
const NEVER: Duration = Duration::from_secs(60);

#[test]
fn a_get_is_sent_to_another_backend_when_the_one_that_has_it_goes_down() {
    let (silent, good) = (Backend::slow("silent", NEVER), Backend::named("good"));
    let site = Site::https(&[silent.address, good.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the first backend has the request", || {
        silent.requests() == 1
    });
    site.set(0, BackendState::Down);
    assert_eq!(client.response().text(), "good");
    assert_eq!(site.proxy().counters().retries[0].1, 1);
}

#[test]
fn a_drained_backend_goes_on_with_what_it_has() {
    let slow = Backend::slow("slow", Duration::from_millis(300));
    let site = Site::https(&[slow.address, Backend::named("good").address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the first backend has the request", || slow.requests() == 1);
    site.set(0, BackendState::Draining);
    assert_eq!(client.response().text(), "slow");
}

#[test]
fn a_post_stays_with_a_backend_that_goes_down() {
    let slow = Backend::slow("slow", Duration::from_millis(300));
    let good = Backend::named("good");
    let site = Site::https(&[slow.address, good.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    wait_until("the first backend has the request", || slow.requests() == 1);
    site.set(0, BackendState::Down);
    assert_eq!(client.response().text(), "slow");
    assert_eq!(good.requests(), 0);
}

#[test]
fn when_all_backends_go_down_what_they_have_is_waited_for() {
    let slow = [0, 1].map(|_| Backend::slow("slow", Duration::from_millis(300)));
    let site = Site::https(&slow.each_ref().map(|backend| backend.address));
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the first backend has the request", || {
        slow[0].requests() == 1
    });
    site.set(1, BackendState::Down);
    site.set(0, BackendState::Down);
    assert_eq!(client.response().text(), "slow");
}

#[test]
fn a_connection_to_a_backend_that_goes_down_is_not_waited_for() {
    // The accept queue of this listener holds one connection and is never emptied, so the kernel
    // drops the SYN of the next connection.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    full.bind(&any.into()).expect("a free port");
    full.listen(0).expect("it listens");
    let address = full.local_addr().expect("an address");
    let address = address.as_socket().expect("of IPv4");
    let _queued = std::net::TcpStream::connect(address).expect("it has room for one");
    let good = Backend::named("good");
    let site = Site::with_limits(&[address, good.address], |limits| {
        limits.timeouts.connect = NEVER;
    });
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(good.requests(), 0, "it waits for the first backend");
    site.set(0, BackendState::Down);
    assert_eq!(client.response().text(), "good");
}

#[test]
fn the_only_backend_gets_a_new_connection_when_it_closed_the_old_one() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let _done = stream.write_all(&ok(b"once"));
        // The backend reads the next request on this connection, and does not answer it.
        read_head(&mut reader);
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "once");
    }
}

#[test]
fn a_response_that_breaks_off_never_looks_complete() {
    let backend = Backend::answering(|seen| {
        if seen.head.contains("/chunked") {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nbroken".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhello".to_vec()
        }
    });
    let closing = Backend::raw({
        let address = backend.address;
        move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            let Some(head) = read_head(&mut reader) else {
                return;
            };
            let mut inner = Client::plain(address);
            inner.send(head);
            let head = inner.head();
            let _done = stream.write_all(head.as_bytes());
            let _done = stream.write_all(&inner.bytes(5));
        }
    });
    let site = Site::plain(&[closing.address], |_| {});
    for path in ["/length", "/chunked"] {
        let mut client = Client::plain(site.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.head();
        let rest = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{path}");
        assert!(rest.len() < 15, "{path}");
    }
}

/// A real nginx, which answers with its port; it is killed when this value is dropped.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let path = folder.path().display();
        let text = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen {address}; return 200 \"{address}\"; }} }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).expect("write");
        let process = Command::new("nginx")
            .args(["-p", &path.to_string(), "-c"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx");
        wait_until("nginx listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    /// Kills the nginx process with SIGKILL, and waits until it is gone.
    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _done = self.process.kill();
        let _done = self.process.wait();
    }
}

#[test]
fn clients_see_no_error_when_a_backend_is_killed_under_load() {
    let mut backends = [Nginx::start(), Nginx::start(), Nginx::start()];
    let site = Site::https(&backends.each_ref().map(|backend| backend.address));
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let killed = backends[1].address.to_string();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = TlsClient::tls(site.address);
                while !done.load(SeqCst) {
                    let response = client.get("/");
                    assert_eq!(response.status(), 200, "{response:?}");
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        wait_until("load", || answered.load(SeqCst) > 500);
        backends[1].kill();
        let before = answered.load(SeqCst);
        wait_until("more load", || answered.load(SeqCst) > before + 1000);
        done.store(true, SeqCst);
    });
    let mut client = TlsClient::tls(site.address);
    for _ in 0..10 {
        assert_ne!(client.get("/").text(), killed);
    }
    assert_eq!(site.answered(502), 0);
}
