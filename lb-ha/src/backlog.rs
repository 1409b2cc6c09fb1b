//! The order in which a host handles the events that arrived while its thread did not run.
//!
//! A thread that was not scheduled for a while finds an expired timer and events of several
//! sources. The timer must come last: it expired because the thread did not read, not because the
//! peer was silent. Events carry no time of arrival that holds across sources, so adverts come
//! before messages over the link between the two agents: such a message is about a change of roles,
//! and adverts sent before that change must not be handled after it.

use std::{collections::VecDeque, time::Duration};

use crate::Time;

/// A timer that is handled later than this after its deadline shows that the thread was not
/// scheduled.
const LATE: Duration = Duration::from_millis(30);

/// Whether a host whose timer was due at `deadline` must handle the waiting events before the
/// timer; false without a deadline.
#[must_use]
pub fn is_late(now: Time, deadline: Option<Time>) -> bool {
    deadline.is_some_and(|deadline| now.since(deadline) > LATE)
}

/// Where an event comes from. Sources are handled in this order, and the events of one source in
/// their order of arrival.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// The socket on which adverts arrive.
    Adverts,
    /// The link to the peer's agent.
    Link,
    /// Everything on this host: commands of the operator, answers of the EC2 API, timers.
    Host,
}

/// Events that wait to be handled.
#[derive(Debug)]
pub struct Backlog<T> {
    adverts: VecDeque<T>,
    link: VecDeque<T>,
    host: VecDeque<T>,
}

impl<T> Backlog<T> {
    /// Adds an event, which is the newest of its source.
    pub fn push(&mut self, source: Source, event: T) {
        match source {
            Source::Adverts => self.adverts.push_back(event),
            Source::Link => self.link.push_back(event),
            Source::Host => self.host.push_back(event),
        }
    }

    /// Takes the event that is to be handled next; `None` if no event waits.
    pub fn pop(&mut self) -> Option<T> {
        self.adverts
            .pop_front()
            .or_else(|| self.link.pop_front())
            .or_else(|| self.host.pop_front())
    }
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            adverts: VecDeque::new(),
            link: VecDeque::new(),
            host: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> impl Strategy<Value = Source> {
        prop_oneof![
            Just(Source::Adverts),
            Just(Source::Link),
            Just(Source::Host)
        ]
    }

    #[test]
    fn a_host_is_late_when_its_timer_is_30_ms_overdue() {
        let at = |millis| Time::after_start(Duration::from_millis(millis));
        assert!(!is_late(at(130), Some(at(100))));
        assert!(is_late(at(131), Some(at(100))));
        assert!(!is_late(at(50), Some(at(100))));
        assert!(!is_late(at(1000), None));
    }

    #[test]
    fn an_advert_that_was_taken_before_the_stall_comes_before_the_goodbye_behind_it() {
        let mut backlog = Backlog::default();
        backlog.push(Source::Adverts, "held advert");
        backlog.push(Source::Adverts, "goodbye");
        backlog.push(Source::Link, "take over");
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, ["held advert", "goodbye", "take over"]);
    }

    #[test]
    fn a_message_of_the_link_that_was_taken_before_the_stall_comes_after_the_adverts() {
        let mut backlog = Backlog::default();
        backlog.push(Source::Link, "take over");
        backlog.push(Source::Adverts, "advert");
        backlog.push(Source::Link, "heartbeat");
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, ["advert", "take over", "heartbeat"]);
    }

    proptest! {
        /// A stable sort by source is the expected order: no event overtakes another of the same
        /// source.
        #[test]
        fn sources_come_in_order_and_each_in_its_order_of_arrival(
            sources in prop::collection::vec(source(), 0..100),
        ) {
            let arrived: Vec<_> = sources.into_iter().zip(0_u32..).collect();
            let mut backlog = Backlog::default();
            for event in &arrived {
                backlog.push(event.0, *event);
            }
            let handled: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
            let mut expected = arrived;
            expected.sort_by_key(|(source, _)| *source);
            prop_assert_eq!(handled, expected);
        }
    }
}
