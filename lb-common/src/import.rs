//! Importing the peer's connections: how the agent of the standby writes to the connection table,
//! by the same protocol as the XDP program that uses it at the same time.

use crate::{
    backend::BackendId,
    connection::{
        ClientKey, Connection, Mode, NO_ROW, Rewrite, Stamp, WORD_ADDRESSES, WORD_BACKEND,
        WORD_CLIENT, WORD_HOP, WORD_NUMBERS, WORD_PASS, WORD_PORTS, WORD_STAMP,
    },
    hop::HopReference,
    limits::PORTS_PER_LINE,
    port::PortWord,
    record::Record,
    settings::Settings,
    table::{
        Buckets, Claim, Place, choose, claim, fence_claim, find, is_duplicate, publish, read,
        release, release_port, vacate,
    },
    tables::{Ports, Shared, Words},
    tcp::State,
    tick::Tick,
};

/// The backend of a connection that the peer has sent, as this host knows it, and the import pass
/// (one pass over the peer's connection table) that contains the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// Index of the backend on this host.
    pub backend: BackendId,
    /// Row of the map `source_ports` with the backend's source ports; [`NO_ROW`] if the backend
    /// sees the client's address.
    pub row: u16,
    /// Mark of the import pass (one pass over the peer's connection table), which the entry of the
    /// connection keeps: see [`Connection::pass`].
    pub pass: u32,
}

/// Result of importing a record, which is a connection as the peer has sent it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The record's connection is in the connection table now.
    Written,
    /// The record is of a closed connection that the connection table does not contain.
    Over,
    /// The connection's source port is reserved for this host's own connections.
    PortReserved,
    /// All entries that the connection could use hold established connections.
    TableFull,
    /// While the record was being imported, the XDP program changed the same connection, the same
    /// entry of the connection table, or the holder of the source port. The next pass over the
    /// peer's connection table contains this connection again.
    Contended,
}

/// Writes the connection of a record to the table, and replaces any other connection with the same
/// addresses and ports.
pub fn import<S: Shared>(
    shared: &S,
    settings: &Settings,
    record: &Record,
    target: &Target,
    now: Tick,
) -> Outcome {
    let key = ClientKey::of(&record.client);
    let buckets = Buckets::of(&key, settings);
    let known = find(shared, &key, &buckets);
    let seen = Tick(
        now.0
            .wrapping_sub(u32::from(record.idle).wrapping_mul(settings.hertz)),
    );
    let stamp = Stamp {
        state: State(record.state),
        mode: Mode(0),
        serial: 0,
        seen,
    };
    if let Some(place) = &known
        && let Some(connection) = read(shared, place)
        && is_of(&connection, record, target)
    {
        return refresh(place, stamp, target.pass);
    }
    if stamp.state.is_over() {
        return Outcome::Over;
    }
    let is_known = known.is_some();
    let Some(place) = known.or_else(|| choose(shared, &buckets, now, settings.hertz)) else {
        return Outcome::TableFull;
    };
    let Some(claim) = claim::<S>(&place, now, settings.hertz) else {
        return Outcome::Contended;
    };
    release(shared, &claim);
    let port = (target.row, record.source_port);
    if let Err(outcome) = take(shared, &claim, port, now, settings.hertz) {
        vacate::<S>(&claim);
        return outcome;
    }
    fill::<S>(&claim, &key, record, target);
    if !is_known && is_duplicate(shared, &claim, &key, &buckets) {
        release_port(shared, place.index, port, PortWord::FREE);
        vacate::<S>(&claim);
        return Outcome::Contended;
    }
    publish::<S>(&claim, stamp);
    Outcome::Written
}

/// Removes the connection in the entry `place`, unless the entry has changed since it was found.
/// Returns whether the connection was removed.
pub fn remove<S: Shared>(shared: &S, place: &Place<S::Entry>, now: Tick, hertz: u32) -> bool {
    let Some(claim) = claim::<S>(place, now, hertz) else {
        return false;
    };
    release(shared, &claim);
    vacate::<S>(&claim);
    true
}

/// Whether a connection of the table has the same backend and source port as the peer's record of a
/// connection.
fn is_of(connection: &Connection, record: &Record, target: &Target) -> bool {
    connection.backend_address == record.backend
        && connection.backend_port == record.backend_port
        && connection.source_port == record.source_port
        && (connection.backend, connection.row) == (target.backend, target.row)
}

/// Updates state, time and import pass (the last one that contained the connection) of a connection
/// that the table has already.
fn refresh<W: Words>(place: &Place<W>, stamp: Stamp, pass: u32) -> Outcome {
    let old = place.stamp;
    let next = Stamp {
        serial: old.serial,
        ..stamp
    };
    if !place.entry.exchange(WORD_STAMP, old.word(), next.word()) {
        return Outcome::Contended;
    }
    place.entry.store(WORD_PASS, word_pass(pass));
    Outcome::Written
}

/// Claims the source port of an imported connection for its entry `ours`. If another connection
/// holds the port, that connection is removed from the table.
fn take<S: Shared>(
    shared: &S,
    ours: &Claim<S::Entry>,
    (row, port): (u16, u16),
    now: Tick,
    hertz: u32,
) -> Result<(), Outcome> {
    if row == NO_ROW {
        return Ok(());
    }
    let number = u32::from(port);
    let line = shared
        .line(row, number / PORTS_PER_LINE)
        .ok_or(Outcome::PortReserved)?;
    let ours = PortWord::held_by(ours.place.index).0;
    let word = line.load(number);
    if PortWord(word) == PortWord::RESERVED {
        return Err(Outcome::PortReserved);
    }
    let Some(holder) = PortWord(word).holder() else {
        let taken = line.exchange(number, word, ours);
        return taken.then_some(()).ok_or(Outcome::Contended);
    };
    let entry = shared.entry(holder).ok_or(Outcome::Contended)?;
    let stamp = Stamp::of_word(entry.load(WORD_STAMP));
    if !stamp.state.is_live() {
        return Err(Outcome::Contended);
    }
    let place = Place {
        index: holder,
        entry,
        stamp,
    };
    let theirs = claim::<S>(&place, now, hertz).ok_or(Outcome::Contended)?;
    if (theirs.row, theirs.source_port) != (row, port) {
        // After the port's word was read, the entry released the port and took another connection:
        // publish that connection unchanged.
        publish::<S>(&theirs, stamp);
        return Err(Outcome::Contended);
    }
    let taken = line.exchange(number, word, ours);
    vacate::<S>(&theirs);
    taken.then_some(()).ok_or(Outcome::Contended)
}

fn fill<S: Shared>(claim: &Claim<S::Entry>, key: &ClientKey, record: &Record, target: &Target) {
    let source = if target.row == NO_ROW {
        key.client
    } else {
        key.service
    };
    let change = Rewrite::of(
        key,
        (source, record.source_port),
        (record.backend, record.backend_port),
    );
    let entry = &claim.place.entry;
    entry.store(WORD_CLIENT, key.addresses());
    entry.store(WORD_PORTS, change.word_ports(key, target.row));
    entry.store(WORD_ADDRESSES, change.word_addresses());
    entry.store(WORD_BACKEND, change.word_backend(target.backend));
    entry.store(
        WORD_HOP,
        HopReference::none(claim.place.stamp.serial).word(),
    );
    entry.store(WORD_NUMBERS, 0);
    entry.store(WORD_PASS, word_pass(target.pass));
    fence_claim::<S>(claim);
}

/// Returns word 7 of a connection's entry: its first half is reserved, the second is the mark of
/// the import pass (one pass over the peer's connection table).
const fn word_pass(pass: u32) -> u64 {
    zerocopy::transmute!([0_u32, pass])
}
