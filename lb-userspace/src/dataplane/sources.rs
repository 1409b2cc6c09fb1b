//! The maps of source ports and endpoints, by which a backend's replies are assigned to
//! connections.
//!
//! The BPF map `source_ports` has an inner map for each backend and each address from which the
//! balancer connects to it: a *row* of source ports, which says what connection has each port.

use std::{
    collections::{BTreeSet, HashMap},
    fmt, fs,
    os::fd::AsFd as _,
    path::Path,
    sync::atomic::Ordering,
};

use aya::maps::{Array, IterableMap as _, Map, MapData, MapError};
use lb_common::{
    backend::BackendId,
    endpoint::{Endpoint, EndpointBucket, EndpointKey, EndpointKind, EndpointTable},
    limits::ENDPOINT_BUCKETS,
};
use zerocopy::transmute;

use super::{
    Error,
    connections::{Connections, Row, Rows, create_row, pinned, pinned_as},
    error::Source,
    memory::Mapped,
    nested,
    pins::Pins,
    ports::PortSet,
};

const BUCKET_BYTES: usize = size_of::<EndpointBucket>();

/// The maps `source_ports` and `endpoints`, and the ports that NAT may not claim.
pub(super) struct Sources {
    pins: Pins,
    rows: Rows,
    /// The map `source_ports` again, in the form that [`nested`] needs for updates.
    outer: MapData,
    endpoints: Array<MapData, [u8; BUCKET_BYTES]>,
    table: EndpointTable,
    known: HashMap<EndpointKey, Endpoint>,
    connections: Connections,
    /// The source ports that NAT may not use, because they are reserved for the host, in ascending
    /// order.
    others: Vec<u16>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// Opens the pinned maps `source_ports` and `endpoints`, with the rows of source ports (inner
    /// maps) that an earlier agent created.
    pub(super) fn open(
        pins: &Pins,
        connections: Connections,
        ports: &PortSet,
    ) -> Result<Self, Error> {
        let table = adopted_table(pins)?;
        let mut sources = Self {
            pins: pins.clone(),
            rows: pinned_as(pins, "source_ports")?,
            outer: pinned(pins, "source_ports")?,
            endpoints: pinned_as(pins, "endpoints")?,
            known: HashMap::new(),
            table,
            connections,
            others: (0..=u16::MAX)
                .filter(|port| !ports.contains(*port))
                .collect(),
        };
        let entries = sources
            .table
            .buckets()
            .iter()
            .flat_map(|bucket| bucket.entries);
        let adopted: Vec<Endpoint> = entries.filter(|entry| entry.kind != 0).collect();
        let rows = (adopted.iter())
            .filter(|endpoint| endpoint.kind == EndpointKind::Nat as u16)
            .map(|endpoint| endpoint.row);
        sources.provide_rows(rows)?;
        for endpoint in &adopted {
            sources.known.insert(key_of(endpoint), *endpoint);
        }
        Ok(sources)
    }

    /// Adds an endpoint for NAT: replies of this backend to the address `source` are assigned to
    /// connections by the source ports in this row of the map `source_ports`, which must exist (see
    /// [`Sources::provide_rows`]).
    pub(super) fn add_nat(
        &mut self,
        (backend, port): ([u8; 4], u16),
        source: [u8; 4],
        row: u16,
    ) -> Result<(), Error> {
        self.add(Endpoint {
            backend,
            source,
            port,
            row,
            kind: EndpointKind::Nat as u16,
            reserved: 0,
        })
    }

    /// Adds an endpoint for DNAT: replies of this backend are assigned to connections by the
    /// clients' own addresses.
    pub(super) fn add_dnat(
        &mut self,
        (backend, port): ([u8; 4], u16),
        id: BackendId,
    ) -> Result<(), Error> {
        self.add(Endpoint {
            backend,
            source: [0; 4],
            port,
            row: id.0,
            kind: EndpointKind::Dnat as u16,
            reserved: 0,
        })
    }

    /// Creates the rows with these numbers in the map `source_ports`, if they do not exist. An
    /// update of this map returns only when the XDP programs that were running have ended; the new
    /// rows are added together, so that this does not wait for each of them in turn.
    pub(super) fn provide_rows(&self, numbers: impl IntoIterator<Item = u16>) -> Result<(), Error> {
        let wanted: BTreeSet<u16> = numbers
            .into_iter()
            .filter(|number| !self.connections.has_row(*number))
            .collect();
        let mut new = Vec::new();
        for number in wanted {
            match Self::pinned_row(&self.pins.row(number))? {
                Some(row) => {
                    self.know(number, &row)?;
                    self.connections.free(number, &self.others);
                }
                None => new.push((number, self.new_row(number)?)),
            }
        }
        let entries: Vec<_> = (new.iter())
            .map(|(number, row)| (u32::from(*number), row.map()))
            .collect();
        nested::put("source_ports", &self.outer, &entries)?;
        for (number, row) in &new {
            let pin = self.pins.row(*number);
            fs::rename(self.pins.new_row(*number), &pin).map_err(failed(&pin))?;
            self.know(*number, row)?;
        }
        Ok(())
    }

    /// Maps a row of source ports into memory and reserves the host's ports in it. No packet claims
    /// a port of the row before the endpoint that refers to the row is added.
    fn know(&self, number: u16, row: &Row) -> Result<(), Error> {
        self.connections.add_row(number, row.map())?;
        self.connections.reserve(number, &self.others);
        Ok(())
    }

    /// Opens the row of source ports that is pinned at this path; `None` if the pin does not exist.
    /// A row that cannot be opened is an error: an empty row in its place would break the return
    /// path of all connections of its backend.
    fn pinned_row(pin: &Path) -> Result<Option<Row>, Error> {
        if !pin.exists() {
            return Ok(None);
        }
        MapData::from_pin(pin)
            .and_then(Map::from_map_data)
            .and_then(Row::try_from)
            .map(Some)
            .map_err(failed(pin))
    }

    /// Creates and pins a row of source ports, to which the map `source_ports` does not refer yet.
    /// If an earlier agent ended while it inserted this row, that row is returned.
    fn new_row(&self, number: u16) -> Result<Row, Error> {
        let pin = self.pins.new_row(number);
        if let Some(row) = Self::pinned_row(&pin)? {
            return Ok(row);
        }
        let row = match self.rows.get(&u32::from(number), 0) {
            Ok(row) => row,
            Err(MapError::KeyNotFound) => create_row().map_err(failed(&pin))?,
            Err(error) => return Err(failed(&pin)(error)),
        };
        row.map().pin(&pin).map_err(failed(&pin))?;
        Ok(row)
    }

    fn add(&mut self, endpoint: Endpoint) -> Result<(), Error> {
        let key = key_of(&endpoint);
        let before = self.known.get(&key).copied();
        if before == Some(endpoint) {
            return Ok(());
        }
        if let Some(before) = before
            && let Some(bucket) = self.table.remove(&before)
        {
            self.write(bucket)?;
        }
        let bucket = self
            .table
            .add(endpoint)
            .map_err(|endpoint| Error::EndpointsFull {
                address: endpoint.backend.into(),
                port: endpoint.port,
            })?;
        self.write(bucket)?;
        self.known.insert(key, endpoint);
        Ok(())
    }

    fn write(&mut self, bucket: u32) -> Result<(), Error> {
        let value = self.table.buckets()[bucket as usize];
        let bytes: [u8; BUCKET_BYTES] = transmute!(value);
        self.endpoints
            .set(bucket, bytes, 0)
            .map_err(Error::write_map("endpoints"))
    }
}

fn failed<E: Into<Source>>(pin: &Path) -> impl Fn(E) -> Error + Copy {
    Error::path("cannot open the map with a backend's source ports", pin)
}

const fn key_of(endpoint: &Endpoint) -> EndpointKey {
    EndpointKey {
        backend: endpoint.backend,
        source: endpoint.source,
        port: endpoint.port,
    }
}

/// Reads the contents of the pinned map `endpoints`.
fn adopted_table(pins: &Pins) -> Result<EndpointTable, Error> {
    let map = pinned(pins, "endpoints")?;
    let bytes = ENDPOINT_BUCKETS as usize * BUCKET_BYTES;
    let mapped = Mapped::open(map.fd().as_fd(), bytes)?;
    let buckets = mapped
        .words()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|words| {
            let words: [u64; 8] = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
            transmute!(words)
        })
        .collect();
    Ok(EndpointTable::of(buckets))
}
