//! A load generator of short connections: connect, one request, its response, close.
//!
//! The generator is one thread with epoll, as wrk is, so it costs the machine about as much. Unlike
//! wrk it includes the time to connect in its times, chooses the source address of each connection,
//! and decides which side closes first: that side keeps the connection in TIME-WAIT.

mod exchange;
mod report;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use crate::{
    host::{Host, joined},
    topology::{CLIENT, ELASTIC_IP, SITE},
};
use exchange::Exchange;
pub use report::ChurnReport;

/// Interval at which connections are checked for time-outs.
const LOOK: Duration = Duration::from_millis(100);

/// Parameters of a load of short connections from one client host, for a limited time.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Address and port of the server.
    pub address: SocketAddrV4,
    /// Value of the `Host` header of each request.
    pub host: String,
    /// Path that each request names.
    pub path: String,
    /// Source addresses that the connections use in turn; an interface of the client host has them.
    pub sources: Vec<Ipv4Addr>,
    /// Number of connections that are open at the same time.
    pub connections: usize,
    /// Which side of a connection closes it first.
    pub closing: Closing,
    /// Maximum number of connections per second; `None` for no limit.
    pub rate: Option<u32>,
    /// Maximum total number of connections; `None` for no limit.
    pub total: Option<u64>,
    /// Time-out of a connection, from its start to the end of the response.
    pub patience: Duration,
    /// Time for which new connections are opened.
    pub lasts: Duration,
}

/// Which side of a connection closes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closing {
    /// The server closes first, because the request has `Connection: close`. The client closes when
    /// it has read the end of the stream.
    Server,
    /// The client closes first, as soon as it has the answer to a request with `Connection:
    /// keep-alive`.
    Client,
}

impl Churn {
    /// Returns a load of 16 concurrent connections from the client's own address to `http://` the
    /// Elastic IP, as fast as they are answered.
    #[must_use]
    pub fn new(closing: Closing, lasts: Duration) -> Self {
        Self {
            address: SocketAddrV4::new(ELASTIC_IP, 80),
            host: SITE.to_owned(),
            path: "/".to_owned(),
            sources: vec![CLIENT],
            connections: 16,
            closing,
            rate: None,
            total: None,
            patience: Duration::from_secs(5),
            lasts,
        }
    }

    /// Opens the connections from a host, and returns when the last one has ended: after at most
    /// `lasts` plus `patience`.
    ///
    /// # Errors
    /// When the host cannot be entered, or epoll fails. Failed connections are in the report.
    pub fn run(self, from: &Host) -> Result<ChurnReport> {
        ensure!(
            !self.sources.is_empty() && self.connections > 0 && self.rate != Some(0),
            "a load of short connections needs a source address, a connection and a rate above 0"
        );
        joined(from.inside(move || Generator::new(&self)?.run()))
    }

    fn request(&self) -> String {
        let connection = match self.closing {
            Closing::Server => "close",
            Closing::Client => "keep-alive",
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n",
            self.path, self.host
        )
    }
}

/// The open connections, and the results of those that have ended.
struct Generator<'a> {
    plan: &'a Churn,
    request: Vec<u8>,
    epoll: Epoll,
    /// A slot for each concurrent connection, `None` while it is free; an epoll event carries the
    /// slot's index.
    slots: Vec<Option<Exchange>>,
    report: ChurnReport,
    began: Instant,
    /// Number of connections that have been opened so far.
    begun: u64,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Churn) -> Result<Self> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("could not make an epoll")?;
        Ok(Self {
            plan,
            request: plan.request().into_bytes(),
            epoll,
            slots: (0..plan.connections).map(|_| None).collect(),
            report: ChurnReport::default(),
            began: Instant::now(),
            begun: 0,
        })
    }

    fn run(mut self) -> Result<ChurnReport> {
        let mut events = vec![EpollEvent::empty(); self.slots.len()];
        let mut next_look = self.began + LOOK;
        loop {
            let elapsed = self.began.elapsed();
            if !self.is_over(elapsed) {
                self.fill(elapsed);
            } else if self.slots.iter().all(Option::is_none) {
                return Ok(self.report);
            }
            let ready = self.wait(&mut events)?;
            for event in &events[..ready] {
                // The data of an epoll event, which `fill` set, is the index of the slot of the
                // event's connection.
                self.advance(event.data() as usize);
            }
            let now = Instant::now();
            if now >= next_look {
                self.expire(now);
                next_look = now + LOOK;
            }
        }
    }

    /// Whether no more connections are to be opened, when the load has lasted for `elapsed`.
    fn is_over(&self, elapsed: Duration) -> bool {
        let is_last = |total| self.begun >= total;
        elapsed >= self.plan.lasts || self.plan.total.is_some_and(is_last)
    }

    /// Opens a connection in each free slot of the generator, which has a slot for each concurrent
    /// connection, or in as many slots as the rate allows when the load has lasted for `elapsed`.
    fn fill(&mut self, elapsed: Duration) {
        for index in 0..self.slots.len() {
            if self.is_over(elapsed) || !self.is_due(elapsed) {
                return;
            }
            if self.slots[index].is_some() {
                continue;
            }
            let source = self.plan.sources[(self.begun % self.plan.sources.len() as u64) as usize];
            self.begun += 1;
            match Exchange::open(&self.epoll, index as u64, source, self.plan.address) {
                Ok(exchange) => self.slots[index] = Some(exchange),
                Err(error) => self.report.failed(&error),
            }
        }
    }

    /// Whether the rate allows another connection, when the load has lasted for `elapsed`.
    fn is_due(&self, elapsed: Duration) -> bool {
        let due = |rate| elapsed.as_secs_f64() * f64::from(rate);
        self.plan
            .rate
            .is_none_or(|rate| (self.begun as f64) < due(rate))
    }

    /// Waits for events, but no longer than until the next check of time-outs or, with a rate,
    /// until about one more connection is due. Returns the number of events.
    fn wait(&self, events: &mut [EpollEvent]) -> Result<usize> {
        let limit = match self.plan.rate {
            None => LOOK,
            Some(rate) => (Duration::from_secs(1) / rate).clamp(Duration::from_millis(1), LOOK),
        };
        match self.epoll.wait(events, EpollTimeout::try_from(limit)?) {
            Err(nix::errno::Errno::EINTR) => Ok(0),
            ready => ready.context("could not wait for the connections' events"),
        }
    }

    fn advance(&mut self, index: usize) {
        let Some(exchange) = &mut self.slots[index] else {
            return;
        };
        match exchange.advance(&self.request, self.plan.closing) {
            Ok(None) => return,
            Ok(Some(took)) => self.report.answered(self.began.elapsed(), took),
            Err(error) => self.report.failed(&error),
        }
        // Dropping the connection closes its socket, which also removes it from epoll.
        self.slots[index] = None;
    }

    fn expire(&mut self, now: Instant) {
        for slot in &mut self.slots {
            let late = |exchange: &mut Exchange| exchange.is_older(self.plan.patience, now);
            if let Some(exchange) = slot.take_if(late) {
                self.report.failed(&exchange.gave_up(self.plan.patience));
            }
        }
    }
}
