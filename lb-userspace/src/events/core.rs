//! The latest events, in memory. Decides which are kept by themselves, which only count as one more
//! repetition of an earlier event, and which are forgotten. It does no I/O; the time is an
//! argument.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    event::{Event, Severity},
    kind::Kind,
    line::Line,
    sentence::fill,
};

/// Maximum number of events that are kept; older events are forgotten.
pub const CAPACITY: usize = 1000;

/// How many events of one kind and subject are recorded one by one before further ones only count
/// as repetitions of the latest.
const BURST: u32 = 6;
/// The interval at which one more event of a kind and subject may be recorded by itself.
const REFILL: Duration = Duration::from_secs(600);
/// Highest number of pairs of kind and subject whose rates are remembered; if there are more, all
/// rates are forgotten and start again.
const SUBJECTS: usize = 4 * CAPACITY;

/// Selects events: those that fulfil all of these conditions.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only events that were recorded or repeated after the one with this revision (a number that
    /// increases with each record of an event and each repetition of one); `None` sets no limit.
    pub after: Option<u64>,
    /// Only events that happened, or were repeated, in the latest so many milliseconds; `None` sets
    /// no limit.
    pub within_ms: Option<u64>,
    /// Only events of these kinds; empty: of all kinds.
    pub kinds: Vec<Kind>,
    /// Only the latest events, at most this many; `None` sets no limit.
    pub most: Option<usize>,
}

/// The latest events, ordered by revision (a number that increases with each record of an event and
/// each repetition of one): the one that was recorded or repeated last comes last.
#[derive(Debug, Default)]
pub(super) struct Core {
    events: VecDeque<Event>,
    rates: HashMap<(Kind, String), Bucket>,
    revision: u64,
}

/// Limits the rate of the events of one kind and subject: how many more may be recorded by
/// themselves instead of being counted as repetitions.
#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: SystemTime,
}

impl Core {
    /// Records an event and returns it. If too many events of the same kind and subject happened
    /// already, counts a repetition of the latest of these, and returns that one.
    pub(super) fn record(
        &mut self,
        kind: Kind,
        severity: Severity,
        line: Line,
        now: SystemTime,
    ) -> &Event {
        let subject = fill(kind.subject(), &line.fields);
        let cause = fill(kind.sentence(), &line.fields);
        let revision = self.next_revision(now);
        let limited = !self.admits(kind, &subject, now);
        let mut known = self.events.iter();
        let known = known.rposition(|event| event.kind == kind && event.subject == subject);
        let earlier = known
            .filter(|_| limited)
            .and_then(|it| self.events.remove(it));
        let (id, time, count) = earlier.map_or((revision, now, 1), |earlier| {
            (earlier.id, earlier.time, earlier.count + 1)
        });
        self.push(Event {
            id,
            revision,
            time,
            last: now,
            count,
            kind,
            severity,
            subject,
            cause,
            message: line.message,
            fields: line.fields,
        });
        &self.events[self.events.len() - 1]
    }

    /// Puts events of an earlier agent before those of this one.
    pub(super) fn restore(&mut self, earlier: Vec<Event>) {
        let ours = std::mem::take(&mut self.events);
        for event in earlier.into_iter().chain(ours) {
            // If an event occurs twice, the later occurrence replaces the earlier one, because it
            // also counts the later repetitions.
            if let Some(same) = self.events.iter().position(|it| it.id == event.id) {
                self.events.remove(same);
            }
            self.revision = self.revision.max(event.revision);
            self.push(event);
        }
    }

    /// Returns the events that a filter selects, the oldest first.
    pub(super) fn select(&self, filter: &Filter, now: SystemTime) -> Vec<Event> {
        let since = filter
            .within_ms
            .and_then(|within| now.checked_sub(Duration::from_millis(within)));
        let wanted = |event: &&Event| {
            filter.after.is_none_or(|after| event.revision > after)
                && since.is_none_or(|since| event.last >= since)
                && (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
        };
        let most = filter.most.unwrap_or(CAPACITY);
        let mut selected: Vec<_> = self
            .events
            .iter()
            .rev()
            .filter(wanted)
            .take(most)
            .cloned()
            .collect();
        selected.reverse();
        selected
    }

    /// Returns all events, the oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Returns the highest revision of any event so far. A revision is a number that increases with
    /// each record of an event and each repetition of one.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn push(&mut self, event: Event) {
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn next_revision(&mut self, now: SystemTime) -> u64 {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or_default();
        self.revision = micros.max(self.revision + 1);
        self.revision
    }

    /// Returns whether one more event of this kind and subject may be recorded by itself instead of
    /// being counted as a repetition.
    fn admits(&mut self, kind: Kind, subject: &str, now: SystemTime) -> bool {
        if self.rates.len() >= SUBJECTS {
            self.rates.retain(|_, bucket| !bucket.is_full_at(now));
            if self.rates.len() >= SUBJECTS {
                self.rates.clear();
            }
        }
        let key = (kind, subject.to_owned());
        let bucket = self.rates.entry(key).or_insert(Bucket {
            left: BURST,
            refilled: now,
        });
        bucket.refill(now);
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        admitted
    }
}

impl Bucket {
    fn refill(&mut self, now: SystemTime) {
        // After the clock was set back, no further events are permitted until the clock has reached
        // its earlier time again.
        let elapsed = now.duration_since(self.refilled).unwrap_or_default();
        let intervals = elapsed.as_secs() / REFILL.as_secs();
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        if intervals > 0 {
            self.left = self.left.saturating_add(intervals).min(BURST);
            self.refilled = now;
        }
    }

    fn is_full_at(&self, now: SystemTime) -> bool {
        let elapsed = now.duration_since(self.refilled).unwrap_or_default();
        elapsed >= REFILL * BURST
    }
}
