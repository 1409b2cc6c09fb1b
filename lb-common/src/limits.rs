//! How much of everything there can be.

/// Services, steered or not.
pub const SERVICES: u32 = 256;

/// Backends, counted once for each service that uses them.
pub const BACKENDS: u32 = 4096;

/// Slots of a ring: a prime, as Maglev wants it (NSDI 2016, section 3.4), and about a hundred
/// times the backends of a large pool, so that shares are exact to a percent.
pub const RING_SLOTS: u32 = 16_381;

/// Entries of the flow table where the configuration gives none; a connection takes two.
pub const FLOWS: u32 = 1 << 20;

/// Flows that each CPU remembers, at 72 bytes each: well within its second-level cache.
pub const RECENT_FLOWS: u32 = 1 << 11;

/// Bytes of the ring in which the kernel tells of connections: a power of two of pages. Each takes
/// 40, so there is room for two seconds of 50,000 a second.
pub const FLOW_EVENT_BYTES: u32 = 1 << 22;

/// Seconds that new connections may be held for at the most: a client's third retransmission of
/// its SYN comes after seven (RFC 6298), and after thirty most give up.
pub const HOLD_SECONDS: u32 = 30;

/// Candidate source ports that a new flow tries before it gives up.
pub const SOURCE_PORT_TRIES: u32 = 16;
