//! Long-lived connections that carry a little data continuously. Every byte is verified, to show
//! that the loss of a host does not break them.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket;

use crate::host::{Host, joined};

/// Length in bytes of one message on a connection, which is called a drop.
const DROP: usize = 16;

/// Interval between two messages (drops) on a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Time-out for the server to return a message (a drop), after which the connection counts as
/// broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server combines each byte that it returns with this value by XOR.
const TURN: u8 = 0x5a;

/// A server that returns every byte that it receives, changed by XOR with a fixed value. Dropping
/// it stops it.
#[derive(Debug)]
pub struct Basin {
    listener: TcpListener,
}

impl Basin {
    /// Starts the server at an address of a host.
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
                thread::spawn(move || turn_back(stream));
            }
        });
        Ok(Self { listener })
    }
}

impl Drop for Basin {
    fn drop(&mut self) {
        // Shutting the listener down wakes the accepting thread. An error means that the thread has
        // already ended.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
    }
}

/// Returns the changed bytes of a connection until the client closes it or it fails. The client
/// reports failures, so they are ignored here.
fn turn_back(mut stream: TcpStream) {
    drop(stream.set_nodelay(true));
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        let bytes = &mut bytes[..read];
        bytes.iter_mut().for_each(|byte| *byte ^= TURN);
        if stream.write_all(bytes).is_err() {
            return;
        }
    }
}

/// Open connections on which messages (drops) are sent continuously.
#[derive(Debug)]
pub struct Trickle {
    stop: Arc<AtomicBool>,
    drops: Arc<AtomicU64>,
    connections: Vec<JoinHandle<Result<Flow>>>,
}

/// Result of one connection of a [`Trickle`], every byte of which was correct.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Number of bytes that were sent and returned on the connection.
    pub bytes: u64,
    /// Longest time until a message (a drop) on the connection was returned.
    pub longest: Duration,
}

impl Trickle {
    /// Opens this many connections from a host, and starts sending messages (drops) on them.
    #[must_use]
    pub fn start(from: &Host, to: SocketAddr, connections: u64) -> Self {
        let (stop, drops) = (Arc::default(), Arc::default());
        let connections = (0..connections)
            .map(|number| {
                let (stop, drops) = (Arc::clone(&stop), Arc::clone(&drops));
                from.inside(move || {
                    flow(to, number, &stop, &drops)
                        .with_context(|| format!("trickle connection {number}"))
                })
            })
            .collect();
        Self {
            stop,
            drops,
            connections,
        }
    }

    /// Returns the number of messages (drops) that were returned so far, on all connections
    /// together.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// Closes every connection gracefully, and returns the results.
    ///
    /// # Errors
    /// When a connection broke, timed out, or carried a wrong byte.
    pub fn stop(mut self) -> Result<Vec<Flow>> {
        self.stop.store(true, Ordering::Relaxed);
        let connections = std::mem::take(&mut self.connections);
        connections.into_iter().map(joined).collect()
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn flow(to: SocketAddr, number: u64, stop: &AtomicBool, drops: &AtomicU64) -> Result<Flow> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut flow = Flow {
        bytes: 0,
        longest: Duration::ZERO,
    };
    let mut source = Source::new(number);
    while !stop.load(Ordering::Relaxed) {
        let sent = source.next_drop();
        let began = Instant::now();
        stream.write_all(&sent).context("it broke")?;
        let mut back = [0; DROP];
        stream
            .read_exact(&mut back)
            .with_context(|| format!("it broke after {} bytes", flow.bytes))?;
        ensure!(
            back == sent.map(|byte| byte ^ TURN),
            "after {} bytes {sent:02x?} came back as {back:02x?}",
            flow.bytes
        );
        flow.longest = flow.longest.max(began.elapsed());
        flow.bytes += DROP as u64;
        drops.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    stream.shutdown(Shutdown::Write)?;
    let left = stream.read(&mut [0; DROP]).context("it did not end")?;
    ensure!(left == 0, "received {left} unexpected bytes");
    Ok(flow)
}

/// A pseudo-random sequence of bytes, different for each connection (xorshift).
struct Source(u64);

impl Source {
    fn new(number: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (number + 1))
    }

    fn next_drop(&mut self) -> [u8; DROP] {
        let mut bytes = [0; DROP];
        for half in bytes.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            half.copy_from_slice(&self.0.to_be_bytes());
        }
        bytes
    }
}
