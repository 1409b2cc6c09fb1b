//! Endpoints: entries by which the packets of backends are recognised and their connections found.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of endpoints in a bucket, which is one cache line.
pub const ENDPOINTS_PER_BUCKET: usize = 4;

/// A backend's address and port, with a source address that this backend sees: part of a value of
/// the map `endpoints`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C, align(8))]
pub struct Endpoint {
    /// The backend's IPv4 address.
    pub backend: [u8; 4],
    /// Address that the backend replies to; zero for [`EndpointKind::Dnat`], where the backend
    /// replies to the client's address.
    pub source: [u8; 4],
    /// The backend's port.
    pub port: u16,
    /// Row of the map `source_ports` for [`EndpointKind::Nat`]; index of the backend for
    /// [`EndpointKind::Dnat`].
    pub row: u16,
    /// An [`EndpointKind`] as a number; 0 marks an unused entry.
    pub kind: u16,
    /// Always zero: padding.
    pub reserved: u16,
}

/// How the connection that a backend's packet belongs to is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum EndpointKind {
    /// By the packet's destination port, which is the source port that NAT claimed.
    Nat = 1,
    /// By the packet's destination, which is the client's own address and port.
    Dnat = 2,
}

/// A bucket of endpoints: the value of the map `endpoints`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C, align(8))]
pub struct EndpointBucket {
    /// The endpoints in the bucket, in no particular order.
    pub entries: [Endpoint; ENDPOINTS_PER_BUCKET],
}

const _CHECK: () = assert!(size_of::<EndpointBucket>() == 64, "one cache line");

/// Addresses and port by which an [`Endpoint`] is looked up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EndpointKey {
    /// The backend's IPv4 address.
    pub backend: [u8; 4],
    /// Address that the backend replies to; zero for [`EndpointKind::Dnat`].
    pub source: [u8; 4],
    /// The backend's port.
    pub port: u16,
}

impl EndpointKey {
    /// Returns the indices of the two buckets that may hold the endpoint in a map of `buckets`
    /// buckets (a power of two).
    #[must_use]
    #[inline(always)]
    pub const fn buckets(&self, buckets: u32) -> [u32; 2] {
        let addresses: u64 = zerocopy::transmute!([self.backend, self.source]);
        let mut bits = (addresses ^ self.port as u64).wrapping_mul(0x9fb2_1c65_1e98_df25);
        bits ^= bits >> 32;
        bits = bits.wrapping_mul(0x9fb2_1c65_1e98_df25);
        bits ^= bits >> 15;
        let (high, low) = ((bits >> 48) as u32, (bits >> 32) as u32);
        [high & (buckets - 1), low & (buckets - 1)]
    }

    /// Whether an entry of the map `endpoints` has this key.
    #[must_use]
    #[inline(always)]
    pub const fn is(&self, entry: &Endpoint) -> bool {
        let (ours, theirs): (u64, u64) = (
            zerocopy::transmute!([self.backend, self.source]),
            zerocopy::transmute!([entry.backend, entry.source]),
        );
        ours == theirs && self.port == entry.port && entry.kind != 0
    }
}

/// The map `endpoints` as the agent fills it: all buckets in memory.
#[cfg(feature = "host")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointTable {
    buckets: Vec<EndpointBucket>,
}

#[cfg(feature = "host")]
impl Default for EndpointTable {
    fn default() -> Self {
        let buckets = crate::limits::ENDPOINT_BUCKETS as usize;
        Self {
            buckets: vec![EndpointBucket::default(); buckets],
        }
    }
}

#[cfg(feature = "host")]
impl EndpointTable {
    /// Creates the table from all buckets of the map `endpoints`.
    #[must_use]
    pub const fn of(buckets: Vec<EndpointBucket>) -> Self {
        Self { buckets }
    }

    /// Removes an endpoint. Returns the index of its bucket; `None` if the table did not contain
    /// it.
    pub fn remove(&mut self, endpoint: &Endpoint) -> Option<u32> {
        for bucket in places(endpoint) {
            let entries = &mut self.buckets[bucket as usize].entries;
            if let Some(found) = entries.iter_mut().find(|entry| *entry == endpoint) {
                *found = Endpoint::default();
                return Some(bucket);
            }
        }
        None
    }

    /// Adds an endpoint to the emptier of its two buckets. Returns the index of that bucket.
    ///
    /// # Errors
    /// Returns the endpoint if both buckets are full: see [`crate::limits::ENDPOINT_BUCKETS`].
    pub fn add(&mut self, endpoint: Endpoint) -> Result<u32, Endpoint> {
        let used = |bucket: u32| {
            let entries = &self.buckets[bucket as usize].entries;
            entries.iter().filter(|entry| entry.kind != 0).count()
        };
        let [first, second] = places(&endpoint);
        let bucket = if used(second) < used(first) {
            second
        } else {
            first
        };
        let entries = &mut self.buckets[bucket as usize].entries;
        match entries.iter_mut().find(|entry| entry.kind == 0) {
            Some(free) => {
                *free = endpoint;
                Ok(bucket)
            }
            None => Err(endpoint),
        }
    }

    /// Returns all buckets of the table, in the order of the map.
    #[must_use]
    pub fn buckets(&self) -> &[EndpointBucket] {
        &self.buckets
    }
}

#[cfg(feature = "host")]
fn places(endpoint: &Endpoint) -> [u32; 2] {
    let key = EndpointKey {
        backend: endpoint.backend,
        source: endpoint.source,
        port: endpoint.port,
    };
    key.buckets(crate::limits::ENDPOINT_BUCKETS)
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    #[test]
    fn as_many_endpoints_as_there_are_rows_find_room() {
        let mut table = EndpointTable::default();
        for row in 0..crate::limits::ROWS {
            let [_, _, high, low] = row.to_be_bytes();
            let endpoint = Endpoint {
                backend: [10, 0, high, low],
                source: [172, 31, 0, 70],
                port: 80,
                row: u16::try_from(row).expect("a row"),
                kind: EndpointKind::Nat as u16,
                reserved: 0,
            };
            assert!(table.add(endpoint).is_ok(), "{row}");
        }
    }
}
