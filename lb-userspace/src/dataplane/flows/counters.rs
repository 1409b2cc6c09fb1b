//! What was told, heard and left out.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Why a connection was not taken over into the flow table of the other host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SkipReason {
    /// This host steers no such service.
    UnknownService,
    /// The service has no such backend here.
    UnknownBackend,
    /// The port is not among those that this host sets aside.
    SourcePort,
    /// It is over, and was not known here.
    Over,
    /// This host tells of its own connections: it is the active one.
    Active,
    /// All places in the table that it could have hold established connections.
    TableFull,
    /// A packet was changing the same entry at that moment.
    Contended,
    /// The backend sees a further source address of this host, which stays here: the peer is not told.
    SourceAddress,
}

/// Each with the word that users see.
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

/// The copy of the flow table on the peer, in numbers since the agent started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowCounters {
    /// Whether this host tells the peer of its connections.
    pub telling: bool,
    /// How long the oldest change that the link has not taken yet may have waited. Below 100 ms
    /// where the link keeps up.
    pub lag: Duration,
    /// Connections told of, each time that one was.
    pub sent: u64,
    /// Passes over the whole table that were told of to the end.
    pub passes_sent: u64,
    /// Connections that the last of them told of.
    pub last_pass_flows: u64,
    /// How long the last of them took.
    pub last_pass: Duration,
    /// When the last whole pass ended, be it one that was told of or one that was heard; `None`:
    /// there was none.
    pub last_pass_ended: Option<Instant>,
    /// Changes that found no room in the ring `flow_events`: a pass over the whole table makes up for
    /// them.
    pub overflowed: u64,
    /// Connections that the peer told of, each time that it did.
    pub received: u64,
    /// Of these, those that stand in the flow table.
    pub imported: u64,
    /// Connections that were left out, by reason in lower-case words joined by `_`: those that the peer
    /// told of, and for `source_address` those of this host that the peer is not told of.
    pub skipped: Vec<(&'static str, u64)>,
    /// Messages of the peer that could not be read.
    pub malformed: u64,
    /// Passes over the peer's whole table that were heard to the end.
    pub passes_received: u64,
    /// Flows that the peer no longer told of and that were removed for it.
    pub removed: u64,
}

/// The counters as they are counted.
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
    /// While this host tells: when all that had changed was handed on.
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

    /// All that had changed `at` this time is on its way; nothing is where nobody listens.
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
            telling: settled.is_some(),
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
    fn the_last_whole_pass_is_the_one_that_ended_last_whoever_told_of_it() {
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
