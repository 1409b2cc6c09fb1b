//! Counts, for each backend, the source ports of NAT that are in use, rest after use, or are free.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lb_common::{connection::Stamp, port::PortWord, tcp::Numbers, tick::Tick};

use super::{Error, clock::Clock, connections::Connections, layout::Layout};
use crate::config::Name;

/// Maximum age of a cached count. Counting is slow: there are 65,536 source ports to a backend from
/// each address of this host, and for each claimed port an entry of the connection table must be
/// read.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How many source ports of NAT are in use, rest after use, or are free for the connections of one
/// service to one of its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePorts {
    /// The name of the service.
    pub service: Name,
    /// The name of the backend.
    pub backend: Name,
    /// How many of the source ports are held by a connection, rest after one, or are free.
    pub ports: PortCounts,
}

/// Numbers of source ports by their availability to new connections. The sum is the number of ports
/// that NAT may claim.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortCounts {
    /// Number of ports that are in use, each by a connection.
    pub held: u64,
    /// Number of ports whose connection is closed, but may still be in TIME-WAIT at the backend: a
    /// new connection may claim such a port if the backend will accept its SYN.
    pub resting: u64,
    /// Number of ports that a new connection can claim: unused ports, and ports of a connection
    /// that has ended or timed out.
    pub free: u64,
}

/// Counts, for each backend, the source ports of NAT that are in use, rest after use, or are free.
/// This is a handle that is cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Occupancy {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    clock: Arc<Clock>,
    snapshot: Mutex<Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    backends: Vec<Target>,
    last: Option<(Instant, Arc<[SourcePorts]>)>,
}

/// A backend of a service whose source ports are counted, with the numbers of its rows in the map
/// `source_ports`: one for each address from which the balancer connects to it.
struct Target {
    service: Name,
    backend: Name,
    rows: Range<u16>,
}

impl fmt::Debug for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupancy").finish_non_exhaustive()
    }
}

impl Occupancy {
    pub(super) fn new(connections: Connections, clock: Arc<Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                connections,
                clock,
                snapshot: Mutex::default(),
            }),
        }
    }

    /// Makes the backends in `layout` the ones whose source ports are counted from now on.
    pub(super) fn follow(&self, layout: &Layout) {
        let backends = layout.services.iter().flat_map(|service| {
            let claiming = service.backends.iter().filter(|one| one.value.rows > 0);
            claiming.map(|one| Target {
                service: service.name.clone(),
                backend: one.name.clone(),
                rows: one.value.row..one.value.row.saturating_add(one.value.rows),
            })
        });
        let mut snapshot = self.snapshot();
        snapshot.backends = backends.collect();
        snapshot.last = None;
    }

    /// Returns how the source ports are used at each backend, by a count that is at most one second
    /// old. A new count takes some milliseconds, so this must not be called while holding a lock
    /// that others wait for.
    ///
    /// # Errors
    /// The kernel's clock cannot be read.
    pub fn count(&self) -> Result<Arc<[SourcePorts]>, Error> {
        let mut snapshot = self.snapshot();
        if let Some((at, counted)) = &snapshot.last
            && at.elapsed() < COUNT_EVERY
        {
            return Ok(Arc::clone(counted));
        }
        let counted = self.count_all(&snapshot.backends)?;
        snapshot.last = Some((Instant::now(), Arc::clone(&counted)));
        Ok(counted)
    }

    fn count_all(&self, backends: &[Target]) -> Result<Arc<[SourcePorts]>, Error> {
        let Inner {
            connections, clock, ..
        } = &*self.inner;
        let (now, hertz) = (clock.now()?, clock.hertz());
        // Services that listen on one address share the rows of the map `source_ports` with the
        // ports to a backend, so each row is counted once.
        let mut rows = HashMap::new();
        let mut count_row = |row| {
            *rows.entry(row).or_insert_with(|| {
                let kind = |word| kind_of(word, |index| connections.stamp(index), now, hertz);
                PortCounts::of(connections.ports(row).map(kind))
            })
        };
        let counted = backends.iter().map(|one| SourcePorts {
            service: one.service.clone(),
            backend: one.backend.clone(),
            ports: one.rows.clone().map(&mut count_row).sum(),
        });
        Ok(counted.collect())
    }

    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.inner
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The availability of a source port to new connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PortKind {
    Held,
    Resting,
    Free,
    /// The port is reserved for the host and not available to NAT.
    Reserved,
}

/// Classifies a source port by its state word and, if a table entry holds the port, by the stamp of
/// that entry: an entry keeps its port after the end of its connection, until another connection
/// claims the entry or the port.
fn kind_of(
    word: PortWord,
    stamp: impl Fn(u32) -> Option<Stamp>,
    now: Tick,
    hertz: u32,
) -> PortKind {
    if word == PortWord::RESERVED {
        return PortKind::Reserved;
    }
    if word.is_resting() {
        return PortKind::Resting;
    }
    let Some(stamp) = word.holder().and_then(stamp) else {
        return PortKind::Free;
    };
    let (age, numbers) = (now.since(stamp.seen), Numbers::default());
    if stamp.state.port_reusable(age, hertz, numbers, numbers) {
        PortKind::Free
    } else if stamp.state.is_over() {
        PortKind::Resting
    } else {
        PortKind::Held
    }
}

impl PortCounts {
    fn of(ports: impl Iterator<Item = PortKind>) -> Self {
        let mut counts = Self::default();
        for port in ports {
            match port {
                PortKind::Held => counts.held += 1,
                PortKind::Resting => counts.resting += 1,
                PortKind::Free => counts.free += 1,
                PortKind::Reserved => {}
            }
        }
        counts
    }
}

impl std::iter::Sum for PortCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            held: sum.held + one.held,
            resting: sum.resting + one.resting,
            free: sum.free + one.free,
        })
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{connection::Mode, tcp::State};

    use super::*;

    const HERTZ: u32 = 250;
    const NOW: Tick = Tick(1_000_000);

    /// Returns the stamp (state and time) of an entry of the connection table, whose connection had
    /// its last packet this many seconds ago.
    fn stamp(state: State, seconds: u32) -> Stamp {
        Stamp {
            state,
            mode: Mode(0),
            serial: 1,
            seen: Tick(NOW.0 - seconds * HERTZ),
        }
    }

    fn count(words: &[PortWord], stamps: &[Stamp]) -> PortCounts {
        let stamp = |index: u32| stamps.get(index as usize).copied();
        let kinds = words.iter().map(|word| kind_of(*word, stamp, NOW, HERTZ));
        PortCounts::of(kinds)
    }

    #[test]
    fn a_port_is_counted_by_its_word_and_by_the_connection_that_has_it() {
        let last = Numbers {
            sequence: 1 << 20,
            timestamp: 0,
        };
        let seen = Tick(NOW.0 - HERTZ);
        let resting = PortWord::after_release(State::LINGERING, last, seen, NOW, HERTZ);
        assert!(resting.is_resting());
        let stamps = [
            stamp(State::ESTABLISHED, 3000),
            stamp(State::OPENING, 1),
            stamp(State::LINGERING, 30),
        ];
        let words = [
            PortWord::FREE,
            PortWord::FREE,
            PortWord::RESERVED,
            resting,
            PortWord::held_by(0),
            PortWord::held_by(1),
            PortWord::held_by(2),
        ];
        let expected = PortCounts {
            held: 2,
            resting: 2,
            free: 2,
        };
        assert_eq!(count(&words, &stamps), expected);
    }

    #[test]
    fn a_connection_that_would_lend_its_port_does_not_hold_it() {
        let stamps = [
            stamp(State::ESTABLISHED, 3601),
            stamp(State::OPENING, 5),
            stamp(State::CLOSED, 3),
            stamp(State::LINGERING, 61),
        ];
        let words: Vec<PortWord> = (0..4).map(PortWord::held_by).collect();
        let expected = PortCounts {
            free: 4,
            ..PortCounts::default()
        };
        assert_eq!(count(&words, &stamps), expected);
    }

    #[test]
    fn a_packet_that_came_after_the_time_was_read_keeps_the_port_held() {
        let mut late = stamp(State::ESTABLISHED, 0);
        late.seen = Tick(NOW.0 + 3);
        assert_eq!(count(&[PortWord::held_by(0)], &[late]).held, 1);
    }
}
