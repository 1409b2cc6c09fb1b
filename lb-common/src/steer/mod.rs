//! Steering a packet: parse it, find or open its connection, rewrite it, return a verdict.
//!
//! The kernel runs three parts as three programs, each with its own stack: [`steer_known`] is the
//! short path of a packet that changes nothing, [`steer_changing`] handles a packet that may change
//! its connection, and [`steer_new`] one that may open a connection.

mod begin;
mod follow;
mod forward;
mod hops;
mod locate;
mod reopening;

use crate::{
    memory::Memory,
    parse::{Packet, parse},
    settings::Settings,
    tables::Tables,
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, PassReason, Verdict},
};

use self::{
    locate::{Located, locate},
    reopening::{Reopening, reopening},
};

/// Steers one packet: decides what happens to it, rewrites it and counts it.
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

/// Result of [`steer_known`] or [`steer_changing`] for a packet: a verdict, or the part of steering
/// that the packet goes to next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Steering is complete: the packet has this verdict, is rewritten if it is forwarded, and is
    /// counted.
    Done(Verdict),
    /// The packet is unchanged, and [`steer_changing`] or [`steer_new`] must handle it, as the
    /// [`Part`] says.
    Next(Part),
}

/// A part of steering that a packet is passed to by a tail call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Part {
    /// The packet may change its connection: [`steer_changing`] handles it.
    Changing = 0,
    /// The packet may open a connection: [`steer_new`] handles it.
    New = 1,
}

/// Handles a packet that changes nothing: one that is not for a service, one for the agent, or one
/// of an established connection.
#[inline(always)]
pub fn steer_known<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Step {
    done(known(memory, tables), tables)
}

/// Handles a packet of a known connection, unless the packet opens another connection in its place.
#[inline(always)]
pub fn steer_changing<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Step {
    done(changing(memory, tables), tables)
}

/// Handles a packet of no known connection, or one that replaces a connection.
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

/// Passes a packet to the agent's listener, unless the packet opens a connection while such packets
/// are dropped for a hand-over to the peer, or the filter of listeners gave a false positive.
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
        // The connection was removed after `steer_known` had found it.
        Located::Agent | Located::Steered => return Ok(Step::Next(Part::New)),
    };
    if direction == Direction::In
        && packet.flags.opens()
        && reopening(tables, settings, &place)? != Reopening::None
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
