//! Tests each time-out alone, with all others long: the time-out expires when it should, and is
//! counted and logged under its reason.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use lb::{config::Timeouts, proxy::Reason};
use socket2::{Domain, Socket, Type};

use crate::{
    backends::{Backend, read_head},
    clients::{Client, TlsClient},
    raw_http2::{self, FrameClient},
    site::{Site, wait_until},
};

const LIMIT: Duration = Duration::from_millis(300);
/// The longest that a time-out of [`LIMIT`] may take to expire on a busy machine.
const LATEST: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_secs(600);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";

/// Returns time-outs that are all long, apart from those that `change` sets.
fn far_but(change: impl Fn(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts {
        handshake: NEVER,
        head: NEVER,
        body: NEVER,
        keep_alive: NEVER,
        send: NEVER,
        connect: NEVER,
        response_head: NEVER,
        response_body: NEVER,
        tunnel: NEVER,
        half_closed: NEVER,
        request: None,
    };
    change(&mut timeouts);
    timeouts
}

/// A front under test with one short time-out, which a reload has set, and with an access log.
struct Case {
    site: Site,
    file: PathBuf,
    began: Instant,
}

impl Case {
    fn new(mut site: Site, change: impl Fn(&mut Timeouts)) -> Self {
        site.service.timeouts = far_but(change);
        let file = site.log_requests();
        Self {
            site,
            file,
            began: Instant::now(),
        }
    }

    /// Asserts that the time-out expired with this reason: it was counted exactly once, and its
    /// line is the only line of the access log.
    #[track_caller]
    fn reached(&self, reason: Reason, status: Option<u16>) {
        wait_until("it is counted", || {
            self.site.broken(reason)
                + self.site.answered_by_us(reason)
                + self.site.closed(reason)
                + self.site.failed_handshakes(reason)
                == 1
        });
        let took = self.began.elapsed();
        assert!((LIMIT..LATEST).contains(&took), "{took:?}");
        let read = || std::fs::read_to_string(&self.file).expect("a log");
        wait_until("it is logged", || !read().is_empty());
        let line = read();
        let line: serde_json::Value = serde_json::from_str(&line).expect("one line");
        assert_eq!(line["reason"], reason.word(), "{line}");
        assert_eq!(line["status"], serde_json::json!(status), "{line}");
        if line["method"].is_string() {
            let micros = line["total_us"].as_u64().expect("a number");
            assert!(u128::from(micros) >= LIMIT.as_micros(), "{line}");
        }
    }
}

/// Returns a backend that reads the head of a request, sends `parts` with a pause before each but
/// the first, and then stays silent.
fn speaking(parts: &'static [&'static str], pause: Duration) -> Backend {
    Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        for (number, part) in parts.iter().enumerate() {
            thread::sleep(if number == 0 { Duration::ZERO } else { pause });
            if stream.write_all(part.as_bytes()).is_err() {
                return;
            }
        }
        let _end = reader.read_to_end(&mut Vec::new());
    })
}

fn silent() -> Backend {
    speaking(&[], Duration::ZERO)
}

#[test]
fn handshake() {
    let site = Site::https(&[silent().address]);
    let case = Case::new(site, |timeouts| timeouts.handshake = LIMIT);
    let mut client = Client::plain(case.site.address);
    client.send([22, 3, 1]);
    assert!(client.has_ended());
    case.reached(Reason::ClientHandshakeTimeout, None);
}

#[test]
fn head() {
    let site = Site::plain(&[silent().address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.head = LIMIT);
    let mut client = Client::plain(case.site.address);
    client.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(client.response().status(), 408);
    case.reached(Reason::ClientHeadTimeout, Some(408));
}

#[test]
fn head_of_the_first_request() {
    let site = Site::plain(&[silent().address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.head = LIMIT);
    assert_eq!(Client::plain(case.site.address).rest(), b"");
    case.reached(Reason::ClientHeadNoRequest, None);
}

#[test]
fn body() {
    let site = Site::plain(&[silent().address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.body = LIMIT);
    let mut client = Client::plain(case.site.address);
    client.send(format!("{POST}half"));
    assert_eq!(client.response().status(), 408);
    case.reached(Reason::ClientRequestBodyTimeout, Some(408));
}

#[test]
fn body_over_http2() {
    let site = Site::https(&[silent().address]);
    let case = Case::new(site, |timeouts| timeouts.body = LIMIT);
    let mut client = FrameClient::connect(case.site.address);
    let fields = raw_http2::get(&[("content-length", b"9")]);
    let (stream, request) = client.request(&fields, Some(b"half"));
    // The flag END_STREAM of the DATA frame is removed, so the body of the request is incomplete.
    let at = request.len() - 4 - 9 + 4;
    let mut request = request;
    request[at] = 0;
    client.tls.send(request);
    assert_eq!(client.answer(stream).status, 408);
    case.reached(Reason::ClientRequestBodyTimeout, Some(408));
}

#[test]
fn keep_alive() {
    for http2 in [false, true] {
        let site = Site::https(&[Backend::named("a").address]);
        let mut case = Case::new(site, |timeouts| timeouts.keep_alive = LIMIT);
        case.site.log.access = None;
        case.site.apply(case.site.service.clone()).expect("applied");
        let mut ended = if http2 {
            let mut client = FrameClient::connect(case.site.address);
            assert_eq!(client.ask(&raw_http2::get(&[]), None).status, 200);
            client.tls
        } else {
            let mut client = TlsClient::tls(case.site.address);
            assert_eq!(client.get("/").status(), 200);
            client
        };
        case.file = case.site.log_requests();
        case.began = Instant::now() - Duration::from_millis(50);
        ended.rest_of_any_kind();
        case.reached(Reason::ClientKeepAliveTimeout, None);
    }
}

/// Size of a body in bytes, larger than the kernel's socket buffers.
const LARGE: usize = 20_000_000;

#[test]
fn send_to_a_client() {
    let backend = Backend::answering(|_| crate::backends::ok(&vec![b'x'; LARGE]));
    for http2 in [false, true] {
        let site = Site::https(&[backend.address]);
        let case = Case::new(site, |timeouts| timeouts.send = LIMIT);
        let mut stalled = FrameClient::connect(case.site.address);
        let mut tls = TlsClient::tls(case.site.address);
        if http2 {
            let (_, request) = stalled.request(&raw_http2::get(&[]), None);
            stalled.tls.send(request);
        } else {
            tls.send(GET);
        }
        case.reached(Reason::ClientResponseBodyTimeout, Some(200));
    }
}

#[test]
fn send_to_a_backend() {
    // The backend reads nothing, so the socket buffers on the way to it fill up.
    let backend = Backend::raw(|stream| {
        thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let site = Site::plain(&[backend.address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.send = LIMIT);
    let mut client = TcpStream::connect(case.site.address).expect("connected");
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut reading = BufReader::new(client.try_clone().expect("clone"));
    let sending = thread::spawn(move || {
        let _sent = client.write_all(head.as_bytes());
        let _sent = client.write_all(&vec![0; LARGE]);
    });
    let head = read_head(&mut reading).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    case.reached(Reason::BackendRequestBodyTimeout, Some(504));
    drop(case);
    drop(reading);
    sending.join().expect("it ends");
}

#[test]
fn connect() {
    // The accept queue of this listener holds one connection and is never emptied, so the kernel
    // drops the SYN of the next connection.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    full.bind(&any.into()).expect("a free port");
    full.listen(0).expect("it listens");
    let full: TcpListener = full.into();
    let address = full.local_addr().expect("an address");
    let _queued = TcpStream::connect(address).expect("it has room for one");
    let site = Site::plain(&[address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.connect = LIMIT);
    assert_eq!(Client::plain(case.site.address).get("/").status(), 504);
    case.reached(Reason::BackendConnectTimeout, Some(504));
}

#[test]
fn response_head() {
    // The time-out counts for the head as a whole: a head that arrives byte by byte does not extend
    // it.
    let parts = &["HTTP/1.1 200 OK\r\n", "X: ", "a", "b", "c", "d", "e", "f"];
    let backend = speaking(parts, Duration::from_millis(60));
    let site = Site::plain(&[backend.address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.response_head = LIMIT);
    assert_eq!(Client::plain(case.site.address).get("/").status(), 504);
    case.reached(Reason::BackendResponseHeadTimeout, Some(504));
}

#[test]
fn response_body() {
    // A body that makes progress, however slow, extends the time-out. The time-out of the head is
    // long.
    let parts = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "a",
        "b",
        "c",
        "d",
    ];
    let backend = speaking(parts, Duration::from_millis(150));
    let site = Site::plain(&[backend.address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.response_body = LIMIT);
    let mut client = Client::plain(case.site.address);
    client.send(GET);
    client.head();
    assert_eq!(client.rest_of_any_kind(), b"abcd");
    case.reached(Reason::BackendResponseBodyTimeout, Some(200));
}

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn tunnelled(case: &Case) -> TcpStream {
    let mut client = TcpStream::connect(case.site.address).expect("connected");
    client.write_all(UPGRADE.as_bytes()).expect("sent");
    wait_until("it is a tunnel", || case.site.answered(101) == 1);
    client
}

#[test]
fn tunnel() {
    let pause = Duration::from_millis(150);
    let backend = speaking(&[SWITCHING, "a", "b", "c", "d"], pause);
    let site = Site::plain(&[backend.address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.tunnel = LIMIT);
    let mut client = tunnelled(&case);
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the end");
    assert!(all.ends_with(b"abcd"), "what moves puts it off");
    case.reached(Reason::LbTunnelTimeout, Some(101));
}

#[test]
fn half_closed() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        stream.write_all(SWITCHING.as_bytes()).expect("sent");
        // The backend does not close its own direction of the connection.
        let _end = reader.read_to_end(&mut Vec::new());
        thread::sleep(Duration::from_secs(20));
    });
    let site = Site::plain(&[backend.address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.half_closed = LIMIT);
    let mut client = tunnelled(&case);
    client.shutdown(Shutdown::Write).expect("closed");
    client.read_to_end(&mut Vec::new()).expect("the end");
    case.reached(Reason::LbTunnelHalfClosed, Some(101));
}

#[test]
fn request_before_the_response() {
    let site = Site::plain(&[silent().address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.request = Some(LIMIT));
    assert_eq!(Client::plain(case.site.address).get("/").status(), 504);
    case.reached(Reason::LbResponseHeadTimeout, Some(504));
}

#[test]
fn request_within_its_body() {
    let site = Site::plain(&[silent().address], |_| {});
    let case = Case::new(site, |timeouts| timeouts.request = Some(LIMIT));
    let mut client = Client::plain(case.site.address);
    client.send(POST);
    for _ in 0..3 {
        client.send("x");
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(client.response().status(), 504);
    case.reached(Reason::LbRequestBodyTimeout, Some(504));
}

#[test]
fn request_within_the_response() {
    let chunk = "1\r\nx\r\n";
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let parts: Vec<&'static str> = [head].into_iter().chain([chunk; 50]).collect();
    let backend = speaking(parts.leak(), Duration::from_millis(20));
    for http2 in [false, true] {
        let site = Site::https(&[backend.address]);
        let case = Case::new(site, |timeouts| timeouts.request = Some(LIMIT));
        if http2 {
            let answer = FrameClient::connect(case.site.address).ask(&raw_http2::get(&[]), None);
            assert!(answer.reset.is_some() && !answer.complete, "{answer:?}");
        } else {
            let mut client = TlsClient::tls(case.site.address);
            client.send(GET);
            let rest = client.rest_of_any_kind();
            assert!(!rest.ends_with(b"0\r\n\r\n"));
        }
        case.reached(Reason::LbResponseBodyTimeout, Some(200));
    }
}

#[test]
fn request_that_is_answered_in_time_is_left_alone() {
    let backend = Backend::slow("late", Duration::from_millis(100));
    let mut site = Site::https(&[backend.address]);
    site.service.timeouts = far_but(|timeouts| timeouts.request = Some(Duration::from_secs(5)));
    site.apply(site.service.clone()).expect("applied");
    let mut client = TlsClient::tls(site.address);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "late");
    }
}

#[test]
fn a_reload_sets_them_for_the_next_request_of_a_connection() {
    let mut site = Site::plain(&[silent().address], |_| {});
    site.service.timeouts = far_but(|_| {});
    site.apply(site.service.clone()).expect("applied");
    let mut client = Client::plain(site.address);
    client.send("GET /1 HTTP/1.1\r\nHost : a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let mut client = Client::plain(site.address);
    site.service.timeouts.response_head = LIMIT;
    site.apply(site.service.clone()).expect("applied");
    assert_eq!(client.get("/").status(), 504);
}
