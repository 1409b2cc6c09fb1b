//! Exports this host's connections to the peer: first all of them, then each connection that
//! changes.

use std::{
    mem,
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::{connection::Connection, limits, record::Record, tick::Tick};
use tokio::sync::mpsc::Sender;
use zerocopy::FromBytes as _;

use super::{
    Inner,
    counters::{SkipReason, Tally},
    service_index::ServiceIndex,
    wire::{Chunk, RECORDS_PER_CHUNK, encode},
};
use crate::dataplane::{Error, connections::Connections, connections::pinned_as, pins::Pins};

/// How often the ring buffer of changes is polled: a change waits for half of this time on average.
pub(super) const EXPORT_INTERVAL: Duration = Duration::from_millis(20);

/// How often all connections are sent again in a full pass. This keeps idle connections from timing
/// out on the peer (after an hour), and repairs losses that were not detected.
const PASS_EVERY: Duration = Duration::from_secs(300);

/// Minimum time between two full passes, each of which sends the whole connection table, however
/// many changes were lost.
const PASS_REST: Duration = Duration::from_secs(5);

/// Number of entries of the connection table that are scanned in one batch, which takes about a
/// millisecond. Between two batches, changes are sent and other threads can run.
const SLICE: u32 = 16_384;

/// Capacity of the ring buffer, in changes. Each change takes a record and a header of eight bytes
/// (kernel/bpf/ringbuf.c).
const RING_EVENTS: usize = limits::FLOW_EVENT_BYTES as usize / (size_of::<Record>() + 8);

/// How long the export pauses after each batch of entries of the connection table.
const PAUSE: Duration = Duration::from_millis(1);

/// What an export reads: the ring buffer of changes and the connection table.
#[derive(Debug)]
pub(super) struct Exporter {
    events: Events,
    connections: Connections,
    passes: u32,
}

/// The ring buffer of changed connections, and the count of changes that it had no room for.
struct Events {
    ring: RingBuf<MapData>,
    untold: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Why an export of connections ended.
enum Stop {
    /// The receiver of the exported chunks of flows was dropped.
    ReceiverClosed,
    /// An operation on a BPF map failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Exports this host's connections to the channel `to` until the channel's receiver is dropped. If
/// an earlier export is still running, waits for its end first.
pub(super) fn run(inner: &Inner, to: Sender<Vec<u8>>) {
    let mut exporter = inner
        .exporter
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if to.is_closed() {
        return;
    }
    let mut replicator = Replicator {
        inner,
        to,
        batch: Vec::new(),
    };
    inner.close_import(true);
    let stop = match replicator.run(&mut exporter) {
        Ok(never) => match never {},
        Err(stop) => stop,
    };
    inner.tally.settle(None);
    inner.close_import(false);
    let silenced = inner.maps().set_export(false);
    for error in [
        silenced.err(),
        match stop {
            Stop::ReceiverClosed => None,
            Stop::Failed(error) => Some(error),
        },
    ]
    .into_iter()
    .flatten()
    {
        tracing::error!(%error, "the export of flows to the peer stopped: restart lb");
    }
}

enum Never {}

struct Replicator<'a> {
    inner: &'a Inner,
    to: Sender<Vec<u8>>,
    /// The records that will be sent in the next chunk.
    batch: Vec<Record>,
}

impl Replicator<'_> {
    fn run(&mut self, exporter: &mut Exporter) -> Result<Never, Stop> {
        exporter.events.skip_all();
        let mut counted = exporter.events.overflowed()?;
        let mut is_repaired = true;
        self.inner.maps().set_export(true)?;
        let mut last_pass: Option<Instant> = None;
        loop {
            let lost = exporter.events.overflowed()?;
            if lost != counted {
                let more = usize::try_from(lost.wrapping_sub(counted)).unwrap_or(usize::MAX);
                Tally::count(&self.inner.tally.overflowed, more);
                (counted, is_repaired) = (lost, false);
            }
            // The changes are sent before a pass over the connection table, and after the count of
            // lost changes was read: changes of a flow that follow its reading by the pass are then
            // either all in the ring buffer, or trigger another pass. Otherwise an older change
            // whose successor was lost would undo what the pass sent.
            self.changes(&mut exporter.events)?;
            let rest = if is_repaired { PASS_EVERY } else { PASS_REST };
            if last_pass.is_none_or(|ended| ended.elapsed() >= rest) {
                self.pass(exporter)?;
                is_repaired = true;
                last_pass = Some(Instant::now());
            }
            thread::sleep(EXPORT_INTERVAL);
        }
    }

    /// Sends every connection of the table, and in between the changes as they arrive.
    fn pass(&mut self, exporter: &mut Exporter) -> Result<(), Stop> {
        let Exporter {
            events,
            connections,
            passes,
        } = exporter;
        let began = Instant::now();
        *passes = passes.wrapping_add(1);
        let pass = *passes;
        self.send(&Chunk::Begin { pass })?;
        let known = self.inner.known.load();
        let mut now = self.inner.clock.now()?;
        let mut flows = 0_u64;
        for index in 0..connections.len() {
            if let Some((_place, connection)) = connections.at(index)
                && let Some(record) = record(&connection, &known, now, self.inner.clock.hertz())
                && self.can_move(&record)
            {
                flows += 1;
                self.add(record)?;
            }
            if (index + 1).is_multiple_of(SLICE) {
                self.changes(events)?;
                thread::sleep(PAUSE);
                now = self.inner.clock.now()?;
            }
        }
        self.flush()?;
        self.send(&Chunk::End { pass, whole: true })?;
        self.inner.tally.pass_sent(flows, began.elapsed());
        Ok(())
    }

    /// Sends all changes that the ring buffer has now.
    fn changes(&mut self, events: &mut Events) -> Result<(), Stop> {
        let at = Instant::now();
        // The loop is bounded by the capacity of the ring buffer, however fast new changes follow.
        for _ in 0..RING_EVENTS {
            let Some(record) = events.next() else {
                break;
            };
            if self.can_move(&record) {
                self.add(record)?;
            }
        }
        self.flush()?;
        if self.to.is_closed() {
            return Err(Stop::ReceiverClosed);
        }
        self.inner.tally.settle(Some(at));
        Ok(())
    }

    /// Returns whether the peer can continue the connection; if not, counts it as skipped.
    fn can_move(&self, record: &Record) -> bool {
        let can = record.further_source == 0;
        if !can {
            self.inner.tally.skip(SkipReason::SourceAddress);
        }
        can
    }

    fn add(&mut self, record: Record) -> Result<(), Stop> {
        self.batch.push(record);
        if self.batch.len() >= RECORDS_PER_CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let records = mem::take(&mut self.batch);
        let sent = records.len();
        self.send(&Chunk::Records(records))?;
        Tally::count(&self.inner.tally.sent, sent);
        Ok(())
    }

    fn send(&self, chunk: &Chunk) -> Result<(), Stop> {
        self.to
            .blocking_send(encode(chunk))
            .map_err(|_closed| Stop::ReceiverClosed)
    }
}

/// Returns the record of a connection for the peer; `None` if the peer does not need the
/// connection.
fn record(connection: &Connection, known: &ServiceIndex, now: Tick, hertz: u32) -> Option<Record> {
    let state = connection.state();
    let idle = now.since(Tick(connection.seen)) / hertz.max(1);
    let is_replicated = state.is_opened()
        && idle <= state.timeout()
        && known.steers(&connection.key().flow().service());
    is_replicated.then(|| Record {
        idle: u16::try_from(idle).unwrap_or(u16::MAX),
        ..Record::of(connection, state)
    })
}

impl Exporter {
    /// Opens the pinned ring buffer of changes, and the count of changes that were lost.
    pub(super) fn open(pins: &Pins, connections: Connections) -> Result<Self, Error> {
        Ok(Self {
            events: Events {
                ring: pinned_as(pins, "flow_events")?,
                untold: pinned_as(pins, "untold")?,
            },
            connections,
            passes: 0,
        })
    }
}

impl Events {
    fn next(&mut self) -> Option<Record> {
        loop {
            let item = self.ring.next()?;
            // The kernel writes only complete records, so no record is skipped here.
            if let Ok(record) = Record::read_from_bytes(&item) {
                return Some(record);
            }
        }
    }

    /// Discards the changes from before the export began.
    fn skip_all(&mut self) {
        while self.next().is_some() {}
    }

    /// Returns the number of changes that found no room in the ring buffer since the maps were
    /// created.
    fn overflowed(&self) -> Result<u64, Error> {
        let values = self.untold.get(&0, 0).map_err(Error::read_map("untold"))?;
        Ok(values.iter().sum())
    }
}
