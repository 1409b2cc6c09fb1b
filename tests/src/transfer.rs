//! One long transfer over one connection. It runs at a steady rate until the allowed number of
//! bytes is reached, and is idle until more are allowed. It must survive attempts of third parties
//! to end its connection.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::{
    host::{Host, joined},
    wait,
};

/// Number of bytes that one request of a download asks for: its range of the file.
const RANGE: u64 = 256 << 10;

/// Number of bytes in one write of an upload.
const PIECE: u64 = 16 << 10;

/// Time-out of a connection that is not idle, after which it counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Interval at which the allowed number of bytes is polled.
const GLANCE: Duration = Duration::from_millis(2);

/// Parameters of a transfer.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's address and port, as the client sees them.
    pub to: SocketAddrV4,
    /// The direction of the transfer.
    pub way: Way,
    /// Path on the server of the file to download, or to upload to.
    pub path: String,
    /// The bytes to upload, or the bytes that the download must return.
    pub content: Arc<[u8]>,
    /// Maximum number of bytes that are transferred per second.
    pub rate: u64,
}

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// A download, with one request after the other for the next part of the file, so an idle
    /// download sends no packet. A client that stopped reading a single response would still
    /// receive the server's window probes.
    Down,
    /// An upload, in one request.
    Up,
}

/// A transfer in progress.
#[derive(Debug)]
pub struct Transfer {
    progress: Arc<Progress>,
    thread: JoinHandle<Result<String>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The client's port; 0 before the client is connected.
    port: AtomicU16,
    /// Total number of bytes that may be transferred so far.
    allowed: AtomicU64,
    /// Total number of bytes that have been transferred so far.
    done: AtomicU64,
}

impl Transfer {
    /// Connects from a host and waits: nothing is transferred before [`Self::allow`] is called.
    #[must_use]
    pub fn start(from: &Host, plan: Plan) -> Self {
        let progress = Arc::<Progress>::default();
        let shared = Arc::clone(&progress);
        let thread = from.inside(move || {
            let socket = TcpStream::connect_timeout(&SocketAddr::V4(plan.to), PATIENCE)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.set_nodelay(true)?;
            let port = socket.local_addr()?.port();
            shared.port.store(port, Ordering::Relaxed);
            match plan.way {
                Way::Down => download(&plan, socket, &shared),
                Way::Up => upload(&plan, socket, &shared),
            }
            .with_context(|| format!("after {} bytes", shared.done.load(Ordering::Relaxed)))
        });
        Self { progress, thread }
    }

    /// Returns the client's port.
    ///
    /// # Errors
    /// When the client is not connected within 20 s.
    pub fn port(&self) -> Result<u16> {
        wait::until("a connection for the transfer", PATIENCE, || {
            let port = self.progress.port.load(Ordering::Relaxed);
            Ok((port != 0).then_some(port))
        })
    }

    /// Sets the total number of bytes that may be transferred: all bytes, or a multiple of 256 KiB.
    pub fn allow(&self, bytes: u64) {
        self.progress.allowed.store(bytes, Ordering::Relaxed);
    }

    /// Returns the number of bytes that have been transferred so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.progress.done.load(Ordering::Relaxed)
    }

    /// Waits until all allowed bytes are transferred, or the transfer has failed: [`Self::finish`]
    /// returns which of the two.
    ///
    /// # Errors
    /// When neither happens within `limit`.
    pub fn wait_until_idle(&self, limit: Duration) -> Result<()> {
        wait::until_true("the transfer going as far as it may", limit, || {
            let allowed = self.progress.allowed.load(Ordering::Relaxed);
            Ok(self.done() >= allowed || self.thread.is_finished())
        })
    }

    /// Waits until the transfer ends, and returns the SHA-256 of the transferred bytes, as the
    /// client saw them.
    ///
    /// # Errors
    /// When the connection broke, was silent for 20 s, or the server answered with an error.
    pub fn finish(self) -> Result<String> {
        joined(self.thread)
    }
}

impl Progress {
    /// Waits until another `bytes` bytes are allowed, and due at the rate of the transfer.
    fn wait_for_leave(&self, bytes: u64, pace: &mut Pace) {
        let wanted = self.done.load(Ordering::Relaxed) + bytes;
        while self.allowed.load(Ordering::Relaxed) < wanted {
            thread::sleep(GLANCE);
        }
        pace.wait(bytes);
    }
}

/// A steady rate of bytes, without a burst after a pause.
struct Pace {
    rate: u64,
    due: Instant,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self {
            rate,
            due: Instant::now(),
        }
    }

    fn wait(&mut self, bytes: u64) {
        thread::sleep(self.due.saturating_duration_since(Instant::now()));
        let span = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.due = self.due.max(Instant::now()) + span;
    }
}

fn download(plan: &Plan, mut socket: TcpStream, progress: &Progress) -> Result<String> {
    let mut reader = BufReader::with_capacity(64 << 10, socket.try_clone()?);
    let (mut hash, mut pace) = (Sha256::new(), Pace::new(plan.rate));
    let mut body = Vec::new();
    let (mut from, all) = (0, plan.content.len() as u64);
    while from < all {
        let length = RANGE.min(all - from);
        progress.wait_for_leave(length, &mut pace);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nRange: bytes={from}-{}\r\n\r\n",
            plan.path,
            plan.to.ip(),
            from + length - 1
        );
        (socket.write_all(request.as_bytes())).context("could not send a request")?;
        read_head(&mut reader, 206)?;
        body.resize(usize::try_from(length)?, 0);
        (reader.read_exact(&mut body)).context("the connection broke within a response")?;
        hash.update(&body);
        from += length;
        progress.done.store(from, Ordering::Relaxed);
    }
    Ok(hexadecimal(&hash.finalize()))
}

fn upload(plan: &Plan, mut socket: TcpStream, progress: &Progress) -> Result<String> {
    let mut pace = Pace::new(plan.rate);
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        plan.path,
        plan.to.ip(),
        plan.content.len()
    );
    progress.wait_for_leave(0, &mut pace);
    (socket.write_all(request.as_bytes())).context("could not send the request")?;
    for piece in plan.content.chunks(usize::try_from(PIECE)?) {
        progress.wait_for_leave(piece.len() as u64, &mut pace);
        (socket.write_all(piece)).context("the connection broke within the request")?;
        (progress.done).fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    read_head(&mut BufReader::new(socket), 201)?;
    Ok(sha256(&plan.content))
}

/// Reads the head of a response, which must have the given status.
fn read_head(reader: &mut BufReader<TcpStream>, status: u16) -> Result<()> {
    let mut first = None;
    loop {
        let mut line = String::new();
        let read =
            (reader.read_line(&mut line)).context("the connection broke before an answer")?;
        ensure!(read > 0, "the connection was closed before an answer");
        if line == "\r\n" {
            break;
        }
        first.get_or_insert(line);
    }
    let first = first.unwrap_or_default();
    if !first.starts_with(&format!("HTTP/1.1 {status} ")) {
        bail!("expected status {status}, but the response began with {first:?}");
    }
    Ok(())
}

/// Returns the SHA-256 of bytes, as `sha256sum` prints it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail, so the result is ignored.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
