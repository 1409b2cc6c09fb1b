//! Tests with a corpus of requests and responses. Each is sent whole, byte by byte, and in two
//! pieces for every place to cut it: the outcome must be the same.

use std::{
    io::{BufReader, Read as _, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use crate::{
    backends::{Backend, header, ok, read_head},
    both::CASES,
    raw_http2::{self, Answer, FrameClient},
    refusals::REFUSED,
    site::Site,
};

/// The front's limit of the size of a head in these tests, in bytes; parts of the corpus exceed it.
const MAX_HEADER_BYTES: usize = 1024;
/// Pause between two pieces of a message, long enough for the front to read the first one.
const PAUSE: Duration = Duration::from_millis(1);
/// Maximum number of places at which a long message is cut.
const CUTS: usize = 200;
const THREADS: usize = 12;

/// How a message is sent: whole, byte by byte, or in two pieces.
#[derive(Clone, Copy, Debug)]
enum Cutting {
    Whole,
    Bytes,
    At(usize),
}

impl Cutting {
    /// Returns every way to send a message of `length` bytes.
    fn all(length: usize) -> impl Iterator<Item = Self> {
        let step = length.div_ceil(CUTS).max(1);
        let cuts = (1..length).step_by(step).map(Self::At);
        [Self::Whole, Self::Bytes].into_iter().chain(cuts)
    }

    /// Returns a number that stands for this way of sending, and that can be part of a request's
    /// path.
    fn number(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Bytes => usize::MAX,
            Self::At(place) => place,
        }
    }

    fn from_number(number: usize) -> Self {
        match number {
            0 => Self::Whole,
            usize::MAX => Self::Bytes,
            place => Self::At(place),
        }
    }

    /// Sends a message in this way. The receiver may close the connection before the end.
    fn send(self, bytes: &[u8], mut send: impl FnMut(&[u8])) {
        match self {
            Self::Whole => send(bytes),
            Self::Bytes => {
                for byte in bytes {
                    send(&[*byte]);
                    thread::sleep(PAUSE);
                }
            }
            Self::At(place) => {
                send(&bytes[..place]);
                thread::sleep(PAUSE);
                send(&bytes[place..]);
            }
        }
    }
}

/// A response to a request of the corpus, as a client interprets it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Reply {
    /// The header lines in their order, without `Date` and the lines that frame the body.
    head: Vec<String>,
    body: Vec<u8>,
    complete: bool,
}

/// Parses all bytes that a server sent on one connection into responses.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let (byte, rest) = bytes.split_first().expect("a whole head");
            head.push(char::from(*byte));
            bytes = rest;
        }
        let is_bodyless = head.starts_with("HTTP/1.1 1") || head.starts_with("HTTP/1.1 204");
        let (body, complete) = if is_bodyless {
            (Vec::new(), true)
        } else if header(&head, "Transfer-Encoding").is_some() {
            unchunk(&mut bytes)
        } else {
            let length = header(&head, "Content-Length")
                .map_or(bytes.len(), |length| length.parse().expect("a length"));
            let (body, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            (body.to_vec(), body.len() == length)
        };
        let framing = ["date:", "transfer-encoding:"];
        let is_framing = |line: &str| {
            let line = line.to_ascii_lowercase();
            framing.iter().any(|name| line.starts_with(name))
        };
        let head = head.lines().filter(|line| !is_framing(line));
        replies.push(Reply {
            head: head.map(str::to_owned).collect(),
            body,
            complete,
        });
    }
    replies
}

/// Decodes a chunked body as far as it goes. Returns the body, and whether it was complete.
fn unchunk(bytes: &mut &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let (chunk, rest) = bytes[end + 2..].split_at(size);
        *bytes = rest.strip_prefix(b"\r\n").expect("a chunk's end");
        if size == 0 {
            return (body, true);
        }
        body.extend(chunk);
    }
}

/// Sends a request in the way `cutting`, reads to the end of the connection, and returns the
/// responses.
fn ask(address: SocketAddr, request: &[u8], cutting: Cutting) -> Vec<Reply> {
    let mut client = TcpStream::connect(address).expect("connected");
    client.set_nodelay(true).expect("nodelay");
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out");
    cutting.send(request, |piece| {
        let _gone = client.write_all(piece);
    });
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("an orderly end");
    replies(&all)
}

/// Runs `test` for each number below `count`, on several threads.
fn for_each(count: usize, test: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    if number >= count {
                        return;
                    }
                    test(number);
                }
            });
        }
    });
}

/// Formats a request after whose response the connection is closed, with this request line and more
/// lines.
fn last(line: &str, more: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\nConnection: close\r\n{more}").into_bytes()
}

/// Returns a GET request whose head has this many bytes.
fn padded(length: usize) -> Vec<u8> {
    let mut head = last("GET / HTTP/1.1", "X: ");
    head.resize(length - 4, b'x');
    head.extend(b"\r\n\r\n");
    head
}

/// Returns the corpus of requests: valid ones, invalid ones, and ones at the limits.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let mut requests: Vec<Vec<u8>> = [
        "5\r\nhello\r\n0\r\n\r\n",
        "5 ;a=b\r\nhello\r\n01;\"c\r\n!\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello\r\n3\r\nabcd",
        "5\r\nhello\r\nx\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
    ]
    .iter()
    .map(|body| last("POST / HTTP/1.1", &format!("{chunked}{body}")))
    .collect();
    for extension in [4094, 4095, 4096, 4097] {
        let body = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(extension));
        requests.push(last("POST / HTTP/1.1", &format!("{chunked}{body}")));
    }
    for length in [
        MAX_HEADER_BYTES - 1,
        MAX_HEADER_BYTES,
        MAX_HEADER_BYTES + 1,
        1500,
    ] {
        requests.push(padded(length));
    }
    // The invalid part of this head lies beyond the limit of a head's size.
    let mut beyond = padded(1500);
    beyond.truncate(1400);
    beyond.extend(b"\n\r\n");
    requests.push(beyond);
    let empty_lines = |count: usize| {
        let request = last("GET / HTTP/1.1", "\r\n");
        [b"\r\n".repeat(count), request].concat()
    };
    requests.extend([0, 1, 2, 8, 9, 20].map(empty_lines));
    requests.extend(
        [
            "\r\rGET / HTTP/1.1\r\n",
            "\nGET / HTTP/1.1\r\n",
            "\r\n\nGET / HTTP/1.1\r\n",
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\r\n\
             POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
             GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\nConnection: close\r\n\r\n",
        ]
        .map(|request| request.as_bytes().to_vec()),
    );
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = REFUSED.iter();
    requests.extend(refused.map(|(request, _)| format!("{request}{smuggled}").into_bytes()));
    requests.extend(CASES.iter().map(|(case, _)| case.http1()));
    requests
}

/// Returns a backend that echoes the head and body of each request in its response.
fn mirror() -> Backend {
    Backend::answering(|seen| ok(&[seen.head.as_bytes(), &seen.body].concat()))
}

#[test]
fn a_request_fares_the_same_however_it_is_cut() {
    let backend = mirror();
    let site = Site::plain(&[backend.address], |limits| {
        limits.max_header_bytes = MAX_HEADER_BYTES;
    });
    let requests = requests();
    for_each(requests.len(), |number| {
        let request = &requests[number];
        let whole = ask(site.address, request, Cutting::Whole);
        assert!(!whole.is_empty(), "{}", request.escape_ascii());
        for cutting in Cutting::all(request.len()) {
            let replies = ask(site.address, request, cutting);
            assert_eq!(replies, whole, "{cutting:?}: {}", request.escape_ascii());
        }
    });
    assert_eq!(site.proxy().counters().panics[0].1, 0);
    assert_eq!(site.proxy().counters().backend_connections[0].in_use, 0);
}

#[test]
fn a_request_over_http2_fares_the_same_however_it_is_cut() {
    let backend = mirror();
    let site = Site::https(&[backend.address]);
    for_each(CASES.len(), |number| {
        let (case, status) = &CASES[number];
        let mut client = FrameClient::connect(site.address);
        let (_, bytes) = client.request(&case.http2(), case.body);
        let mut whole: Option<Answer> = None;
        for cutting in Cutting::all(bytes.len()) {
            let (stream, bytes) = client.request(&case.http2(), case.body);
            cutting.send(&bytes, |piece| client.tls.send(piece));
            let answer = client.answer(stream);
            let whole = whole.get_or_insert_with(|| answer.clone());
            assert_eq!(&answer, whole, "{cutting:?}, {status}");
        }
    });
    assert_eq!(site.proxy().counters().panics[0].1, 0);
}

/// Returns a response whose head has this many bytes.
fn long_response(length: usize) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ".to_vec();
    head.resize(length - 4, b'x');
    head.extend(b"\r\n\r\nok");
    head
}

/// Returns the corpus of responses: valid ones, invalid ones, and ones at the limits. The backend
/// closes the connection after each response.
pub(crate) fn responses() -> Vec<Vec<u8>> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut responses: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Len",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ]
    .map(|response| response.as_bytes().to_vec())
    .to_vec();
    responses.extend(
        [
            "5\r\nhello\r\n0\r\n\r\n",
            "5  ;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
            "5\r\nhello\r\n",
            "5\r\nhello",
            "5\r\nhel",
            "5\r\nhello\r\nx\r\n",
            "5\r\nhello0\r\n\r\n",
            "\r\n",
            "",
        ]
        .map(|body| format!("{chunked}{body}").into_bytes()),
    );
    let lengths = [
        MAX_HEADER_BYTES - 1,
        MAX_HEADER_BYTES,
        MAX_HEADER_BYTES + 1,
        1500,
    ];
    responses.extend(lengths.map(long_response));
    responses
}

/// Returns a backend that sends one of these responses. The path of the request says which one, and
/// how it is cut.
fn replaying(responses: Vec<Vec<u8>>) -> Backend {
    Backend::raw(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Some(head) = read_head(&mut reader) {
            let path = head.split(' ').nth(1).expect("a target");
            let mut numbers = path.split('/').skip(1).map(str::parse::<usize>);
            let mut next = || numbers.next().expect("a number").expect("a number");
            let (response, cutting) = (&responses[next()], Cutting::from_number(next()));
            cutting.send(response, |piece| {
                let _gone = (&stream).write_all(piece);
            });
            let _done = stream.shutdown(std::net::Shutdown::Write);
        }
    })
}

#[test]
fn a_response_fares_the_same_however_it_is_cut() {
    let responses = responses();
    let backend = replaying(responses.clone());
    let limit = |limits: &mut lb::config::Http| {
        limits.max_header_bytes = MAX_HEADER_BYTES;
        // Connections to the backend are not reused: bytes that follow a response belong to no
        // request, and must not reach the next one.
        limits.idle_connections = 0;
    };
    let plain = Site::plain(&[backend.address], limit);
    let site = Site::with_limits(&[backend.address], limit);
    for_each(responses.len(), |number| {
        let response = &responses[number];
        let mut frames = FrameClient::connect(site.address);
        let mut whole: Option<(Vec<Reply>, Answer)> = None;
        for cutting in Cutting::all(response.len()) {
            let path = format!("/{number}/{}", cutting.number());
            let request = last(&format!("GET {path} HTTP/1.1"), "\r\n");
            let replies = ask(plain.address, &request, Cutting::Whole);
            let mut fields = raw_http2::get(&[]);
            fields[3] = (":path", path.as_bytes());
            let answer = frames.ask(&fields, None);
            let seen = (replies, answer);
            let whole = whole.get_or_insert_with(|| seen.clone());
            assert_eq!(&seen, whole, "{cutting:?}: {}", response.escape_ascii());
        }
    });
    for site in [&plain, &site] {
        assert_eq!(site.proxy().counters().panics[0].1, 0);
        assert_eq!(site.proxy().counters().backend_connections[0].in_use, 0);
    }
}
