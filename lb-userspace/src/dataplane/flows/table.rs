//! The flow table as the agent reads and changes it, by handles of its own: whoever walks it keeps
//! nobody else waiting.

use std::fmt;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use lb_common::flow::{Flow, FlowKey};
use zerocopy::transmute;

use super::super::{Error, pins::Pins};

type Key = [u8; size_of::<FlowKey>()];
type Value = [u8; size_of::<Flow>()];

/// The maps `flows_v4` and `epochs`.
pub(super) struct FlowTable {
    flows: HashMap<MapData, Key, Value>,
    epochs: Array<MapData, u32>,
    room: usize,
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable").finish_non_exhaustive()
    }
}

impl FlowTable {
    /// Opens the pinned maps.
    pub(super) fn open(pins: &Pins, max_flows: u32) -> Result<Self, Error> {
        Ok(Self {
            flows: open(pins, "flows_v4")?,
            epochs: open(pins, "epochs")?,
            room: usize::try_from(max_flows).unwrap_or(usize::MAX),
        })
    }

    /// How many flows there is room for.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// The keys, in no order. Where a key is removed while it is the last one that came, the walk
    /// begins again (kernel/bpf/hashtab.c, `htab_map_get_next_key`): it may not end.
    pub(super) fn keys(&self) -> impl Iterator<Item = Result<FlowKey, Error>> {
        self.flows.keys().map(|key| {
            key.map(|bytes| transmute!(bytes))
                .map_err(|error| Error::of("cannot walk through the flow table", &error))
        })
    }

    /// The flow with this key.
    pub(super) fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, Error> {
        let bytes: Key = transmute!(*key);
        match self.flows.get(&bytes, 0) {
            Ok(bytes) => Ok(Some(transmute!(bytes))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::of("cannot read the flow table", &error)),
        }
    }

    /// Puts a flow in its place, whatever stands there. Returns whether there was room.
    pub(super) fn put(&mut self, key: &FlowKey, flow: &Flow) -> Result<bool, Error> {
        let (key, flow): (Key, Value) = (transmute!(*key), transmute!(*flow));
        match self.flows.insert(key, flow, 0) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(call))
                if call.io_error.raw_os_error() == Some(libc::ENOMEM) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::of("cannot write to the flow table", &error)),
        }
    }

    /// Removes a flow, if there is one.
    pub(super) fn remove(&mut self, key: &FlowKey) -> Result<(), Error> {
        let bytes: Key = transmute!(*key);
        match self.flows.remove(&bytes) {
            Ok(()) | Err(MapError::KeyNotFound) => self.forget(key),
            Err(error) => Err(Error::of("cannot remove a flow from its table", &error)),
        }
    }

    /// Has every CPU forget what it remembers of a flow that was changed.
    pub(super) fn forget(&mut self, key: &FlowKey) -> Result<(), Error> {
        let failed = |error: MapError| Error::of("cannot write the map epochs", &error);
        let place = key.place();
        let epoch = self.epochs.get(&place, 0).map_err(failed)?;
        self.epochs
            .set(place, epoch.wrapping_add(1), 0)
            .map_err(failed)
    }
}

/// The ring in which the kernel tells of connections, and its count of those that had no room.
pub(super) fn events(pins: &Pins) -> Result<(RingBuf<MapData>, PerCpuArray<MapData, u64>), Error> {
    Ok((open(pins, "flow_events")?, open(pins, "untold")?))
}

fn open<M: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<M, Error> {
    let path = pins.map(name);
    let failed = |error: MapError| {
        Error::of(
            &format!("cannot open the pinned map {}", path.display()),
            &error,
        )
    };
    let map = MapData::from_pin(&path)
        .and_then(Map::from_map_data)
        .map_err(failed)?;
    M::try_from(map).map_err(failed)
}
