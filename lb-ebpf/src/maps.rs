//! The BPF maps, by the names that `bpftool` and the pins show.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    backend::Backend,
    connection::Connection,
    endpoint::EndpointBucket,
    hop::Hop,
    limits,
    listener::{LISTENER_WORDS, Listeners},
    record::Record,
    ring,
    service::{Service, ServiceKey},
    settings::Settings,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};

/// Settings that hold for all connections: the map has one entry.
#[btf_map(name = "settings")]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// Flag of maps that the agent maps into its own memory. Their values are page-aligned, so a value
/// of 64 bytes is one cache line.
const MAPPED: usize = BPF_F_MMAPABLE as usize;

/// A filter with bits for each hash of an address and port: whether a service may have them.
#[btf_map(name = "listeners")]
pub(crate) static LISTENERS: Array<Listeners, { LISTENER_WORDS as usize }> = Array::new();

/// A bit for each port that NAT may claim as a source port.
#[btf_map(name = "ports")]
pub(crate) static PORTS: Array<u64, 1024> = Array::new();

/// Services by address and port. A new configuration is written before what is left of the old one
/// is removed, so the map has room for both.
#[btf_map(name = "services")]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, { 2 * limits::SERVICES as usize }> =
    HashMap::new();

/// Backends by their index, which is also what the slots of rings contain.
#[btf_map(name = "backends")]
pub(crate) static BACKENDS: Array<Backend, { limits::BACKENDS as usize }> = Array::new();

/// A ring of backends for each service. A packet sees either the old ring or the new one: see
/// [`lb_common::ring`].
#[btf_map(name = "rings")]
pub(crate) static RINGS: ArrayOfMaps<Ring, { limits::RINGS as usize }> = ArrayOfMaps::new();

/// A ring of backends: its head, which is the range of slots in use, and its slots. Each has as
/// many words as its service needs, at least one.
pub(crate) type Ring = Array<u64, 1, { ring::MAP_FLAGS as usize }>;

/// Round-robin counter of each service, separate for each CPU.
#[btf_map(name = "cursors")]
pub(crate) static CURSORS: PerCpuArray<u32, { limits::SERVICES as usize }> = PerCpuArray::new();

/// Position of each CPU in each row of source ports, which determines the line of sixteen ports
/// that it tries for a new connection: see `lb_common::walk`.
#[btf_map(name = "line_turns")]
pub(crate) static LINE_TURNS: PerCpuArray<u32, { limits::ROWS as usize }> = PerCpuArray::new();

/// The connection table, with one entry for each connection. The agent sets the size before it
/// loads the program.
#[btf_map(name = "connections")]
pub(crate) static CONNECTIONS: Array<Connection, CONNECTION_ENTRIES, MAPPED> = Array::new();

/// Default number of entries of the map `connections`.
const CONNECTION_ENTRIES: usize = 1 << 20;

/// Source ports of NAT: a row of ports for each backend and source address.
#[btf_map(name = "source_ports")]
pub(crate) static SOURCE_PORTS: ArrayOfMaps<Row, { limits::ROWS as usize }> = ArrayOfMaps::new();

/// A row of source ports, of one backend and one source address: each port names the connection
/// that holds it, see `lb_common::table`.
pub(crate) type Row = Array<Line, { limits::LINES as usize }, MAPPED>;

/// A line of sixteen adjacent source ports, which is a cache line.
pub(crate) type Line = [u32; limits::PORTS_PER_LINE as usize];

/// Endpoints, by which packets from backends are recognised.
#[btf_map(name = "endpoints")]
pub(crate) static ENDPOINTS: Array<EndpointBucket, { limits::ENDPOINT_BUCKETS as usize }, MAPPED> =
    Array::new();

/// Next hops: one towards each backend, then those towards clients.
#[btf_map(name = "hops")]
pub(crate) static HOPS: Array<Hop, { limits::HOPS as usize }, MAPPED> = Array::new();

/// Interfaces that packets can be redirected to.
#[btf_map(name = "interfaces")]
pub(crate) static INTERFACES: DevMapHash<{ limits::INTERFACES as usize }> = DevMapHash::new();

/// Targets of tail calls: the XDP programs that handle the packets that the first program, `lb`,
/// passes on.
#[btf_map(name = "programs")]
pub(crate) static PROGRAMS: ProgramArray<{ limits::PROGRAMS as usize }> = ProgramArray::new();

/// Connections whose state changed, which the agent sends to the peer.
#[btf_map(name = "flow_events")]
pub(crate) static FLOW_EVENTS: RingBuf<Record, { limits::FLOW_EVENT_BYTES as usize }> =
    RingBuf::new();

/// Number of connection events that were lost because `flow_events` had no room.
#[btf_map(name = "untold")]
pub(crate) static UNTOLD: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Number of packets by verdict and reason.
#[btf_map(name = "verdicts")]
pub(crate) static VERDICTS: PerCpuArray<u64, { COUNTER_SLOTS as usize }> = PerCpuArray::new();

/// Number of packets and bytes by service and backend.
#[btf_map(name = "traffic")]
pub(crate) static TRAFFIC: PerCpuArray<Traffic, { TrafficSlot::COUNT as usize }> =
    PerCpuArray::new();
