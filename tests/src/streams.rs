//! Long-lived HTTP exchanges: server-sent events, and a connection upgraded to an echo like a
//! WebSocket. Every byte is verified, to show that changes of the proxy do not break them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket;

use crate::host::{Host, joined};

/// Interval between two events or messages of a stream.
const PAUSE: Duration = Duration::from_millis(50);

/// Time-out for the next event or message of a stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend: `/events` sends numbered events without end, `/echo` upgrades and returns every line.
/// Dropping it stops it.
#[derive(Debug)]
pub struct Backend {
    listener: TcpListener,
}

impl Backend {
    /// Starts the backend at an address of a host.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = joined(host.inside(move || {
            TcpListener::bind(address).with_context(|| format!("could not listen at {address}"))
        }))?;
        let accepting = listener.try_clone()?;
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                // The thread ends when the connection's client closes it.
                thread::spawn(move || drop(serve(stream)));
            }
        });
        Ok(Self { listener })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Shutting the listener down wakes the thread that accepts, which then ends.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
    }
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let head = read_head(&mut reader)?;
    if head.starts_with("GET /echo ") {
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            stream.write_all(line.as_bytes())?;
        }
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    for number in 0_u64.. {
        let event = format!("data: {number}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The two kinds of streams that a client opens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Server-sent events, which the backend sends without end.
    Events,
    /// An upgraded connection, on which the backend returns every line.
    Echo,
}

/// Open streams of a client, one of each kind.
#[derive(Debug)]
pub struct Streams {
    stop: Arc<AtomicBool>,
    messages: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<u64>>>,
}

impl Streams {
    /// Opens one stream of each kind from a host, and waits for a message on both.
    ///
    /// # Errors
    /// When a stream has no message within 10 s.
    pub fn open(from: &Host, to: SocketAddr) -> Result<Self> {
        let (stop, messages) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = [Kind::Events, Kind::Echo].map(|kind| {
            let (stop, messages) = (Arc::clone(&stop), Arc::clone(&messages));
            from.inside(move || {
                follow(kind, to, &stop, &messages).with_context(|| format!("{kind:?}"))
            })
        });
        Ok(Self {
            stop,
            messages,
            threads: threads.into(),
        })
    }

    /// Returns the number of messages received so far on all streams.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Ends the streams, and returns the number of messages on each.
    ///
    /// # Errors
    /// When a stream broke, was silent for 10 s, or carried wrong data.
    pub fn stop(self) -> Result<Vec<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(joined).collect()
    }
}

fn follow(kind: Kind, to: SocketAddr, stop: &AtomicBool, messages: &AtomicU64) -> Result<u64> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let request = match kind {
        Kind::Events => "GET /events HTTP/1.1\r\nHost: lab\r\n\r\n",
        Kind::Echo => {
            "GET /echo HTTP/1.1\r\nHost: lab\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        }
    };
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let head = read_head(&mut reader)?;
    let expected = match kind {
        Kind::Events => "HTTP/1.1 200",
        Kind::Echo => "HTTP/1.1 101",
    };
    ensure!(head.starts_with(expected), "the answer was {head:?}");
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        match kind {
            Kind::Events => event(&mut reader, count)?,
            Kind::Echo => {
                let line = format!("message {count}\n");
                stream.write_all(line.as_bytes())?;
                let mut back = String::new();
                reader.read_line(&mut back)?;
                ensure!(back == line, "{line:?} came back as {back:?}");
                thread::sleep(PAUSE);
            }
        }
        count += 1;
        messages.fetch_add(1, Ordering::Relaxed);
    }
    Ok(count)
}

/// Reads one chunk of the response, which must be the event with this number.
fn event(reader: &mut BufReader<TcpStream>, number: u64) -> Result<()> {
    let mut size = String::new();
    ensure!(reader.read_line(&mut size)? > 0, "the response ended");
    let size = usize::from_str_radix(size.trim_end(), 16)
        .with_context(|| format!("no size of a chunk: {size:?}"))?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk)?;
    let expected = format!("data: {number}\n\n\r\n");
    ensure!(
        chunk == expected.as_bytes(),
        "event {number} is {:?}",
        String::from_utf8_lossy(&chunk)
    );
    Ok(())
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Result<String> {
    let mut head = String::new();
    loop {
        let from = head.len();
        if reader.read_line(&mut head)? == 0 {
            bail!("the connection ended inside the response head: {head:?}");
        }
        if head[from..].trim_end().is_empty() {
            return Ok(head);
        }
    }
}
