//! Where a packet goes: parse, find its connection or begin one, rewrite, verdict.
//!
//! Three parts, which the kernel runs as three programs, each with a stack of its own:
//! [`steer_known`] is the way of a packet that changes nothing, and short; [`steer_changing`] that of
//! one that may change its connection; [`steer_new`] that of one that may begin a connection.

mod begin;
mod follow;
mod forward;
mod hops;
mod locate;

use crate::{
    memory::Memory,
    parse::{Packet, parse},
    settings::Settings,
    tables::Tables,
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, PassReason, Verdict},
};

use self::{
    follow::Reopening,
    locate::{Located, locate},
};

/// Decides on one packet, rewrites it where it is steered, and counts it.
#[inline(always)]
pub fn steer<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Verdict {
    let part = match steer_known(memory, tables) {
        Step::Done(verdict) => return verdict,
        Step::Next(part) => part,
    };
    if part == Part::Changing
        && let Step::Done(verdict) = steer_changing(memory, tables)
    {
        return verdict;
    }
    steer_new(memory, tables)
}

/// What a part has done with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Decided, rewritten and counted.
    Done(Verdict),
    /// Left as it was, for another part to decide.
    Next(Part),
}

/// A part that a packet is handed on to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Part {
    /// [`steer_changing`].
    Changing = 0,
    /// [`steer_new`].
    New = 1,
}

/// Decides on a packet that changes nothing: one that is not ours, one for the agent, one of an
/// established connection.
#[inline(always)]
pub fn steer_known<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Step {
    done(known(memory, tables), tables)
}

/// Decides on a packet of a known connection, unless it is to begin another in its place.
#[inline(always)]
pub fn steer_changing<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Step {
    done(changing(memory, tables), tables)
}

/// Decides on a packet that is of no known connection, or begins one in the place of another.
#[inline(always)]
pub fn steer_new<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Verdict {
    let verdict = match new(memory, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    tables.count_verdict(verdict);
    verdict
}

#[inline(always)]
fn done<T: Tables>(step: Result<Step, Verdict>, tables: &T) -> Step {
    let step = match step {
        Ok(step) => step,
        Err(verdict) => Step::Done(verdict),
    };
    if let Step::Done(verdict) = step {
        tables.count_verdict(verdict);
    }
    step
}

#[inline(always)]
fn known<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Result<Step, Verdict> {
    let packet = parse(memory)?;
    let settings = tables.settings().ok_or(NOT_OURS)?;
    let (place, direction) = match locate(tables, settings, &packet.key)? {
        Located::Client(place) => (place, Direction::In),
        Located::Backend(place) => (place, Direction::Out),
        Located::Agent => return to_agent(tables, settings, &packet),
        Located::Steered => return Ok(Step::Next(Part::New)),
    };
    forward::unchanged(memory, tables, settings, &packet, &place, direction)
}

/// A packet for the agent's listener, unless it is held or the filter was wrong.
#[inline(always)]
fn to_agent<T: Tables>(tables: &T, settings: &Settings, packet: &Packet) -> Result<Step, Verdict> {
    let service = tables.service(&packet.key.service()).ok_or(NOT_OURS)?;
    let opens = packet.flags.opens();
    if !service.is_served_by_agent() || opens && settings.hold != 0 {
        return Ok(Step::Next(Part::New));
    }
    let slot = TrafficSlot::of_service(service.id);
    tables.count_traffic(slot, Direction::In, packet.length, opens);
    Err(Verdict::Pass(PassReason::Agent))
}

#[inline(always)]
fn changing<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Result<Step, Verdict> {
    let packet = parse(memory)?;
    let settings = tables.settings().ok_or(NOT_OURS)?;
    let (place, direction) = match locate(tables, settings, &packet.key)? {
        Located::Client(place) => (place, Direction::In),
        Located::Backend(place) => (place, Direction::Out),
        // It was there a moment ago.
        Located::Agent | Located::Steered => return Ok(Step::Next(Part::New)),
    };
    if direction == Direction::In
        && packet.flags.opens()
        && follow::reopening(tables, settings, &place)? != Reopening::None
    {
        return Ok(Step::Next(Part::New));
    }
    follow::follow(memory, tables, settings, &packet, &place, direction).map(Step::Done)
}

#[inline(always)]
fn new<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Result<Verdict, Verdict> {
    let packet = parse(memory)?;
    let settings = tables.settings().ok_or(NOT_OURS)?;
    begin::begin(memory, tables, settings, &packet)
}

const NOT_OURS: Verdict = Verdict::Pass(PassReason::NotAService);
const TRUNCATED: Verdict = Verdict::Drop(DropReason::Truncated);
