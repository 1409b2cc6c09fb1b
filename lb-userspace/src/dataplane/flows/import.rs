//! Imports the peer's connections into the connection table of this host.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use lb_common::{
    connection::Connection,
    import::{Outcome, Target, import, remove},
    record::Record,
    settings::Settings,
    tick::Tick,
};

use super::{
    counters::{SkipReason, Tally},
    service_index::ServiceIndex,
};
use crate::dataplane::connections::Connections;

/// The state of the import of the peer's connections.
#[derive(Debug)]
pub(super) struct Importer {
    connections: Connections,
    /// The mark that connections get which are imported in the present pass over the peer's
    /// connection table. It is never 0, which is the mark of connections that this host opened
    /// itself.
    pass_mark: u32,
    pass: Option<Pass>,
    /// Whether this host exports its own connection table, and therefore imports nothing.
    pub(super) closed: bool,
    /// Whether this host is active, so that its own connection table is authoritative. The flag is
    /// set without the importer's lock, so that the import of a chunk that is in progress stops at
    /// the next record.
    active: Arc<AtomicBool>,
}

/// A pass over the peer's connection table that is in progress.
#[derive(Debug)]
struct Pass {
    number: u32,
    began: Tick,
    /// The addresses of the services whose connections the pass over the peer's connection table
    /// has contained so far. The peer has these addresses.
    addresses: HashSet<[u8; 4]>,
}

/// Which connections are outdated after the peer has sent its whole connection table in one pass:
/// those to the service addresses in `addresses` that the pass did not contain, so that their
/// entries lack the pass's `mark`. They no longer exist on the peer. A connection that had a packet
/// on this host since the pass began is not outdated, because this host has the service address by
/// then.
#[derive(Debug)]
pub(super) struct Outdated {
    mark: u32,
    began: Tick,
    addresses: HashSet<[u8; 4]>,
}

impl Importer {
    /// Creates an importer. Imported connections get a mark, by which those of different passes
    /// over the peer's connection table are distinguished; `mark` is the first one. It can be any
    /// number, but should differ from the marks of an earlier agent.
    pub(super) fn new(connections: Connections, mark: u32, active: Arc<AtomicBool>) -> Self {
        Self {
            connections,
            pass_mark: mark.max(1),
            pass: None,
            closed: false,
            active,
        }
    }

    /// Begins a pass over the peer's connection table: connections that are imported from now on
    /// get a new mark, by which they are distinguished from those of earlier passes.
    pub(super) fn begin(&mut self, number: u32, now: Tick) {
        self.pass_mark = self.pass_mark.wrapping_add(1).max(1);
        self.pass = Some(Pass {
            number,
            began: now,
            addresses: HashSet::new(),
        });
    }

    /// Ends the pass with this number over the peer's connection table. Returns which connections
    /// the pass makes outdated; `None` if another pass is in progress, or if this pass did not
    /// cover the whole table (`whole` is false).
    pub(super) fn end(&mut self, number: u32, whole: bool) -> Option<Outdated> {
        let pass = self.pass.take_if(|pass| pass.number == number)?;
        whole.then_some(Outdated {
            mark: self.pass_mark,
            began: pass.began,
            addresses: pass.addresses,
        })
    }

    /// Imports the connections of these records. Returns how many of them are in this host's table
    /// now.
    pub(super) fn take(
        &mut self,
        records: &[Record],
        known: &ServiceIndex,
        settings: &Settings,
        now: Tick,
        tally: &Tally,
    ) -> usize {
        let mut written = 0;
        for record in records {
            match self.write(record, known, settings, now) {
                Ok(()) => written += 1,
                Err(why) => tally.skip(why),
            }
        }
        Tally::count(&tally.imported, written);
        written
    }

    fn write(
        &mut self,
        record: &Record,
        known: &ServiceIndex,
        settings: &Settings,
        now: Tick,
    ) -> Result<(), SkipReason> {
        if self.is_closed() {
            return Err(SkipReason::Active);
        }
        let (backend, row) = known.backend(record)?;
        if let Some(pass) = &mut self.pass {
            pass.addresses.insert(record.client.destination);
        }
        let target = Target {
            backend,
            row,
            pass: self.pass_mark,
        };
        match import(&&self.connections, settings, record, &target, now) {
            Outcome::Written => Ok(()),
            Outcome::Over => Err(SkipReason::Over),
            Outcome::PortReserved => Err(SkipReason::SourcePort),
            Outcome::TableFull => Err(SkipReason::TableFull),
            Outcome::Contended => Err(SkipReason::Contended),
        }
    }

    /// Returns whether these connections may still be removed: no other pass has begun since the
    /// one that made them outdated, and this host imports.
    pub(super) fn stands_by(&self, outdated: &Outdated) -> bool {
        !self.is_closed() && self.pass_mark == outdated.mark
    }

    fn is_closed(&self) -> bool {
        self.closed || self.active.load(Relaxed)
    }

    /// Removes the outdated connections that are in these entries of the connection table; returns
    /// their number.
    pub(super) fn remove(
        &self,
        entries: Range<u32>,
        outdated: &Outdated,
        (now, hertz): (Tick, u32),
    ) -> usize {
        let connections = &self.connections;
        entries
            .filter_map(|index| connections.at(index))
            .filter(|(_place, connection)| outdated.holds(connection))
            .filter(|(place, _connection)| remove(&connections, place, now, hertz))
            .count()
    }
}

impl Outdated {
    /// Returns whether the connection is outdated: the peer has its service address, the pass did
    /// not contain it, and no packet of it has arrived on this host since the pass began.
    fn holds(&self, connection: &Connection) -> bool {
        connection.pass != self.mark
            && self.began.since(Tick(connection.seen)) > 0
            && self.addresses.contains(&connection.service)
    }
}
