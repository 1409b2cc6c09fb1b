//! The maps, by the names that `bpftool` and the pins show.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    backend::{Backend, BackendId},
    flow::{Flow, FlowKey, Recent},
    limits,
    record::Record,
    service::{Service, ServiceKey},
    settings::Settings,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};

/// One entry: what the agent tells about everything at once.
#[btf_map(name = "settings")]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// A bit for each port that a packet may come to for a service or a flow.
#[btf_map(name = "ports")]
pub(crate) static PORTS: Array<u64, 1024> = Array::new();

/// Who listens where.
#[btf_map(name = "services")]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, { limits::SERVICES as usize }> =
    HashMap::new();

/// A backend for each number in the rings.
#[btf_map(name = "backends")]
pub(crate) static BACKENDS: Array<Backend, { limits::BACKENDS as usize }> = Array::new();

/// A ring for each service, swapped whole.
#[btf_map(name = "rings")]
pub(crate) static RINGS: ArrayOfMaps<Ring, { limits::SERVICES as usize }> = ArrayOfMaps::new();

/// Each slot of a ring names a backend.
pub(crate) type Ring = Array<BackendId, { limits::RING_SLOTS as usize }>;

/// Whose turn it is, for each service and CPU.
#[btf_map(name = "cursors")]
pub(crate) static CURSORS: PerCpuArray<u32, { limits::SERVICES as usize }> = PerCpuArray::new();

/// Both directions of each connection. The agent sets its size before it loads the program.
#[btf_map(name = "flows_v4")]
pub(crate) static FLOWS_V4: LruHashMap<FlowKey, Flow, { limits::FLOWS as usize }> =
    LruHashMap::new();

/// Established flows that a CPU saw within the last second, by a hash of their key: what is found
/// here needs no look-up in `flows_v4`, whose function calls cost more than all the rest.
#[btf_map(name = "recent")]
pub(crate) static RECENT: PerCpuArray<Recent, { limits::RECENT_FLOWS as usize }> =
    PerCpuArray::new();

/// A number for each place in `recent`, counted on when a flow there changes: what another CPU
/// remembers under the old number is void.
#[btf_map(name = "epochs")]
pub(crate) static EPOCHS: Array<u32, { limits::RECENT_FLOWS as usize }> = Array::new();

/// Connections whose state changed, for the agent to tell the peer.
#[btf_map(name = "flow_events")]
pub(crate) static FLOW_EVENTS: RingBuf<Record, { limits::FLOW_EVENT_BYTES as usize }> =
    RingBuf::new();

/// How many found no room in `flow_events`.
#[btf_map(name = "untold")]
pub(crate) static UNTOLD: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Packets by verdict and reason.
#[btf_map(name = "verdicts")]
pub(crate) static VERDICTS: PerCpuArray<u64, { COUNTER_SLOTS as usize }> = PerCpuArray::new();

/// Packets and bytes by service and backend.
#[btf_map(name = "traffic")]
pub(crate) static TRAFFIC: PerCpuArray<Traffic, { TrafficSlot::COUNT as usize }> =
    PerCpuArray::new();
