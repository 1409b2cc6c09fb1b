//! Source ports and endpoints: what tells the answers of backends apart.

use std::{collections::HashMap, fmt, fs, os::fd::AsFd as _, path::Path, sync::atomic::Ordering};

use aya::maps::{Array, IterableMap as _, Map, MapData, MapError};
use lb_common::{
    endpoint::{Endpoint, EndpointBucket, EndpointKey, EndpointKind, EndpointTable},
    limits::ENDPOINT_BUCKETS,
};
use zerocopy::transmute;

use super::{
    Error,
    connections::{Connections, Row, Rows, create_row, pinned, pinned_as},
    memory::Mapped,
    pins::Pins,
    ports::PortSet,
};

const BUCKET_BYTES: usize = size_of::<EndpointBucket>();

/// The maps `source_ports` and `endpoints`, and which ports of each row may be claimed.
pub(super) struct Sources {
    pins: Pins,
    rows: Rows,
    endpoints: Array<MapData, [u8; BUCKET_BYTES]>,
    table: EndpointTable,
    known: HashMap<EndpointKey, Endpoint>,
    connections: Connections,
    ports: PortSet,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// Opens the pinned maps, with the rows that an earlier agent made.
    pub(super) fn open(
        pins: &Pins,
        connections: Connections,
        ports: PortSet,
    ) -> Result<Self, Error> {
        let table = adopted_table(pins)?;
        let mut sources = Self {
            pins: pins.clone(),
            rows: pinned_as(pins, "source_ports")?,
            endpoints: pinned_as(pins, "endpoints")?,
            known: HashMap::new(),
            table,
            connections,
            ports,
        };
        let entries = sources
            .table
            .buckets()
            .iter()
            .flat_map(|bucket| bucket.entries);
        let adopted: Vec<Endpoint> = entries.filter(|entry| entry.kind != 0).collect();
        for endpoint in adopted {
            sources.known.insert(key_of(&endpoint), endpoint);
            if endpoint.kind == EndpointKind::Nat as u16 {
                sources.provide_row(endpoint.row)?;
            }
        }
        Ok(sources)
    }

    /// Sees to it that answers of this backend to this address are told apart by source ports of this
    /// row.
    pub(super) fn add_nat(
        &mut self,
        (backend, port): ([u8; 4], u16),
        source: [u8; 4],
        row: u16,
    ) -> Result<(), Error> {
        self.provide_row(row)?;
        self.add(Endpoint {
            backend,
            source,
            port,
            row,
            kind: EndpointKind::Nat as u16,
            reserved: 0,
        })
    }

    /// Sees to it that answers of this backend are told apart by its clients' own addresses.
    pub(super) fn add_dnat(
        &mut self,
        (backend, port): ([u8; 4], u16),
        number: u16,
    ) -> Result<(), Error> {
        self.add(Endpoint {
            backend,
            source: [0; 4],
            port,
            row: number,
            kind: EndpointKind::Dnat as u16,
            reserved: 0,
        })
    }

    fn provide_row(&mut self, number: u16) -> Result<(), Error> {
        let row = self.row(number)?;
        self.connections.add_row(number, row.map())?;
        self.connections
            .reserve(number, |port| self.ports.contains(port));
        Ok(())
    }

    /// The row with this number, made where there is none. One that cannot be opened is an error: an empty
    /// one in its place would take the way back from all connections of its backend.
    fn row(&mut self, number: u16) -> Result<Row, Error> {
        let (pin, new_pin) = (self.pins.row(number), self.pins.new_row(number));
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let attempt = format!("cannot open the row of source ports {}", pin.display());
            Error::of(&attempt, error)
        };
        let of_pin = |path: &Path| {
            MapData::from_pin(path)
                .and_then(Map::from_map_data)
                .and_then(Row::try_from)
                .map_err(|error| failed(&error))
        };
        if pin.exists() {
            return of_pin(&pin);
        }
        // One that an agent was putting into the map when it ended is put there once more.
        let row = if new_pin.exists() {
            of_pin(&new_pin)?
        } else {
            let row = match self.rows.get(&u32::from(number), 0) {
                Ok(row) => row,
                Err(MapError::KeyNotFound) => create_row().map_err(|error| failed(&error))?,
                Err(error) => return Err(failed(&error)),
            };
            row.map().pin(&new_pin).map_err(|error| failed(&error))?;
            row
        };
        self.rows
            .set(u32::from(number), &row, 0)
            .map_err(|error| failed(&error))?;
        fs::rename(&new_pin, &pin).map_err(|error| failed(&error))?;
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
        let bucket = self.table.add(endpoint).map_err(|endpoint| {
            Error::new(format!(
                "there are too many backends: no room in the map endpoints for {}:{}",
                std::net::Ipv4Addr::from(endpoint.backend),
                endpoint.port
            ))
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
            .map_err(|error| Error::of("cannot write the map endpoints", &error))
    }
}

const fn key_of(endpoint: &Endpoint) -> EndpointKey {
    EndpointKey {
        backend: endpoint.backend,
        source: endpoint.source,
        port: endpoint.port,
    }
}

/// What the pinned map `endpoints` holds.
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
