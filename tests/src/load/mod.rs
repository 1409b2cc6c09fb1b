//! The load generator: concurrent connections; each response and each failure is counted.
//!
//! It runs on threads of this process in a host's network, so that a test can read the figures
//! during the load.

mod churn;
mod connection;
mod probe;
mod report;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustls::ClientConfig;

use crate::{
    Lab,
    agent::APP_PORT,
    host::{Host, joined},
    topology::{ELASTIC_IP, SITE},
};
pub use churn::{Churn, ChurnReport, Closing};
use connection::Connection;
pub use connection::trust;
pub use probe::{Outage, Probe, outage};
pub use report::{Answer, Failure, Report};

/// `User-Agent` of the load generator's requests.
pub const USER_AGENT: &str = "lb-lab";

/// Parameters of a load, which is HTTP requests over concurrent connections.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address of the server that the load is sent to.
    pub address: SocketAddr,
    /// TLS configuration for `https://`, with `host` as the server name; `None` for plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    /// The `Host` header and the TLS server name.
    pub host: String,
    /// Path that each request names.
    pub path: String,
    /// Expected body of each response.
    pub body: Body,
    /// Number of concurrent connections.
    pub connections: usize,
    /// Whether a connection serves one request or many requests.
    pub reuse: Reuse,
    /// Pause of each connection between a response and the next request.
    pub pause: Duration,
    /// Time-out of connecting, and of each read.
    pub patience: Duration,
    /// Total number of requests; `None` for no limit until the load is stopped.
    pub requests: Option<u64>,
}

/// Expected body of a response: a response with another body is counted as a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// The body is the server's name, as in the `X-Backend` header, and a newline.
    BackendName,
    /// The body is this byte, repeated this many times.
    Filled(u8, usize),
}

/// Whether a connection serves one request or many requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reuse {
    /// A new connection is opened for every request.
    Never,
    /// A connection is used for as long as it stays open. If it ends during a request, that is a
    /// failure; if it ends between two requests, it is replaced, and shows only in the number of
    /// connections.
    Always,
}

impl Plan {
    /// Returns the parameters of a load on `http://` at the Elastic IP: eight concurrent
    /// connections, a new one for each request, until stopped.
    #[must_use]
    pub fn http() -> Self {
        Self {
            address: SocketAddr::from((ELASTIC_IP, 80)),
            tls: None,
            host: SITE.to_owned(),
            path: "/".to_owned(),
            body: Body::BackendName,
            connections: 8,
            reuse: Reuse::Never,
            pause: Duration::ZERO,
            patience: Duration::from_secs(5),
            requests: None,
        }
    }

    /// Returns the parameters of a load on `https://` at the Elastic IP; otherwise the same as
    /// [`Plan::http`].
    ///
    /// # Errors
    /// When the certificate of the authority in `lab` cannot be parsed.
    pub fn https(lab: &Lab) -> Result<Self> {
        Ok(Self {
            address: SocketAddr::from((ELASTIC_IP, 443)),
            tls: Some(trust(&lab.authority)?),
            ..Self::http()
        })
    }

    /// Returns the parameters of a load on `/app` of
    /// [`Settings::with_app`](crate::agent::Settings::with_app) over `https://`, on four persistent
    /// connections.
    ///
    /// # Errors
    /// As [`Plan::https`].
    pub fn app(lab: &Lab) -> Result<Self> {
        Ok(Self {
            address: SocketAddr::from((ELASTIC_IP, APP_PORT)),
            path: "/app".to_owned(),
            connections: 4,
            reuse: Reuse::Always,
            pause: Duration::from_millis(2),
            ..Self::https(lab)?
        })
    }

    /// Sends all `requests` from a host and waits until they have ended.
    ///
    /// # Errors
    /// When the host's network namespace cannot be entered. Failed requests are in the report.
    pub fn run(self, from: &Host) -> Result<Report> {
        debug_assert!(self.requests.is_some(), "it would not end");
        self.start(from).finish()
    }

    /// Starts sending the load from a host.
    #[must_use]
    pub fn start(self, from: &Host) -> Load {
        let plan = Arc::new(self);
        Load::start(from, plan.requests, move |shared| {
            let workers: Vec<_> = (0..plan.connections)
                .map(|_| {
                    let (plan, shared) = (Arc::clone(&plan), Arc::clone(shared));
                    // A thread inherits the network namespace that its parent thread has entered.
                    thread::spawn(move || {
                        worker(&plan, &shared);
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(joined)
        })
    }
}

/// Checks that requests to `http://` and `https://` at the Elastic IP are all answered, and by
/// exactly these web servers, whose names are sorted.
///
/// # Errors
/// When a request fails, when another web server answers, or when one of these answers none.
pub fn answers_come_from(lab: &Lab, backends: &[&str]) -> Result<()> {
    for plan in [Plan::http(), Plan::https(lab)?] {
        let plan = Plan {
            requests: Some(100),
            ..plan
        };
        let report = plan.run(&lab.client)?;
        report.all_answered()?;
        let shares = report.shares();
        ensure!(
            shares.keys().copied().eq(backends.iter().copied()),
            "answers should come from {backends:?}, they came from {shares:?}"
        );
    }
    Ok(())
}

/// A load that is being sent. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    sender: JoinHandle<Result<()>>,
    _end: End,
}

/// Stops the load of the worker threads that share these results when it is dropped.
#[derive(Debug)]
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Position up to which an observer has read a load's results: see [`Load::news`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    answers: usize,
    failures: usize,
}

#[derive(Debug)]
struct Shared {
    left: AtomicU64,
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Load {
    /// Starts a load on a thread in a host's network.
    fn start(
        from: &Host,
        requests: Option<u64>,
        send: impl FnOnce(&Arc<Shared>) -> Result<()> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            left: AtomicU64::new(requests.unwrap_or(u64::MAX)),
            stop: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let sending = Arc::clone(&shared);
        Self {
            _end: End(Arc::clone(&shared)),
            shared,
            sender: from.inside(move || send(&sending)),
        }
    }

    /// Returns the number of requests that have ended, answered or failed.
    #[must_use]
    pub fn done(&self) -> usize {
        self.shared
            .with_report(|report| report.answers.len() + report.failures.len())
    }

    /// Returns the number of requests that have failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.shared.with_report(|report| report.failures.len())
    }

    /// Returns the results since the position `seen`, which is moved to the latest result.
    #[must_use]
    pub fn news(&self, seen: &mut Seen) -> Report {
        self.shared.with_report(|report| {
            let news = Report {
                connections: report.connections,
                resumed: report.resumed,
                answers: report.answers[seen.answers..].to_vec(),
                failures: report.failures[seen.failures..].to_vec(),
            };
            seen.answers = report.answers.len();
            seen.failures = report.failures.len();
            news
        })
    }

    /// Stops the load, waits for requests in flight, and returns the results.
    ///
    /// # Errors
    /// When the host could not be entered.
    pub fn stop(self) -> Result<Report> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all requests have been sent, and returns the results.
    ///
    /// # Errors
    /// As [`Load::stop`].
    pub fn finish(self) -> Result<Report> {
        joined(self.sender)?;
        Ok(self.shared.with_report(std::mem::take))
    }
}

impl Shared {
    fn with_report<T>(&self, look: impl FnOnce(&mut Report) -> T) -> T {
        look(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes one of the requests that are left to send. Returns whether there was one.
    fn another(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
    }
}

/// Sends requests one after the other, on one connection at a time.
fn worker(plan: &Plan, shared: &Shared) {
    let mut connection = None;
    while shared.another() {
        attempt(plan, &mut connection, shared);
        if !plan.pause.is_zero() {
            thread::sleep(plan.pause);
        }
    }
}

/// Sends one request, on `connection` or a new one, and records its result.
fn attempt(plan: &Plan, connection: &mut Option<Connection>, shared: &Shared) {
    let (began, mut connected) = (Instant::now(), None);
    match request(plan, connection, shared, &mut connected) {
        Ok(backend) => shared.with_report(|report| {
            report.answers.push(Answer {
                began,
                ended: Instant::now(),
                backend,
            });
        }),
        Err(error) => {
            *connection = None;
            shared.with_report(|report| {
                report.failures.push(Failure {
                    began,
                    connected,
                    ended: Instant::now(),
                    why: format!("{error:#}"),
                });
            });
        }
    }
}

/// Sends a request on the given connection, or on a new one if that has ended. Records when the
/// connection was established.
fn request(
    plan: &Plan,
    connection: &mut Option<Connection>,
    shared: &Shared,
    connected: &mut Option<Instant>,
) -> Result<String> {
    let mut open = match connection.take().filter(Connection::is_open) {
        Some(open) => open,
        None => {
            let open = Connection::open(plan)?;
            shared.with_report(|report| report.connections += 1);
            open
        }
    };
    *connected = Some(open.established());
    let backend = open.ask(plan)?;
    if open.is_resumed() {
        shared.with_report(|report| report.resumed += 1);
    }
    if plan.reuse == Reuse::Always {
        *connection = Some(open);
    }
    Ok(backend)
}
