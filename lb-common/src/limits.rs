//! Sizes of maps and other limits.

/// Maximum number of services, whether they are steered in the kernel or served by the agent.
pub const SERVICES: u32 = 4096;

/// Maximum number of backends, each counted once for every service that uses it.
pub const BACKENDS: u32 = 16_384;

/// Possible sizes of a Maglev ring in slots: primes, as the algorithm requires (NSDI 2016, section
/// 3.4), each chosen so that both halves of the ring, with the word that says which slots are in
/// use, just fill their pages.
pub const RING_SIZES: [u32; 5] = [1019, 4091, 16_369, 65_521, 262_139];

/// Number of entries of the map `rings`: one for each service, and one more for a ring without
/// slots.
pub const RINGS: u32 = SERVICES + 1;

/// Version of the layout of all maps. It changes when a map changes its meaning or the size of its
/// keys or values, so an agent refuses pinned maps of another version.
pub const LAYOUT: u32 = 3;

/// Default capacity of the connection table in connections.
pub const CONNECTIONS: u32 = 250_000;

/// Number of entries in a bucket of the map `connections`: one page holds sixteen buckets.
pub const WAYS: u32 = 4;

/// Number of rows of the map `source_ports`: one for each backend and address that the backend
/// sees.
pub const ROWS: u32 = 32_768;

/// Number of adjacent source ports whose words share one cache line of the map `source_ports`:
/// these ports are called a line.
pub const PORTS_PER_LINE: u32 = 16;

/// Number of lines of sixteen source ports in a row of the map `source_ports`.
pub const LINES: u32 = 65_536 / PORTS_PER_LINE;

/// Number of buckets of the map `endpoints`.
pub const ENDPOINT_BUCKETS: u32 = 16_384;

/// Number of entries of the map `hops` for next hops towards clients; they come after the entries
/// for backends, of which each backend has one.
pub const CLIENT_HOPS: u32 = 8192;

/// Number of entries of the map `hops`: those for backends, then those towards clients.
pub const HOPS: u32 = BACKENDS + CLIENT_HOPS;

/// Number of entries of the map `programs`, for tail calls; most are reserved for later use.
pub const PROGRAMS: u32 = 16;

/// Maximum number of interfaces that packets can be redirected to.
pub const INTERFACES: u32 = 64;

/// Maximum number of additional source addresses that backends see, besides the service's own
/// address.
pub const SOURCE_ADDRESSES: u32 = 8;

/// Size in bytes of the ring buffer of connection events: a power of two of pages. An event takes
/// 40 bytes, so the buffer holds two seconds of events at 50,000 a second.
pub const FLOW_EVENT_BYTES: u32 = 1 << 22;

/// Maximum time in seconds for which SYNs of new connections are dropped while the active role is
/// handed over to the peer: a client's third retransmission of its SYN comes after seven seconds
/// (RFC 6298), and most clients give up after thirty.
pub const HOLD_SECONDS: u32 = 30;

/// Maximum number of backends at which a new connection tries to claim a source port.
pub const BACKEND_TRIES: u32 = 3;

/// Maximum number of lines of sixteen source ports that a new connection tries at one backend.
pub const LINE_TRIES: u32 = 2;
