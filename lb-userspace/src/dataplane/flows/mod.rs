//! The copy of the flow table on the standby: established connections survive the loss of the
//! active host, if the address that clients call moves with the role.
//!
//! The active host tells of every connection once, in a pass over its table, and from then on of
//! each that is established or changes its state, as the kernel writes it into the ring
//! `flow_events`. The standby writes what it hears into its own table, with its own numbers; the
//! first packet of a connection looks its next hop up. What has no room in the ring is counted and
//! brings another pass; another comes every five minutes in any case.
//!
//! Bytes go out by a channel and come in by a call: how they travel is not this room's business,
//! but they have to arrive in order.

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

/// Chunks that wait for the link at the most: 768 KiB. The ring waits behind them.
const CHUNKS_WAITING: usize = 16;

/// The connections of this host and its peer. Cheap to clone; every clone is the same.
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

/// What became of a chunk of the peer's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// Connections of it that stand in the flow table now.
    pub flows: usize,
    /// It was the end of a whole pass: this host has the peer's connections.
    pub complete: bool,
}

impl Flows {
    /// Opens the pinned maps.
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

    /// Follows another configuration.
    pub(super) fn follow(&self, layout: &Layout) {
        self.inner.known.store(Arc::new(ServiceIndex::of(layout)));
    }

    /// Tells of this host's connections for as long as the receiver is there: chunks for
    /// [`Self::import`] on the peer, which must get all of them and in order. Call it on the
    /// active host when the link is up; drop the receiver when either ends. What has changed at
    /// one moment is in the channel 20 ms later, as long as there is room.
    ///
    /// While it tells, this host takes nothing of the peer's in.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn export(&self) -> Result<mpsc::Receiver<Vec<u8>>, Error> {
        let (to, chunks) = mpsc::channel(CHUNKS_WAITING);
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new()
            .name("lb-flows".to_owned())
            .spawn(move || export::run(&inner, to))
            .map_err(Error::kernel("cannot start the thread that exports flows"))?;
        Ok(chunks)
    }

    /// Closes the import while this host is active: chunks that the peer sent before it lost the role
    /// must not overwrite connections that packets arrive for here. Never blocks.
    pub fn set_active(&self, active: bool) {
        self.inner.active.store(active, Relaxed);
    }

    /// Takes in a chunk of the peer's. Blocks for up to some tens of milliseconds: call it where
    /// that keeps nobody waiting.
    ///
    /// # Errors
    /// The bytes are no chunk, or the kernel refuses.
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

    /// What was told, heard and left out.
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
