//! Replication of the connection table to the standby: established connections survive the loss of
//! the active host if the service's address moves with the role.
//!
//! The active host sends every connection once, in a pass over its table, and then each connection
//! that is established or changes its state, as the kernel reports it in the ring buffer
//! `flow_events`. The standby writes the connections to its own table, with its own indices of
//! backends; a connection's next hop is looked up by its first packet there. A report that finds no
//! room in the ring buffer is counted and triggers another pass; there is also a pass every five
//! minutes.
//!
//! Connections are sent in chunks. On the active host a channel delivers the chunks
//! ([`Flows::export`]), and on the standby a call imports each one ([`Flows::import`]). The caller
//! transports them to the peer, and must preserve their order.

mod counters;
mod export;
mod import;
mod metrics;
mod service_index;
mod sweep;
mod wire;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

pub(crate) use self::metrics::FAMILIES as METRICS;
pub use self::{
    counters::FlowCounters,
    metrics::FlowMetrics,
    wire::{Chunk, RECORDS_PER_CHUNK, WireError, decode, encode},
};
use self::{counters::Tally, export::Exporter, import::Importer, service_index::ServiceIndex};
use super::{
    Error, clock::Clock, connections::Connections, layout::Layout, maps::Maps, pins::Pins,
    resolve::Resolver,
};

/// Maximum number of chunks that wait for the link to the peer: together 768 KiB. While that many
/// wait, changes stay in the ring buffer.
const CHUNKS_WAITING: usize = 16;

/// Exports connections to the peer and imports the peer's. This is a handle that is cheap to clone;
/// clones share their state.
#[derive(Clone, Debug)]
pub struct Flows {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    maps: Arc<Mutex<Maps>>,
    clock: Arc<Clock>,
    resolver: Arc<Resolver>,
    connections: Connections,
    known: ArcSwap<ServiceIndex>,
    exporter: Mutex<Exporter>,
    importer: Mutex<Importer>,
    active: Arc<AtomicBool>,
    tally: Tally,
}

/// The result of importing a chunk of flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// Number of the chunk's connections that are in this host's table now.
    pub flows: usize,
    /// Whether this chunk completed the peer's whole connection table, so that this host has all
    /// connections of the peer.
    pub complete: bool,
}

impl Flows {
    /// Opens the pinned maps that the replication needs.
    pub(super) fn open(
        maps: &Arc<Mutex<Maps>>,
        clock: &Arc<Clock>,
        resolver: &Arc<Resolver>,
        pins: &Pins,
        connections: Connections,
    ) -> Result<Self, Error> {
        let mark = clock.now()?.0;
        let active = Arc::new(AtomicBool::new(false));
        Ok(Self {
            inner: Arc::new(Inner {
                maps: Arc::clone(maps),
                clock: Arc::clone(clock),
                resolver: Arc::clone(resolver),
                known: ArcSwap::from_pointee(ServiceIndex::of(&Layout::default())),
                exporter: Mutex::new(Exporter::open(pins, connections.clone())?),
                importer: Mutex::new(Importer::new(
                    connections.clone(),
                    mark,
                    Arc::clone(&active),
                )),
                active,
                connections,
                tally: Tally::default(),
            }),
        })
    }

    /// Makes the replication use the services and backends of this layout (the contents of the BPF
    /// maps) from now on.
    pub(super) fn follow(&self, layout: &Layout) {
        self.inner.known.store(Arc::new(ServiceIndex::of(layout)));
    }

    /// Exports this host's connections for as long as the returned receiver exists. The receiver
    /// delivers chunks, which the caller must pass to [`Self::import`] on the peer, all of them and
    /// in order. Call this on the active host when the link to the peer is up; drop the receiver
    /// when the link goes down or the role ends. A change is in the channel within 20 ms, as long
    /// as there is room.
    ///
    /// During an export, this host imports nothing.
    ///
    /// # Errors
    /// The exporting thread cannot be started.
    pub fn export(&self) -> Result<mpsc::Receiver<Vec<u8>>, Error> {
        let (to, chunks) = mpsc::channel(CHUNKS_WAITING);
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new()
            .name("lb-flows".to_owned())
            .spawn(move || export::run(&inner, to))
            .map_err(Error::kernel("cannot start the thread that exports flows"))?;
        Ok(chunks)
    }

    /// Closes the import while this host is active: chunks that the peer sent before it lost the
    /// role must not overwrite connections whose packets arrive on this host. Never blocks.
    pub fn set_active(&self, active: bool) {
        self.inner.active.store(active, Relaxed);
    }

    /// Imports a chunk of flows that the peer sent. Blocks for up to some tens of milliseconds.
    ///
    /// # Errors
    /// The bytes are not a valid chunk, or the kernel refuses an operation.
    pub fn import(&self, bytes: &[u8]) -> Result<Imported, Error> {
        let inner = &self.inner;
        let chunk = decode(bytes).inspect_err(|_error| Tally::count(&inner.tally.malformed, 1))?;
        let mut importer = inner.importer();
        match chunk {
            Chunk::Begin { pass } => {
                importer.begin(pass, inner.clock.now()?);
                Ok(Imported::default())
            }
            Chunk::Records(records) => {
                Tally::count(&inner.tally.received, records.len());
                let settings = inner.maps().current_settings()?;
                let now = inner.clock.now()?;
                let flows =
                    importer.take(&records, &inner.known.load(), &settings, now, &inner.tally);
                drop(importer);
                let clients = records.iter().map(|record| record.client.source);
                inner.resolver.add_clients(clients);
                Ok(Imported {
                    flows,
                    complete: false,
                })
            }
            Chunk::End { pass, whole } => {
                let outdated = importer.end(pass, whole);
                drop(importer);
                let complete = outdated.is_some();
                if let Some(outdated) = outdated {
                    inner.tally.pass_received();
                    self.sweep(outdated)?;
                }
                Ok(Imported { flows: 0, complete })
            }
        }
    }

    /// Returns the counters of exported, imported and skipped connections.
    #[must_use]
    pub fn counters(&self) -> FlowCounters {
        self.inner.tally.read()
    }

    fn sweep(&self, outdated: import::Outdated) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new()
            .name("lb-flows-sweep".to_owned())
            .spawn(move || sweep::run(&inner, &outdated))
            .map(|_thread| ())
            .map_err(Error::kernel(
                "cannot start the thread that removes stale flows",
            ))
    }
}

impl Inner {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn importer(&self) -> MutexGuard<'_, Importer> {
        self.importer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_import(&self, closed: bool) {
        self.importer().closed = closed;
    }
}
