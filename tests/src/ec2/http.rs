//! The subset of HTTP/1.1 that AWS's SDK and moto use: a server with a thread per connection, and a
//! client for one request.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket;

use crate::{Host, host::joined};

/// Maximum size of a request's body, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// Time-out of sending a request and receiving its response.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as the server received it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path and query of the request.
    pub(super) target: String,
    /// Values of the header fields, by lower-case name.
    headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
    pub(super) from: SocketAddr,
}

impl Request {
    /// Returns the value of the header field with this lower-case name; `None` if the request lacks
    /// it.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A response of the server.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The connection of a caller that waits for its response, by which its giving up is detected.
pub(super) struct Waiting<'a>(&'a TcpStream);

impl Waiting<'_> {
    /// Waits for the duration `time`. Returns when the caller gave up; `None` if it did not.
    pub(super) fn pause(&self, time: Duration) -> Option<Instant> {
        let deadline = Instant::now() + time;
        let mut gave_up = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return gave_up;
            }
            if gave_up.is_some() {
                thread::sleep(left);
            } else {
                gave_up = self.gives_up_within(left);
            }
        }
    }

    /// Waits until the caller gives up or the server is closed, and returns the time at which that
    /// happened.
    pub(super) fn until_given_up(&self) -> Instant {
        loop {
            if let Some(when) = self.gives_up_within(Duration::from_secs(60)) {
                return when;
            }
        }
    }

    fn gives_up_within(&self, time: Duration) -> Option<Instant> {
        let mut byte = [0];
        // A caller that waits for a response sends nothing, so only the end of the connection ends
        // this read.
        drop(self.0.set_read_timeout(Some(time)));
        let peeked = self.0.peek(&mut byte);
        drop(self.0.set_read_timeout(None));
        match peeked {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                None
            }
            _ => Some(Instant::now()),
        }
    }
}

/// Returns a listener at an address, in the network of a host or (`None`) of this process.
pub(super) fn listen(host: Option<&Host>, address: SocketAddr) -> Result<TcpListener> {
    let bind = move || {
        TcpListener::bind(address).with_context(|| format!("could not listen at {address}"))
    };
    match host {
        Some(host) => joined(host.inside(bind)),
        None => bind(),
    }
}

/// A running server. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub(super) struct Server {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    listener: TcpListener,
    closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Server {
    /// Starts a server that answers each request with the result of `handler`, and closes the
    /// connection if the result is `None`.
    pub(super) fn start<H>(listener: TcpListener, handler: H) -> Self
    where
        H: Fn(&Request, &Waiting<'_>) -> Option<Response> + Send + Sync + 'static,
    {
        let state = Arc::new(State {
            listener,
            closed: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        let handler = Arc::new(handler);
        thread::spawn(move || {
            while let Ok((stream, from)) = accepting.listener.accept() {
                if accepting.admit(&stream) {
                    let handler = Arc::clone(&handler);
                    // Errors of a connection are ignored here: the caller sees them.
                    thread::spawn(move || drop(converse(&stream, from, &*handler)));
                }
            }
        });
        Self { state }
    }
}

impl State {
    /// Registers a connection, so it is closed when the server is. Returns whether the server still
    /// runs.
    fn admit(&self, stream: &TcpStream) -> bool {
        let mut connections = self.connections();
        connections.retain(|stream| stream.peer_addr().is_ok());
        if let Ok(stream) = stream.try_clone() {
            connections.push(stream);
        }
        !self.closed.load(Ordering::SeqCst)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        // Shutting the listener down wakes the accepting thread, whose end closes the listener.
        let _ = socket::shutdown(self.state.listener.as_raw_fd(), socket::Shutdown::Both);
        for stream in self.state.connections().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn converse(
    stream: &TcpStream,
    from: SocketAddr,
    handler: &dyn Fn(&Request, &Waiting<'_>) -> Option<Response>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, from)? {
        let Some(response) = handler(&request, &Waiting(stream)) else {
            break;
        };
        (&*stream).write_all(encoded(&response).as_bytes())?;
    }
    stream.shutdown(Shutdown::Both)
}

fn encoded(response: &Response) -> String {
    let Response {
        status,
        headers,
        body,
    } = response;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!("HTTP/1.1 {status} Lab\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn read_request(
    reader: &mut BufReader<&TcpStream>,
    from: SocketAddr,
) -> io::Result<Option<Request>> {
    let Some((first, headers)) = read_head(reader)? else {
        return Ok(None);
    };
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("not a request line"));
    };
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |length| length.parse())
        .map_err(io::Error::other)?;
    if length > LARGEST_BODY {
        return Err(io::Error::other("a body that large is not of the SDK"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body,
        from,
    }))
}

/// Reads the request line and the header fields; returns `None` at the end of the connection.
fn read_head(
    reader: &mut BufReader<&TcpStream>,
) -> io::Result<Option<(String, HashMap<String, String>)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

/// Sends one request from a host or this process, and returns the status and body of the response.
pub(super) fn request(host: Option<&Host>, to: SocketAddr, request: &str) -> Result<(u16, String)> {
    let connect = move || Ok(TcpStream::connect_timeout(&to, PATIENCE)?);
    let stream = match host {
        Some(host) => joined(host.inside(connect)),
        None => connect(),
    };
    let stream = stream.with_context(|| format!("could not connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(request.as_bytes())?;
    let mut reader = BufReader::new(&stream);
    let Some((first, headers)) = read_head(&mut reader)? else {
        bail!("{to} closed the connection without an answer");
    };
    let status = first.split_whitespace().nth(1).unwrap_or_default();
    let mut body = Vec::new();
    match headers.get("content-length") {
        Some(length) => {
            body.resize(length.parse::<usize>()?, 0);
            reader.read_exact(&mut body)?;
        }
        None => drop(reader.read_to_end(&mut body)?),
    }
    Ok((status.parse()?, String::from_utf8(body)?))
}
