//! Large numbers of established connections, each with a small request every few seconds, which
//! other traffic must not break.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::host::{Host, joined};

/// Number of threads that the connections are spread over.
const THREADS: usize = 2;

/// Time-out of connecting, and of the first response on a connection.
const CONNECTING: Duration = Duration::from_secs(20);

/// Time-out of a response, after which the connection is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Number of open files that the process needs for other purposes.
const OTHER_FILES: u64 = 2_000;

/// Maximum size of a response in bytes.
const MOST_BYTES: usize = 1_000;

/// Open connections, on each of which a first request was answered.
#[derive(Debug)]
pub struct Throng {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<Vec<String>>>>,
    connections: usize,
}

/// Results of the connections of a [`Throng`] until its end.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Number of connections that were established.
    pub connections: usize,
    /// Number of responses on all connections together.
    pub answers: u64,
    /// Number of lost connections by reason.
    pub lost: BTreeMap<String, usize>,
}

impl Throng {
    /// Opens connections from a host to HTTP servers that answer `/` with their name, waits for one
    /// response on each, and then sends a request on each once per `period`.
    ///
    /// # Errors
    /// When a connection is not answered within 20 s, or the limit of open files cannot be raised
    /// that far.
    pub fn open(from: &Host, to: SocketAddr, connections: usize, period: Duration) -> Result<Self> {
        allow_files(connections as u64 + OTHER_FILES)?;
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let shares = (0..THREADS).map(|index| (connections + index) / THREADS);
        let opening: Vec<_> = shares
            .map(|share| from.inside(move || (0..share).map(|_| Member::open(to)).collect()))
            .collect();
        let opened: Vec<Vec<Member>> = (opening.into_iter().map(joined))
            .collect::<Result<_>>()
            .context("could not establish all connections")?;
        let threads = opened.into_iter().map(|members| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || Ok(go_round(members, period, &stop, &answers)))
        });
        let threads = threads.collect();
        Ok(Self {
            stop,
            answers,
            threads,
            connections,
        })
    }

    /// Returns the number of responses on all connections so far, not counting the first response
    /// on each.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Sends a last request on every connection, waits for the responses, and closes all
    /// connections.
    ///
    /// # Errors
    /// When a thread panicked. Lost connections are in the outcome.
    pub fn stop(mut self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let mut lost = BTreeMap::new();
        for thread in std::mem::take(&mut self.threads) {
            for reason in joined(thread)? {
                *lost.entry(reason).or_default() += 1;
            }
        }
        Ok(Outcome {
            connections: self.connections,
            answers: self.answers(),
            lost,
        })
    }
}

impl Drop for Throng {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Outcome {
    /// Returns the number of connections that were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }
}

/// Visits each connection once per period until stopped. Then sends a last request on each
/// connection, and waits until all are answered. Returns the number of lost connections by reason.
fn go_round(
    mut members: Vec<Member>,
    period: Duration,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> Vec<String> {
    let mut lost = Vec::new();
    let mut visit = |member: &mut Member, ask: bool| match member.visit(ask) {
        Ok(answered) => {
            answers.fetch_add(u64::from(answered), Ordering::Relaxed);
            true
        }
        Err(error) => {
            lost.push(format!("{error:#}"));
            false
        }
    };
    let step = period / u32::try_from(members.len().max(1)).unwrap_or(u32::MAX);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) && !members.is_empty() {
        members.retain_mut(|member| {
            if stop.load(Ordering::Relaxed) {
                return true;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // After a delay of the machine, requests that are overdue are not sent in a burst.
            due = due.max(Instant::now()) + step;
            visit(member, true)
        });
    }
    members.retain_mut(|member| visit(member, true));
    while members.iter().any(Member::waits) {
        members.retain_mut(|member| visit(member, false));
        thread::sleep(Duration::from_millis(10));
    }
    lost
}

/// One connection of a [`Throng`].
#[derive(Debug)]
struct Member {
    stream: TcpStream,
    /// Name of the server at the other end of the connection.
    server: String,
    /// When the pending request was sent; `None` if no request is pending.
    asked: Option<Instant>,
    /// The part of the pending response that has been received.
    answer: Vec<u8>,
}

impl Member {
    fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, CONNECTING)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut member = Self {
            stream,
            server: String::new(),
            asked: None,
            answer: Vec::new(),
        };
        member.visit(true)?;
        let asked = Instant::now();
        while !member.visit(false)? {
            ensure!(
                asked.elapsed() < CONNECTING,
                "the first answer did not come"
            );
            thread::sleep(Duration::from_micros(200));
        }
        Ok(member)
    }

    /// Whether a request on the connection is pending.
    fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// Reads the available data and, if `ask` is set and no request is pending, sends a request.
    /// Returns whether a response has become complete.
    fn visit(&mut self, ask: bool) -> Result<bool> {
        let answered = self.waits() && self.read()?;
        if ask && !self.waits() {
            let request = b"GET / HTTP/1.1\r\nHost: throng\r\n\r\n";
            let sent = self.stream.write(request).context("it broke")?;
            ensure!(
                sent == request.len(),
                "no room for a request of {sent} bytes"
            );
            self.asked = Some(Instant::now());
        }
        Ok(answered)
    }

    /// Reads the available data. Returns whether the response is complete.
    fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; MOST_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => bail!("the server closed it"),
            Ok(read) => self.answer.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let late = self.asked.is_some_and(|asked| asked.elapsed() > PATIENCE);
                ensure!(!late, "no answer within {PATIENCE:?}");
                return Ok(false);
            }
            Err(error) => return Err(error).context("it broke"),
        }
        ensure!(self.answer.len() < MOST_BYTES, "too much of an answer");
        let answer = String::from_utf8_lossy(&self.answer);
        let Some((head, body)) = answer
            .split_once("\r\n\r\n")
            .filter(|(_, body)| body.ends_with('\n'))
        else {
            return Ok(false);
        };
        ensure!(
            head.starts_with("HTTP/1.1 200 "),
            "the answer is {answer:?}"
        );
        ensure!(
            self.server.is_empty() || self.server == body,
            "{body:?} answered where {:?} did before",
            self.server
        );
        self.server = body.to_owned();
        self.answer.clear();
        self.asked = None;
        Ok(true)
    }
}

/// Raises the process's limit of open files if it is lower than `wanted`.
fn allow_files(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    ensure!(
        hard >= wanted,
        "{wanted} files must be open at once, where {hard} may be: raise `ulimit -n`"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?)
}
