//! Connections to backends, kept by each worker for itself.

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

/// How long a worker avoids a backend that it could not connect to, while others are there.
const AVOIDED_FOR: Duration = Duration::from_secs(1);
/// How long a connection is kept without use: shorter than what servers grant by default, so that
/// it is rarely the backend that closes first.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// The backends that one worker knows, by address.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    by_address: RefCell<HashMap<SocketAddr, Rc<Upstream>>>,
}

impl Upstreams {
    /// The backend at an address.
    pub(super) fn at(&self, address: SocketAddr) -> Rc<Upstream> {
        let mut by_address = self.by_address.borrow_mut();
        let entry = by_address.entry(address);
        Rc::clone(entry.or_insert_with(|| Rc::new(Upstream::new(address))))
    }

    /// Closes all connections that no request uses.
    pub(super) fn drop_idle(&self) {
        for upstream in self.by_address.borrow().values() {
            upstream.drop_idle();
        }
    }

    /// Closes connections that are dead or were idle for long, forgets backends that nobody uses.
    pub(super) fn sweep(&self) {
        let mut by_address = self.by_address.borrow_mut();
        by_address.retain(|_, upstream| Rc::strong_count(upstream) > 1);
        for upstream in by_address.values() {
            upstream.idle.borrow_mut().retain(IdleConnection::is_usable);
        }
    }
}

/// One backend, as one worker sees it.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it listens.
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

    /// Requests under way.
    pub(super) fn load(&self) -> u32 {
        self.in_use.get()
    }

    /// Whether it was out of reach a moment ago.
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

    /// It is out of reach: others are better for a moment.
    pub(super) fn avoid(&self) {
        self.avoided_until.set(Some(Instant::now() + AVOIDED_FOR));
        self.drop_idle();
    }

    /// A health check changed its state.
    pub(super) fn trust(&self) {
        self.avoided_until.set(None);
    }

    /// Closes the connections that no request uses.
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
    /// Whether nothing arrived, neither bytes nor the end, and it is not too old. Costs no system
    /// call while nothing arrived.
    fn is_usable(&self) -> bool {
        let quiet = matches!(
            self.stream.try_read(&mut [0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        quiet && self.since.elapsed() < IDLE_FOR
    }
}

/// A backend of a service's pool.
#[derive(Debug)]
pub(super) struct PoolBackend {
    /// Its name.
    pub(super) name: Name,
    /// Its connections.
    pub(super) upstream: Rc<Upstream>,
    /// What is counted for it.
    pub(super) counters: Arc<BackendCounters>,
    /// Its failures; `None`: the pool ejects no backends.
    pub(super) record: RefCell<Option<Arc<FailureRecord>>>,
    /// Whether it takes new requests.
    pub(super) up: Cell<bool>,
    /// When it came up; `None`: it was there from the start.
    pub(super) came_up: Cell<Option<Instant>>,
    /// Whether it failed its checks, or was taken out by the operator.
    down: Cell<bool>,
    /// Notified when it goes down.
    going_down: Notify,
}

impl PoolBackend {
    /// A backend that is up.
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

    /// Takes over what the checks and the operator say.
    pub(super) fn follow(&self, state: Option<BackendState>) {
        let up = state == Some(BackendState::Up);
        if up && !self.up.get() {
            self.upstream.trust();
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

    /// Whether it answers those who were its clients before: it is up or draining.
    pub(super) fn keeps_sessions(&self) -> bool {
        !self.down.get()
    }

    /// Whether it failed so many requests in a row that others have its share for a while.
    pub(super) fn is_ejected(&self) -> bool {
        let record = self.record.borrow();
        let end = record.as_ref().and_then(|one| one.ejection_end());
        end.is_some_and(|end| Instant::now() < end)
    }

    /// How long it has taken requests without a break; `None`: ever since the start.
    pub(super) fn up_for(&self, now: Instant) -> Option<Duration> {
        let record = self.record.borrow();
        let ejected = record.as_ref().and_then(|one| one.ejection_end());
        let since = self.came_up.get().max(ejected)?;
        Some(now.saturating_duration_since(since))
    }

    /// Waits until the backend is down.
    pub(super) async fn is_down(&self) {
        let notified = self.going_down.notified();
        if !self.down.get() {
            notified.await;
        }
    }
}

/// A connection to a backend with a request under way.
#[derive(Debug)]
pub(super) struct PooledConnection {
    /// The connection.
    pub(super) stream: TcpStream,
    /// Its place among the requests that the backend has at once; for tunnels.
    pub(super) permit: Option<Permit>,
    open: OpenBackend,
    _use: InUse,
}

impl PooledConnection {
    /// Takes an idle connection, if there is one that lives.
    pub(super) fn take_idle(backend: &Rc<PoolBackend>) -> Option<Self> {
        let IdleConnection { stream, open, .. } = backend.upstream.idle_connection()?;
        Some(Self {
            stream,
            permit: None,
            open,
            _use: InUse::new(backend),
        })
    }

    /// The backend.
    pub(super) fn backend(&self) -> &Rc<PoolBackend> {
        &self._use.0
    }

    /// Makes a new connection.
    pub(super) async fn connect(backend: &Rc<PoolBackend>, open: OpenBackend) -> io::Result<Self> {
        let in_use = InUse::new(backend);
        let stream = TcpStream::connect(backend.upstream.address).await?;
        stream.set_nodelay(true)?;
        // A tunnel may be silent for long: a backend that lost its power is noticed all the same.
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        Ok(Self {
            stream,
            permit: None,
            open,
            _use: in_use,
        })
    }

    /// The request is done and the connection in order: keeps it for another one, at most `limit`
    /// of them, unless the backend takes no new requests.
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

/// Counts a connection as in use for as long as it lives.
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
