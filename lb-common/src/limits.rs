//! How much of everything there can be.

/// Services, steered or not.
pub const SERVICES: u32 = 4096;

/// Backends, counted once for each service that uses them.
pub const BACKENDS: u32 = 16_384;

/// Slots that a ring by Maglev can have: primes, as it wants them (NSDI 2016, section 3.4), each
/// such that both halves of the ring and its head fill their pages and begin no other.
pub const RING_SIZES: [u32; 5] = [1019, 4091, 16_369, 65_521, 262_139];

/// Entries of the map `rings`: one for each service, and one whose ring has no slots.
pub const RINGS: u32 = SERVICES + 1;

/// Number of the layout of all maps. It changes when a map changes its meaning or the size of its
/// keys or values, so that an agent refuses what an agent of another version pinned.
pub const LAYOUT: u32 = 3;

/// Connections that there is room for where the configuration says nothing.
pub const CONNECTIONS: u32 = 250_000;

/// Entries of the map `connections` that share a bucket: one page holds sixteen buckets.
pub const WAYS: u32 = 4;

/// Rows of the map `source_ports`: one for each backend and address that it sees.
pub const ROWS: u32 = 32_768;

/// Source ports that share a line of the map `source_ports`.
pub const PORTS_PER_LINE: u32 = 16;

/// Lines of a row of the map `source_ports`.
pub const LINES: u32 = 65_536 / PORTS_PER_LINE;

/// Buckets of the map `endpoints`.
pub const ENDPOINT_BUCKETS: u32 = 16_384;

/// Entries of the map `hops` for the clients' side, after one for each backend.
pub const CLIENT_HOPS: u32 = 8192;

/// Entries of the map `hops`.
pub const HOPS: u32 = BACKENDS + CLIENT_HOPS;

/// Programs that the main one hands packets on to: room for what comes next.
pub const PROGRAMS: u32 = 16;

/// Interfaces that packets can leave by.
pub const INTERFACES: u32 = 64;

/// Addresses that backends can see besides the service's own.
pub const SOURCE_ADDRESSES: u32 = 8;

/// Bytes of the ring in which the kernel tells of connections: a power of two of pages. Each takes
/// 40, so there is room for two seconds of 50,000 a second.
pub const FLOW_EVENT_BYTES: u32 = 1 << 22;

/// Seconds that new connections may be held for at the most: a client's third retransmission of
/// its SYN comes after seven (RFC 6298), and after thirty most give up.
pub const HOLD_SECONDS: u32 = 30;

/// Backends that a new connection tries to find a source port at.
pub const BACKEND_TRIES: u32 = 3;

/// Lines of sixteen source ports that a new connection tries at a backend.
pub const LINE_TRIES: u32 = 2;
