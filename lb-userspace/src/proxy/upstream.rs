//! The connection pools of one worker, one for each backend address.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::backend::BackendState;
use tokio::{net::TcpStream, sync::Notify};

use super::{
    admission_control::Permit, connections::OpenBackend, counters::BackendCounters,
    listener::keepalive, outliers::FailureRecord,
};
use crate::config::Name;

/// How long a worker prefers other backends after it failed to connect to a backend.
const AVOIDANCE: Duration = Duration::from_secs(1);
/// How long an idle connection to a backend is kept: shorter than the usual limits of servers, so
/// that the backend rarely closes it first.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// The connection pools of one worker, by the backend's address.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    by_address: RefCell<HashMap<SocketAddr, Rc<Upstream>>>,
}

impl Upstreams {
    /// Returns the connection pool of an address, creating it if it does not exist.
    pub(super) fn at(&self, address: SocketAddr) -> Rc<Upstream> {
        let mut by_address = self.by_address.borrow_mut();
        let entry = by_address.entry(address);
        Rc::clone(entry.or_insert_with(|| Rc::new(Upstream::new(address))))
    }

    /// Closes all idle connections of the worker to backends.
    pub(super) fn drop_idle(&self) {
        for upstream in self.by_address.borrow().values() {
            upstream.drop_idle();
        }
    }

    /// Closes idle connections that are dead or expired, and removes the connection pools of
    /// addresses that no service uses.
    pub(super) fn sweep(&self) {
        let mut by_address = self.by_address.borrow_mut();
        by_address.retain(|_, upstream| Rc::strong_count(upstream) > 1);
        for upstream in by_address.values() {
            upstream.idle.borrow_mut().retain(IdleConnection::is_usable);
        }
    }
}

/// The connection pool of one backend address, in one worker.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The address and port of the backend.
    pub(super) address: SocketAddr,
    idle: RefCell<Vec<IdleConnection>>,
    in_use: Cell<u32>,
    avoided_until: Cell<Option<Instant>>,
}

impl Upstream {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: RefCell::default(),
            in_use: Cell::new(0),
            avoided_until: Cell::new(None),
        }
    }

    /// Returns the number of requests that this worker has in flight at the backend.
    pub(super) fn load(&self) -> u32 {
        self.in_use.get()
    }

    /// Returns whether the backend was unreachable for this worker a moment ago.
    pub(super) fn is_avoided(&self) -> bool {
        match self.avoided_until.get() {
            None => false,
            Some(until) if Instant::now() < until => true,
            Some(_) => {
                self.avoided_until.set(None);
                false
            }
        }
    }

    /// Marks the backend as unreachable, so that other backends are preferred for a moment.
    pub(super) fn avoid(&self) {
        self.avoided_until.set(Some(Instant::now() + AVOIDANCE));
        self.drop_idle();
    }

    /// Ends the avoidance of the backend that [`Self::avoid`] began, because a health check found
    /// the backend up.
    pub(super) fn clear_avoidance(&self) {
        self.avoided_until.set(None);
    }

    /// Closes the idle connections to this backend.
    pub(super) fn drop_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    fn idle_connection(&self) -> Option<IdleConnection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }
}

#[derive(Debug)]
struct IdleConnection {
    stream: TcpStream,
    open: OpenBackend,
    since: Instant,
}

impl IdleConnection {
    /// Returns whether an idle connection can be used: it has not expired, and neither data nor an
    /// end has arrived on it. Costs no system call while nothing has arrived.
    fn is_usable(&self) -> bool {
        let quiet = matches!(
            self.stream.try_read(&mut [0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        quiet && self.since.elapsed() < IDLE_LIMIT
    }
}

/// A backend of a service's pool, as one worker sees it.
#[derive(Debug)]
pub(super) struct PoolBackend {
    /// The name of the backend.
    pub(super) name: Name,
    /// The connection pool of the backend's address.
    pub(super) upstream: Rc<Upstream>,
    /// The counters of the backend.
    pub(super) counters: Arc<BackendCounters>,
    /// The failure record of the backend; `None` if the pool ejects no backends.
    pub(super) record: RefCell<Option<Arc<FailureRecord>>>,
    /// Whether the backend takes new requests.
    pub(super) up: Cell<bool>,
    /// When the backend came up; `None` if it was up from the start.
    pub(super) came_up: Cell<Option<Instant>>,
    /// Whether health checks or the operator took the backend down.
    down: Cell<bool>,
    /// Notified when the backend goes down.
    going_down: Notify,
}

impl PoolBackend {
    /// Creates a backend whose state is up.
    pub(super) fn new(name: &Name, upstream: Rc<Upstream>, counters: Arc<BackendCounters>) -> Self {
        Self {
            name: name.clone(),
            upstream,
            counters,
            record: RefCell::default(),
            up: Cell::new(true),
            came_up: Cell::default(),
            down: Cell::default(),
            going_down: Notify::new(),
        }
    }

    /// Applies the state that health checks and operator override give the backend.
    pub(super) fn apply_state(&self, state: Option<BackendState>) {
        let up = state == Some(BackendState::Up);
        if up && !self.up.get() {
            self.upstream.clear_avoidance();
        }
        if !up {
            self.upstream.drop_idle();
        }
        self.up.set(up);
        self.down.set(state == Some(BackendState::Down));
        if self.down.get() {
            self.going_down.notify_waiters();
        }
    }

    /// Returns whether the backend still serves its sticky sessions: it is up or draining.
    pub(super) fn keeps_sessions(&self) -> bool {
        !self.down.get()
    }

    /// Returns whether the backend is ejected for failing requests.
    pub(super) fn is_ejected(&self) -> bool {
        let record = self.record.borrow();
        let end = record.as_ref().and_then(|one| one.ejection_end());
        end.is_some_and(|end| Instant::now() < end)
    }

    /// Returns how long the backend has taken requests without interruption; `None` if it has done
    /// so since the start.
    pub(super) fn up_for(&self, now: Instant) -> Option<Duration> {
        let record = self.record.borrow();
        let ejected = record.as_ref().and_then(|one| one.ejection_end());
        let since = self.came_up.get().max(ejected)?;
        Some(now.saturating_duration_since(since))
    }

    /// Waits until health checks or the operator take the backend down.
    pub(super) async fn is_down(&self) {
        let notified = self.going_down.notified();
        if !self.down.get() {
            notified.await;
        }
    }
}

/// A connection from a backend's connection pool, with a request in flight.
#[derive(Debug)]
pub(super) struct PooledConnection {
    /// The stream of the connection.
    pub(super) stream: TcpStream,
    /// The permit of the request (its right to be in flight at the backend); set only for tunnels,
    /// which hold it to their end.
    pub(super) permit: Option<Permit>,
    open: OpenBackend,
    _use: InUse,
}

impl PooledConnection {
    /// Takes a usable idle connection from the backend's connection pool; `None` if there is none.
    pub(super) fn take_idle(backend: &Rc<PoolBackend>) -> Option<Self> {
        let IdleConnection { stream, open, .. } = backend.upstream.idle_connection()?;
        Some(Self {
            stream,
            permit: None,
            open,
            _use: InUse::new(backend),
        })
    }

    /// Returns the backend that the connection leads to.
    pub(super) fn backend(&self) -> &Rc<PoolBackend> {
        &self._use.0
    }

    /// Opens a new connection to a backend.
    pub(super) async fn connect(backend: &Rc<PoolBackend>, open: OpenBackend) -> io::Result<Self> {
        let in_use = InUse::new(backend);
        let stream = TcpStream::connect(backend.upstream.address).await?;
        stream.set_nodelay(true)?;
        // A tunnel may be silent for long: keepalive detects a backend that lost power.
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        Ok(Self {
            stream,
            permit: None,
            open,
            _use: in_use,
        })
    }

    /// Returns the connection to its pool after a complete request and response, unless the pool
    /// has `limit` idle connections already or the backend takes no new requests.
    pub(super) fn return_to_pool(self, limit: usize) {
        let backend = &self._use.0;
        let mut idle = backend.upstream.idle.borrow_mut();
        if backend.up.get() && idle.len() < limit {
            idle.push(IdleConnection {
                stream: self.stream,
                open: self.open,
                since: Instant::now(),
            });
        }
    }
}

/// Counts a connection to a backend as in use until this value is dropped.
#[derive(Debug)]
struct InUse(Rc<PoolBackend>);

impl InUse {
    fn new(backend: &Rc<PoolBackend>) -> Self {
        let in_use = &backend.upstream.in_use;
        in_use.set(in_use.get() + 1);
        backend.counters.in_use.add(1);
        Self(Rc::clone(backend))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let in_use = &self.0.upstream.in_use;
        in_use.set(in_use.get() - 1);
        self.0.counters.in_use.sub(1);
    }
}
