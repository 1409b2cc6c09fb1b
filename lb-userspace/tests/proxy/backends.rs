//! Test backends: each connection has a thread, and each request is passed to a closure.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// A backend whose thread keeps listening until the test's process exits.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

/// A request as a backend received it.
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Backend {
    /// Starts a backend that answers each request with the bytes that `answer` returns.
    pub(crate) fn answering(answer: impl Fn(Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |mut stream, requests| {
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            while let Some(seen) = read_request(&mut reader) {
                requests.fetch_add(1, SeqCst);
                let response = answer(seen);
                if response.is_empty() || stream.write_all(&response).is_err() {
                    return;
                }
            }
        })
    }

    /// Starts a backend that answers each request with the backend's name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::answering(move |_| ok(name.as_bytes()))
    }

    /// Starts a backend that answers each request with the backend's name, after a delay.
    pub(crate) fn slow(name: &'static str, after: Duration) -> Self {
        Self::answering(move |_| {
            std::thread::sleep(after);
            ok(name.as_bytes())
        })
    }

    /// Starts a backend that passes each connection to the closure `serve`.
    pub(crate) fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::serving(move |stream, requests| {
            requests.fetch_add(1, SeqCst);
            serve(stream);
        })
    }

    /// Returns an address and port on loopback where nothing listens.
    pub(crate) fn absent() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    }

    /// Returns the number of requests that the backend has received; for [`Self::raw`], the number
    /// of connections.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    fn serving(serve: impl Fn(TcpStream, &AtomicUsize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<AtomicUsize>::default();
        let backend = Self {
            address,
            requests: Arc::clone(&requests),
        };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).expect("nodelay");
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &requests));
            }
        });
        backend
    }
}

/// Formats a response with status 200, this body and a `Content-Length`.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads the head of a message, up to the empty line; `None` if the connection ends before that.
pub(crate) fn read_head(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Returns the value of a header field in a message's head; `None` if the head lacks the field.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads the body of a message, framed as its head says; `None` if it is incomplete.
pub(crate) fn read_body(head: &str, reader: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if header(head, "Transfer-Encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            reader.by_ref().take(size).read_to_end(&mut body).ok()?;
            let mut end = String::new();
            reader.read_line(&mut end).ok()?;
            assert_eq!(end, "\r\n");
            if size == 0 {
                return Some(body);
            }
        }
    }
    let length =
        header(head, "Content-Length").map_or(0, |length| length.parse().expect("a number"));
    reader.by_ref().take(length).read_to_end(&mut body).ok()?;
    (body.len() as u64 == length).then_some(body)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let head = read_head(reader)?;
    let body = read_body(&head, reader)?;
    Some(Seen { head, body })
}
