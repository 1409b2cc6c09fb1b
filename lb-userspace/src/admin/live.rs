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

use super::{Source, history::History, page};
use crate::events::{Event, Filter};

/// Time between two renderings of the status page.
const EVERY: Duration = Duration::from_secs(1);
/// Number of renderings of the status page for each point of its graphs, which get one every 5 s.
const TICKS_PER_POINT: u32 = 5;
/// Number of events that the status page shows.
const EVENTS: usize = 50;

/// The status page, kept up to date.
#[derive(Clone)]
pub(super) struct Live {
    source: Arc<dyn Source>,
    history: Arc<Mutex<History>>,
    /// The content of the status page's `<main>`, as last rendered; empty before the first browser
    /// follows the page.
    rendered: watch::Sender<Arc<str>>,
    has_actions: bool,
}

impl Live {
    /// Creates the status page. `has_actions` says that the page has buttons that change something.
    pub(super) fn new(source: Arc<dyn Source>, has_actions: bool) -> Self {
        Self {
            source,
            history: Arc::default(),
            rendered: watch::Sender::new(Arc::from("")),
            has_actions,
        }
    }

    /// Returns a receiver of each rendering of the status page from now on.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<str>> {
        let mut receiver = self.rendered.subscribe();
        receiver.mark_unchanged();
        receiver
    }

    /// Renders the whole HTML document of the status page. Blocks for some milliseconds.
    pub(super) fn document(&self) -> String {
        let (status, events) = (self.source.status(), self.events());
        page::render(page::View {
            status: &status,
            history: &self.history(),
            events: &events,
            has_actions: self.has_actions,
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
        loop {
            ticks.tick().await;
            let records = tick == 0;
            tick = (tick + 1) % TICKS_PER_POINT;
            if records || self.rendered.receiver_count() > 0 {
                let live = self.clone();
                // A panic in `step` has been reported by the panic hook; the next call may succeed.
                let _done = tokio::task::spawn_blocking(move || live.step(records)).await;
            }
        }
    }

    /// Reads the agent's status once, adds it to the graphs if `records`, and renders the page if
    /// browsers follow it.
    fn step(&self, records: bool) {
        let status = self.source.status();
        let mut history = self.history();
        if records {
            history.record(status.clone());
        }
        if self.rendered.receiver_count() > 0 {
            let events = self.events();
            let view = page::View {
                status: &status,
                history: &history,
                events: &events,
                has_actions: self.has_actions,
            };
            self.rendered.send_replace(page::render_main(view).into());
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
