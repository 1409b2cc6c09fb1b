//! Counters of the replication of flows between the hosts of a pair.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Why a connection was not replicated to the other host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SkipReason {
    /// The kernel of this host does not steer the service that the peer's connection belongs to.
    UnknownService,
    /// The service has no backend with the address and port of the connection's backend on this
    /// host.
    UnknownBackend,
    /// This host does not use the connection's source port for NAT.
    SourcePort,
    /// The connection is closed, and this host does not have it.
    Over,
    /// This host exports its own connections, because it is the active host.
    Active,
    /// All entries of the connection table that the connection could use hold established
    /// connections.
    TableFull,
    /// While the agent was writing the peer's connection to the connection table, the XDP program
    /// changed the same connection, the same entry of the table, or the holder of the source port.
    Contended,
    /// A connection of this host is not exported, because its backend sees an additional source
    /// address of this host, which does not move to the peer.
    SourceAddress,
}

/// The names that the reasons for skipping a connection have in metrics.
const SKIPS: [(SkipReason, &str); 8] = [
    (SkipReason::UnknownService, "unknown_service"),
    (SkipReason::UnknownBackend, "unknown_backend"),
    (SkipReason::SourcePort, "source_port"),
    (SkipReason::Over, "over"),
    (SkipReason::Active, "active"),
    (SkipReason::TableFull, "table_full"),
    (SkipReason::Contended, "contended"),
    (SkipReason::SourceAddress, "source_address"),
];

/// The state and the counters of the replication since the agent started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowCounters {
    /// Whether this host is exporting its connections to the peer.
    pub exporting: bool,
    /// An upper bound of the age of the oldest change that the link to the peer has not taken yet.
    /// It is below 100 ms if the link keeps up.
    pub lag: Duration,
    /// Number of records of connections that were sent to the peer.
    pub sent: u64,
    /// How many times this host's whole connection table was sent to the peer.
    pub passes_sent: u64,
    /// Number of connections that were sent when this host's whole connection table was last sent.
    pub last_pass_flows: u64,
    /// How long it took to send this host's whole connection table the last time.
    pub last_pass: Duration,
    /// When a host last finished sending its whole connection table to the other, in either
    /// direction; `None` if neither has.
    pub last_pass_ended: Option<Instant>,
    /// Number of changes of connections that found no room in the ring buffer `flow_events`. After
    /// such a loss the whole connection table is sent again.
    pub overflowed: u64,
    /// Number of records of connections that were received from the peer.
    pub received: u64,
    /// Number of the received records that were written to this host's connection table.
    pub imported: u64,
    /// Numbers of skipped connections, by reason in lower-case words joined by `_`. They are
    /// records of the peer, or, for `source_address`, connections of this host that are not
    /// exported.
    pub skipped: Vec<(&'static str, u64)>,
    /// Number of messages from the peer that are not valid chunks of flows.
    pub malformed: u64,
    /// How many times the peer's whole connection table was received.
    pub passes_received: u64,
    /// Number of flows that were removed because they were missing when the peer sent its whole
    /// connection table.
    pub removed: u64,
}

/// The counters of the replication, which several threads update.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: AtomicU64,
    passes_sent: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) imported: AtomicU64,
    pub(super) malformed: AtomicU64,
    passes_received: AtomicU64,
    pub(super) removed: AtomicU64,
    skipped: [AtomicU64; SKIPS.len()],
    last_pass: Mutex<(u64, Duration)>,
    last_pass_ended: Mutex<Option<Instant>>,
    /// During an export: the time up to which all changes have been handed to the link to the peer;
    /// `None` if there is no export.
    settled: Mutex<Option<Instant>>,
}

impl Tally {
    pub(super) fn count(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Relaxed);
    }

    pub(super) fn skip(&self, why: SkipReason) {
        self.skipped[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn pass_sent(&self, flows: u64, took: Duration) {
        self.passes_sent.fetch_add(1, Relaxed);
        *self
            .last_pass
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = (flows, took);
        self.pass_ended();
    }

    pub(super) fn pass_received(&self) {
        self.passes_received.fetch_add(1, Relaxed);
        self.pass_ended();
    }

    fn pass_ended(&self) {
        *self
            .last_pass_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Records that all changes until `at` were handed to the link to the peer; `None` records that
    /// the export ended.
    pub(super) fn settle(&self, at: Option<Instant>) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn read(&self) -> FlowCounters {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let settled = *self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_pass_flows, last_pass) = *self
            .last_pass
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        FlowCounters {
            exporting: settled.is_some(),
            lag: settled.map_or(Duration::ZERO, |at| at.elapsed()),
            sent: of(&self.sent),
            passes_sent: of(&self.passes_sent),
            last_pass_flows,
            last_pass,
            last_pass_ended: *self
                .last_pass_ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            overflowed: of(&self.overflowed),
            received: of(&self.received),
            imported: of(&self.imported),
            skipped: SKIPS
                .iter()
                .map(|&(why, word)| (word, of(&self.skipped[why as usize])))
                .collect(),
            malformed: of(&self.malformed),
            passes_received: of(&self.passes_received),
            removed: of(&self.removed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        let tally = Tally::default();
        for (place, (why, _word)) in SKIPS.iter().enumerate() {
            assert_eq!(*why as usize, place);
            (0..=place).for_each(|_| tally.skip(*why));
        }
        let counted: Vec<u64> = tally
            .read()
            .skipped
            .iter()
            .map(|(_, count)| *count)
            .collect();
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
    #[test]
    fn the_last_whole_pass_is_the_one_that_ended_last_in_either_direction() {
        let tally = Tally::default();
        assert_eq!(tally.read().last_pass_ended, None);
        let began = Instant::now();
        tally.pass_sent(3, Duration::ZERO);
        let sent = tally.read().last_pass_ended.expect("one ended");
        assert!(sent >= began);
        let between = Instant::now();
        tally.pass_received();
        let heard = tally.read().last_pass_ended.expect("another ended");
        assert!(heard >= between);
        let counted = tally.read();
        assert_eq!((counted.passes_sent, counted.passes_received), (1, 1));
    }
}
