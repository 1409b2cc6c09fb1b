//! The connections of one worker: their limits, and which ones are closed when a limit is reached.
//!
//! Idle connections must not keep other clients out. At a limit, the connections that have been
//! idle longest are closed first. New connections, whose first request may be on its way, are
//! closed only if there are no other idle ones. Connections with requests in flight are never
//! closed to make room; while all connections are busy, new clients wait in the listener's queue.
//! The file descriptors of connections to backends are counted too, so that clients leave enough
//! descriptors for backends, and both leave some for the rest of the process: its admin listener,
//! health checks and peer link.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{counters::ServiceCounters, reason::Reason};
use crate::config::Http;

/// File descriptors that are reserved for the parts of the process other than the front's
/// connections.
const RESERVED_DESCRIPTORS: usize = 128;
/// Default limit of client connections of the process; an idle TLS connection takes about 27 KiB of
/// memory.
const DEFAULT_CLIENTS: usize = 65_536;
/// At the limit of connections, one in this many is closed at a time, because each search for the
/// oldest connections visits all of them.
const CLOSED_AT_ONCE: usize = 64;

/// How long a connection counts as new: its TLS handshake or first request may be on its way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// How long a connection counts as new if all other idle connections are new too. If the listener's
/// queue is full of silent connections, then in each such period as many of them are accepted and
/// closed as the limit of connections allows to be open.
const FIRST_REQUEST_IN_A_CROWD: Duration = Duration::from_millis(100);
/// Interval at which a worker without room for another client searches for connections that may be
/// closed by now.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum time between two log messages that a limit is reached.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The limits of one worker's connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Limits {
    /// Limit of the number of client connections.
    clients: usize,
    /// Limit of the number of client and backend connections together.
    descriptors: usize,
}

/// Returns how many clients a process with this many file descriptors can serve: half of those that
/// are not reserved, so that each client can have a backend connection.
pub(super) fn most_clients(descriptors: usize) -> usize {
    descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2
}

impl Limits {
    /// Returns the limits of one worker: its share of the limits of a process with this many file
    /// descriptors.
    pub(super) fn new(http: &Http, descriptors: usize) -> Self {
        let workers = http.workers.get();
        let all = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
        let part = |all: usize| (all / workers).max(2);
        Self {
            clients: part(
                http.max_connections
                    .unwrap_or(DEFAULT_CLIENTS)
                    .min(most_clients(descriptors)),
            ),
            descriptors: part(all),
        }
    }
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    limits: Cell<Limits>,
    clients: RefCell<HashMap<u64, Rc<Entry>>>,
    /// The key in `clients` that the next client connection gets.
    next: Cell<u64>,
    /// Incremented each time a connection becomes idle; its values order connections by how long
    /// they have been idle.
    clock: Cell<u64>,
    /// Number of open connections to backends.
    backends: Cell<usize>,
    /// Number of listeners that accept connections.
    accepting: Cell<usize>,
    /// Notified when a connection ends or becomes idle, or when a listener stops accepting.
    changed: Notify,
    per_client: Arc<ClientCounts>,
    /// When it was last logged that a limit of connections or file descriptors is reached.
    limit_logged: Cell<Option<Instant>>,
}

impl Connections {
    /// Creates the registry of a worker's connections. `per_client` counts each client's
    /// connections over all workers.
    pub(super) fn new(per_client: &Arc<ClientCounts>) -> Rc<Self> {
        Rc::new(Self {
            per_client: Arc::clone(per_client),
            ..Self::default()
        })
    }

    /// Sets the limits. Connections that exist stay open even if they exceed a new limit.
    pub(super) fn limit(&self, limits: Limits) {
        self.limits.set(limits);
        self.changed.notify_waiters();
    }

    /// Returns the number of open client connections.
    pub(super) fn count(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Waits until the worker has room for another client, closing idle connections to make room.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_room() {
                return;
            }
            self.log_limit();
            self.close_oldest();
            // A connection that ceases to count as new sends no notification, so the search for
            // connections to close is repeated at an interval.
            let _expired = tokio::time::timeout(CHECK_INTERVAL, changed).await;
        }
    }

    /// Waits until no client is connected and no listener accepts connections.
    pub(super) async fn wait_until_closed(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.count() == 0 && self.accepting.get() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Logs that a limit is reached, at most once a minute.
    fn log_limit(&self) {
        if self.is_quiet() {
            return;
        }
        let (connections, limits) = (self.count(), self.limits.get());
        let limit = if connections >= limits.clients {
            "max_connections"
        } else {
            "file descriptors"
        };
        tracing::warn!(
            limit,
            connections,
            effect = "the connections that have been idle longest are closed",
            event = "limit_reached",
            "client connections have reached a limit"
        );
    }

    /// Returns whether the reaching of a limit was logged within the last minute. If not, the
    /// caller must log it: this call counts as the time of the log message.
    pub(super) fn is_quiet(&self) -> bool {
        let now = Instant::now();
        let logged = self.limit_logged.get();
        let quiet = logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL);
        if !quiet {
            self.limit_logged.set(Some(now));
        }
        quiet
    }

    /// Closes the connections that have been idle longest, unless one is being closed already.
    pub(super) fn close_oldest(&self) {
        let clients = self.clients.borrow();
        if clients.values().any(|entry| entry.closing.get()) {
            return;
        }
        let now = Instant::now();
        let idle_for = |patience| -> Vec<_> {
            let old = clients
                .values()
                .filter(|entry| !entry.is_new(now, patience));
            old.filter_map(|entry| Some((entry.idle_since.get()?, entry)))
                .collect()
        };
        let mut idle = idle_for(FIRST_REQUEST);
        if idle.is_empty() {
            idle = idle_for(FIRST_REQUEST_IN_A_CROWD);
        }
        let count = (clients.len() / CLOSED_AT_ONCE).clamp(1, idle.len().max(1));
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
        }
        for (_, entry) in idle.into_iter().take(count) {
            entry.close();
        }
    }

    /// Counts a listener as accepting until the guard that is returned is dropped.
    pub(super) fn accepting(self: &Rc<Self>) -> Accepting {
        self.accepting.set(self.accepting.get() + 1);
        Accepting(Rc::clone(self))
    }

    /// Counts a client connection until the guard that is returned is dropped; returns `None` if
    /// the client already has `most` connections (0: unlimited).
    pub(super) fn open(
        self: &Rc<Self>,
        client: IpAddr,
        most: usize,
        counters: &Arc<ServiceCounters>,
    ) -> Option<Open> {
        let counted = if most == 0 {
            None
        } else {
            Some(self.per_client.count(client, most)?)
        };
        let number = self.next.replace(self.next.get() + 1);
        let entry = Rc::new(Entry {
            opened: Instant::now(),
            was_busy: Cell::new(false),
            work: Cell::new(0),
            idle_since: Cell::new(None),
            closing: Cell::new(false),
            task: RefCell::default(),
            counters: Arc::clone(counters),
            connections: Rc::clone(self),
        });
        entry.mark_idle();
        self.clients.borrow_mut().insert(number, Rc::clone(&entry));
        counters.open_connections.add(1);
        Some(Open {
            number,
            entry,
            _counted: counted,
        })
    }

    /// Counts a connection to a backend until the guard that is returned is dropped; returns `None`
    /// if the limit of file descriptors is reached.
    pub(super) fn open_backend(self: &Rc<Self>) -> Option<OpenBackend> {
        let open = self.backends.get();
        if open + self.count() >= self.limits.get().descriptors {
            return None;
        }
        self.backends.set(open + 1);
        Some(OpenBackend(Rc::clone(self)))
    }

    fn has_room(&self) -> bool {
        let (count, limits) = (self.count(), self.limits.get());
        count < limits.clients && count + self.backends.get() < limits.descriptors
    }
}

/// A client connection in the registry of a worker.
#[derive(Debug)]
pub(super) struct Entry {
    opened: Instant,
    /// Whether the connection has had a request.
    was_busy: Cell<bool>,
    /// Number of requests in flight on the connection, plus one while response data waits for the
    /// client.
    work: Cell<usize>,
    /// When the connection became idle, as a value of the clock of [`Connections`]; `None` if it is
    /// not idle.
    idle_since: Cell<Option<u64>>,
    closing: Cell<bool>,
    task: RefCell<Option<AbortHandle>>,
    counters: Arc<ServiceCounters>,
    connections: Rc<Connections>,
}

impl Entry {
    /// Notes that work begins on the connection: a request, or response data that waits for the
    /// client.
    pub(super) fn begin(&self) {
        self.work.set(self.work.get() + 1);
        self.was_busy.set(true);
        self.idle_since.set(None);
    }

    /// Notes that the work that [`Self::begin`] was called for has ended. A connection without work
    /// may be closed to make room.
    pub(super) fn end(&self) {
        let work = self.work.get().saturating_sub(1);
        self.work.set(work);
        if work == 0 {
            self.mark_idle();
        }
    }

    /// Returns a connection that is the only one of its worker.
    #[cfg(test)]
    pub(super) fn alone() -> Rc<Self> {
        let connections = Connections::new(&Arc::default());
        let client = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let open = connections.open(client, 0, &Arc::default());
        let open = open.expect("no limit");
        Rc::clone(&open.entry)
    }

    fn mark_idle(&self) {
        let clock = &self.connections.clock;
        self.idle_since.set(Some(clock.replace(clock.get() + 1)));
        if !self.connections.has_room() {
            self.connections.changed.notify_waiters();
        }
    }

    /// Sets the task that serves the connection, and that is aborted to close it.
    pub(super) fn set_task(&self, task: AbortHandle) {
        *self.task.borrow_mut() = Some(task);
    }

    /// Returns whether the first request may still be on its way: the connection has had none yet,
    /// and was opened less than `patience` ago.
    fn is_new(&self, now: Instant, patience: Duration) -> bool {
        !self.was_busy.get() && now.duration_since(self.opened) < patience
    }

    fn close(&self) {
        if let Some(task) = &*self.task.borrow() {
            self.closing.set(true);
            self.counters.closed(Reason::LbKeepAliveRoom);
            task.abort();
        }
    }
}

/// Guard of an open client connection: dropping it removes the connection from the worker's
/// registry of connections.
#[derive(Debug)]
pub(super) struct Open {
    number: u64,
    /// The connection's entry in the worker's registry of connections.
    pub(super) entry: Rc<Entry>,
    _counted: Option<Counted>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.entry.connections;
        connections.clients.borrow_mut().remove(&self.number);
        self.entry.counters.open_connections.sub(1);
        connections.changed.notify_waiters();
    }
}

/// Guard of an open connection to a backend, which counts as open until this value is dropped.
#[derive(Debug)]
pub(super) struct OpenBackend(Rc<Connections>);

impl Drop for OpenBackend {
    fn drop(&mut self) {
        self.0.backends.set(self.0.backends.get() - 1);
    }
}

/// Guard of a listener that counts as accepting until this value is dropped.
#[derive(Debug)]
pub(super) struct Accepting(Rc<Connections>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.set(self.0.accepting.get() - 1);
        self.0.changed.notify_waiters();
    }
}

/// Number of open connections of each client address, over all workers.
#[derive(Debug, Default)]
pub(super) struct ClientCounts(Mutex<HashMap<IpAddr, usize>>);

impl ClientCounts {
    fn count(self: &Arc<Self>, client: IpAddr, most: usize) -> Option<Counted> {
        let client = network(client);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted {
            counts: Arc::clone(self),
            client,
        })
    }
}

/// Returns the address by which a client's connections are counted: its IPv4 address, or its IPv6
/// /64 network, which usually belongs to one host.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(client) => IpAddr::V6(Ipv6Addr::from_bits(
            client.to_bits() & !u128::from(u64::MAX),
        )),
    }
}

/// Guard of one connection in [`ClientCounts`]: dropping it subtracts the connection from its
/// client's count.
#[derive(Debug)]
struct Counted {
    counts: Arc<ClientCounts>,
    client: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
