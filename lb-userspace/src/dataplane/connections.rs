//! The connection table and the source ports, mapped into memory. The XDP program and the agent
//! both write their entries, by the rules of `lb_common::table`.

use std::{
    fmt,
    os::fd::AsFd as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
};

use aya::maps::{Array, ArrayOfMaps, Map, MapData, MapError};
use lb_common::{
    connection::{Connection, Stamp, WORD_STAMP, WORDS},
    limits::{LINES, PORTS_PER_LINE, ROWS},
    port::PortWord,
    table::{Place, read},
    tables::{Ports, Shared, Words},
};

use super::{Error, memory::Mapped, pins::Pins};

/// The BPF map with one row of source ports: those of the connections to one backend from one
/// address of this host, sixteen to a line.
pub(super) type Row = Array<MapData, [u8; LINE_BYTES]>;

const LINE_BYTES: usize = size_of::<[u32; PORTS_PER_LINE as usize]>();

/// Size in bytes of the BPF map with one row of source ports (those to one backend from one address
/// of this host): 256 KiB.
const ROW_BYTES: usize = LINE_BYTES * LINES as usize;

/// The maps `connections` and `source_ports`, mapped into this process. Clones share the mapping.
#[derive(Clone)]
pub(super) struct Connections {
    inner: Arc<Inner>,
}

struct Inner {
    entries: Mapped,
    /// The rows of source ports, by number. A row, which has the ports to one backend from one
    /// address of this host, is mapped when a backend begins to use it.
    rows: Box<[OnceLock<Mapped>]>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    /// Maps the pinned connection table, which has this number of entries, into memory.
    pub(super) fn open(pins: &Pins, entries: u32) -> Result<Self, Error> {
        let map = pinned(pins, "connections")?;
        let bytes = entries as usize * size_of::<Connection>();
        Ok(Self {
            inner: Arc::new(Inner {
                entries: Mapped::open(map.fd().as_fd(), bytes)?,
                rows: (0..ROWS).map(|_| OnceLock::new()).collect(),
            }),
        })
    }

    /// Returns the number of entries of the connection table.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.inner.entries.words().len() / WORDS).unwrap_or(u32::MAX)
    }

    /// Maps into memory the row with this number of the map `source_ports`: the source ports of the
    /// connections to one backend from one address of this host.
    pub(super) fn add_row(&self, number: u16, row: &MapData) -> Result<(), Error> {
        let Some(place) = self.inner.rows.get(usize::from(number)) else {
            return Err(Error::RowNumber);
        };
        if place.get().is_none() {
            // If a concurrent call has added this row of source ports already, it has mapped the
            // same memory.
            let _added = place.set(Mapped::open(row.fd().as_fd(), ROW_BYTES)?);
        }
        Ok(())
    }

    /// Reserves these ports for the host in the row with this number (the source ports to one
    /// backend from one address of this host), except those that a connection holds, so that NAT
    /// gives them to no connection.
    pub(super) fn reserve(&self, number: u16, ports: &[u16]) {
        let reserved = |before| {
            let is_held = PortWord(before).holder().is_some();
            (!is_held).then_some(PortWord::RESERVED.0)
        };
        let words = self.row(number).map_or(&[][..], Mapped::halves);
        for word in ports
            .iter()
            .filter_map(|port| words.get(usize::from(*port)))
        {
            let _held = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserved);
        }
    }

    /// Makes the reserved ports free for NAT in the row with this number (the source ports to one
    /// backend from one address of this host), except the ports `others`, which stay reserved for
    /// the host.
    pub(super) fn free(&self, number: u16, others: &[u16]) {
        let words = self.row(number).map_or(&[][..], Mapped::halves);
        let kept = (0..=u16::MAX)
            .zip(words)
            .filter(|(_port, word)| PortWord(word.load(Ordering::Relaxed)) == PortWord::RESERVED);
        for (_port, word) in kept.filter(|(port, _word)| others.binary_search(port).is_err()) {
            word.store(PortWord::FREE.0, Ordering::SeqCst);
        }
    }

    /// Returns whether the row of source ports (those to one backend) with this number is mapped.
    pub(super) fn has_row(&self, number: u16) -> bool {
        self.row(number).is_some()
    }

    fn row(&self, number: u16) -> Option<&Mapped> {
        self.inner.rows.get(usize::from(number))?.get()
    }

    /// Returns a word for each port of a row of source ports (those to one backend from one address
    /// of this host), in the order of the ports: whether it is free, held, resting or reserved.
    /// There is no word if the row is not mapped.
    pub(super) fn ports(&self, row: u16) -> impl Iterator<Item = PortWord> {
        let words = self.row(row).map_or(&[][..], Mapped::halves);
        words
            .iter()
            .map(|word| PortWord(word.load(Ordering::Relaxed)))
    }

    /// Returns the stamp of an entry of the connection table: the word with the entry's state,
    /// mode, serial number and time. `None` if the index is past the end of the table.
    pub(super) fn stamp(&self, index: u32) -> Option<Stamp> {
        let entry = self.entry(index)?;
        Some(Stamp::of_word(entry.load(WORD_STAMP)))
    }

    /// Returns the connection in the entry of the connection table with this index, and the entry's
    /// place (index and stamp); `None` if the entry holds no connection.
    pub(super) fn at(&self, index: u32) -> Option<(Place<Entry<'_>>, Connection)> {
        let shared = &self;
        let entry = shared.entry(index)?;
        let stamp = Stamp::of_word(entry.load(WORD_STAMP));
        if !stamp.state.is_live() {
            return None;
        }
        let place = Place {
            index,
            entry,
            stamp,
        };
        read(shared, &place).map(|connection| (place, connection))
    }
}

/// An entry of the connection table, as the atomic words that it consists of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a>(&'a [AtomicU64]);

impl Words for Entry<'_> {
    fn load(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    fn store(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    fn exchange(&self, word: usize, old: u64, new: u64) -> bool {
        self.0[word]
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

/// A line, which is sixteen consecutive ports, of a row of source ports (those to one backend), as
/// atomic words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a>(&'a [AtomicU32]);

impl Ports for Line<'_> {
    fn load(&self, port: u32) -> u32 {
        self.0[(port % PORTS_PER_LINE) as usize].load(Ordering::Acquire)
    }

    fn exchange(&self, port: u32, old: u32, new: u32) -> bool {
        self.0[(port % PORTS_PER_LINE) as usize]
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl<'a> Shared for &'a Connections {
    type Entry = Entry<'a>;
    type Line = Line<'a>;

    fn entry(&self, index: u32) -> Option<Entry<'a>> {
        let first = index as usize * WORDS;
        let words = self.inner.entries.words();
        words.get(first..first + WORDS).map(Entry)
    }

    fn line(&self, row: u16, line: u32) -> Option<Line<'a>> {
        let first = (line * PORTS_PER_LINE) as usize;
        let ports = Connections::row(self, row)?.halves();
        ports.get(first..first + PORTS_PER_LINE as usize).map(Line)
    }

    fn order_loads(&self) {
        fence(Ordering::Acquire);
    }
}

/// Creates the inner map of `source_ports` for one row: the source ports to one backend from one
/// address of this host.
pub(super) fn create_row() -> Result<Row, MapError> {
    Row::create(LINES, super::memory::MMAPABLE)
}

/// The type of the map `source_ports`, which has an inner map for each row: for each backend and
/// each address of this host from which it gets connections.
pub(super) type Rows = ArrayOfMaps<MapData, Row>;

/// Opens the pinned map with this name.
pub(super) fn pinned(pins: &Pins, name: &str) -> Result<MapData, Error> {
    let path = pins.map(name);
    MapData::from_pin(&path).map_err(Error::path("cannot open the pinned map", &path))
}

/// Opens the pinned map with this name as the type `M`.
pub(super) fn pinned_as<M: TryFrom<Map, Error = MapError>>(
    pins: &Pins,
    name: &str,
) -> Result<M, Error> {
    let failed = Error::map_type::<MapError>(name);
    let map = Map::from_map_data(pinned(pins, name)?).map_err(failed)?;
    M::try_from(map).map_err(failed)
}
