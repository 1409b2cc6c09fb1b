//! The task that records the points of the status page's graphs, and renders the page for the
//! browsers that follow it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    Source,
    history::History,
    page::{self, Actions},
};
use crate::events::{Event, Filter};

/// Time between two renderings of the status page, unless it is large.
const EVERY: Duration = Duration::from_secs(1);
/// Number of times `EVERY` for each point of the status page's graphs, which get one every 5 s.
const TICKS_PER_POINT: u32 = 5;
/// Size in bytes up to which the status page is rendered every `EVERY`. A larger page is rendered
/// less often, so that a browser that follows it receives no more than this in each `EVERY`.
const BYTES_PER_TICK: usize = 512 * 1024;
/// Longest time between two renderings of the status page, as a number of times `EVERY`.
const LONGEST: usize = 10;
/// Number of events that the status page shows.
const EVENTS: usize = 50;

/// The status page, kept up to date.
#[derive(Clone)]
pub(super) struct Live {
    source: Arc<dyn Source>,
    history: Arc<Mutex<History>>,
    read_only: Rendered,
    with_buttons: Rendered,
}

/// The content of the status page's `<main>`, as last rendered; empty before the first browser
/// follows the page.
type Rendered = watch::Sender<Arc<str>>;

impl Live {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            history: Arc::default(),
            read_only: watch::Sender::new(Arc::from("")),
            with_buttons: watch::Sender::new(Arc::from("")),
        }
    }

    /// Returns a receiver of each rendering of the status page from now on.
    pub(super) fn follow(&self, actions: Actions) -> watch::Receiver<Arc<str>> {
        let rendered = match actions {
            Actions::Off => &self.read_only,
            Actions::ByToken | Actions::ByCertificate => &self.with_buttons,
        };
        let mut receiver = rendered.subscribe();
        receiver.mark_unchanged();
        receiver
    }

    /// Renders the whole HTML document of the status page. Blocks for some milliseconds.
    pub(super) fn document(&self, actions: Actions) -> String {
        let (status, events) = (self.source.status(), self.events());
        page::render(page::View {
            status: &status,
            history: &self.history(),
            events: &events,
            actions,
        })
    }

    /// Returns the latest events, which the status page shows, the oldest first.
    fn events(&self) -> Vec<Event> {
        let filter = Filter {
            most: Some(EVENTS),
            ..Filter::default()
        };
        self.source.events(&filter).events
    }

    /// Records points of the graphs and renders the status page, until the task is aborted.
    pub(super) async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u32;
        let mut until_render = 0_usize;
        loop {
            ticks.tick().await;
            let records = tick == 0;
            tick = (tick + 1) % TICKS_PER_POINT;
            until_render = until_render.saturating_sub(1);
            let renders = until_render == 0 && self.is_followed();
            if records || renders {
                let live = self.clone();
                // A panic in `step` has been reported by the panic hook; the next call may succeed.
                let _done = tokio::task::spawn_blocking(move || live.step(records, renders)).await;
            }
            if renders {
                let longest = self
                    .read_only
                    .borrow()
                    .len()
                    .max(self.with_buttons.borrow().len());
                until_render = ticks_for(longest);
            }
        }
    }

    /// Reads the agent's status once, adds it to the graphs if `records`, and renders the page for
    /// the browsers that follow it if `renders`.
    fn step(&self, records: bool, renders: bool) {
        let status = self.source.status();
        let mut history = self.history();
        if records {
            history.record(status.clone());
        }
        if !renders {
            return;
        }
        let events = self.events();
        for (rendered, actions) in [
            (&self.read_only, Actions::Off),
            // The content of `<main>` is the same whatever permits the changes.
            (&self.with_buttons, Actions::ByToken),
        ] {
            if rendered.receiver_count() > 0 {
                let view = page::View {
                    status: &status,
                    history: &history,
                    events: &events,
                    actions,
                };
                rendered.send_replace(page::render_main(view).into());
            }
        }
    }

    /// Returns whether a browser follows the page.
    fn is_followed(&self) -> bool {
        self.read_only.receiver_count() + self.with_buttons.receiver_count() > 0
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time from a rendering of the status page with this many bytes to the next one, as a
/// number of times `EVERY`.
fn ticks_for(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TICK).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_page_is_rendered_less_often() {
        assert_eq!(ticks_for(0), 1);
        assert_eq!(ticks_for(BYTES_PER_TICK), 1);
        assert_eq!(ticks_for(BYTES_PER_TICK + 1), 2);
        assert_eq!(ticks_for(2_700_000), 6);
        assert_eq!(ticks_for(usize::MAX), LONGEST);
    }
}
