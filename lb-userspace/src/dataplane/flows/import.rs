//! Writes the peer's connections into the flow table of this host.

use std::collections::HashSet;

use lb_common::{
    flow::{FROM_PEER, Flow, FlowKey, Tick},
    record::Record,
    tcp::State,
    traffic::Direction,
};

use super::{
    counters::{Skip, Tally},
    known::Known,
    table::FlowTable,
};
use crate::dataplane::Error;

/// Where connections are written to, and how far the peer's pass has come.
#[derive(Debug)]
pub(super) struct Importer {
    table: FlowTable,
    /// What every flow of this pass carries in its generation.
    mark: u32,
    pass: Option<Pass>,
    /// This host is the active one: its own table is the truth.
    pub(super) closed: bool,
}

/// A pass of the peer's that has begun.
#[derive(Debug)]
struct Pass {
    number: u32,
    began: Tick,
    /// The addresses of services that it told of a connection of: they live at the peer.
    addresses: HashSet<[u8; 4]>,
}

/// What a pass that ended has shown: flows at these addresses without this mark are gone, unless a
/// packet of theirs came here since it began. For then this host has the address by now.
#[derive(Debug)]
pub(super) struct Outdated {
    mark: u32,
    began: Tick,
    addresses: HashSet<[u8; 4]>,
}

/// What became of a record.
enum Outcome {
    Written,
    Skipped(Skip),
}

/// This host's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) now: Tick,
    pub(super) hertz: u32,
}

impl Importer {
    /// `mark` is any number: that of an earlier agent is best not met again.
    pub(super) fn new(table: FlowTable, mark: u32) -> Self {
        Self {
            table,
            mark: mark & !FROM_PEER,
            pass: None,
            closed: false,
        }
    }

    /// A pass begins: what is told of from now on carries another mark.
    pub(super) fn begin(&mut self, number: u32, now: Tick) {
        self.mark = self.mark.wrapping_add(1) & !FROM_PEER;
        self.pass = Some(Pass {
            number,
            began: now,
            addresses: HashSet::new(),
        });
    }

    /// A pass ends. `None` if it is not the one that began, or was not whole.
    pub(super) fn end(&mut self, number: u32, whole: bool) -> Option<Outdated> {
        let pass = self.pass.take_if(|pass| pass.number == number)?;
        whole.then_some(Outdated {
            mark: self.mark,
            began: pass.began,
            addresses: pass.addresses,
        })
    }

    /// Takes connections in. Returns how many stand in the table now.
    pub(super) fn take(
        &mut self,
        records: &[Record],
        known: &Known,
        time: Time,
        tally: &Tally,
    ) -> Result<usize, Error> {
        let mut written = 0;
        for record in records {
            match self.write(record, known, time)? {
                Outcome::Written => written += 1,
                Outcome::Skipped(why) => tally.skip(why),
            }
        }
        Tally::count(&tally.imported, written);
        Ok(written)
    }

    fn write(&mut self, record: &Record, known: &Known, time: Time) -> Result<Outcome, Error> {
        if self.closed {
            return Ok(Outcome::Skipped(Skip::Active));
        }
        let backend = match known.backend(record) {
            Ok(backend) => backend,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        if let Some(pass) = &mut self.pass {
            pass.addresses.insert(record.client.destination);
        }
        let [there, back] = record.flows(backend, self.mark, time.now, time.hertz);
        let old_there = self.table.flow(&there.0)?;
        let is_known = old_there.is_some_and(|old| are_of_one(&old, &there.1));
        if State(record.state).is_over() && !is_known {
            return Ok(Outcome::Skipped(Skip::Over));
        }
        let old_back = self.table.flow(&back.0)?;
        if !self.replace(back, old_back)? {
            return Ok(Outcome::Skipped(Skip::TableFull));
        }
        if !self.replace(there, old_there)? {
            // Half a connection is none.
            self.table.remove(&back.0)?;
            return Ok(Outcome::Skipped(Skip::TableFull));
        }
        Ok(Outcome::Written)
    }

    /// Puts a flow in the place of what stood there. Returns whether there was room.
    fn replace(
        &mut self,
        (key, mut flow): (FlowKey, Flow),
        old: Option<Flow>,
    ) -> Result<bool, Error> {
        let mut changed = false;
        if let Some(old) = old {
            if are_of_one(&old, &flow) {
                // Should there be no better next hop when its time comes, this one is.
                (flow.destination_mac, flow.source_mac) = (old.destination_mac, old.source_mac);
                flow.interface = old.interface;
                changed = (old.state, old.backend) != (flow.state, flow.backend);
            } else {
                self.part(&key, &old)?;
                changed = true;
            }
        }
        let had_room = self.table.put(&key, &flow)?;
        if changed {
            self.table.forget(&key)?;
        }
        Ok(had_room)
    }

    /// Another connection takes the place of `old`: the other half of that one goes too, unless it
    /// has become a part of something else.
    fn part(&mut self, key: &FlowKey, old: &Flow) -> Result<(), Error> {
        let other = old.partner(key.protocol);
        let flow = self.table.flow(&other)?;
        if flow.is_some_and(|flow| flow.partner(key.protocol) == *key) {
            self.table.remove(&other)?;
        }
        Ok(())
    }

    /// Whether the pass that showed this is still the last one that began.
    pub(super) fn stands_by(&self, outdated: &Outdated) -> bool {
        !self.closed && self.mark == outdated.mark
    }

    /// Removes those of the flows that are outdated at this moment; returns how many were.
    pub(super) fn remove(&mut self, keys: &[FlowKey], outdated: &Outdated) -> Result<usize, Error> {
        let mut removed = 0;
        for key in keys {
            let flow = self.table.flow(key)?;
            if flow.is_some_and(|flow| outdated.holds(key, &flow)) {
                self.table.remove(key)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether both give packets the same addresses and ports, so that they are of one connection.
fn are_of_one(one: &Flow, other: &Flow) -> bool {
    one.partner(0) == other.partner(0) && one.direction == other.direction
}

impl Outdated {
    /// Whether the flow is of an address that lives at the peer, and neither did the peer tell of
    /// it nor does it live here.
    pub(super) fn holds(&self, key: &FlowKey, flow: &Flow) -> bool {
        let service = match flow.direction() {
            Direction::In => key.destination,
            Direction::Out => flow.source,
        };
        flow.generation != FROM_PEER | self.mark
            && self.began.since(Tick(flow.seen)) > 0
            && self.addresses.contains(&service)
    }
}
