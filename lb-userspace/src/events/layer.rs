//! Collects the lines of the log that are events.

use std::time::SystemTime;

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, filter_fn},
    layer::Context,
    registry::LookupSpan,
};

use super::{Journal, Kind, Line, Severity};

/// The name of the field that makes a line of the log an event. Its value is the name of a
/// [`Kind`].
const MARK: &str = "event";

/// Records the lines of the log that have the field `event` in a [`Journal`].
#[derive(Debug)]
pub struct Layer {
    journal: Journal,
}

impl Layer {
    /// Creates the layer, with a filter that selects the lines of events: they are recorded
    /// whatever the level of the log, and other lines cost nothing.
    pub fn of<S>(journal: &Journal) -> impl tracing_subscriber::Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let layer = Self {
            journal: journal.clone(),
        };
        // No event has a lower level than `INFO`, so lines of lower levels need not be examined.
        let marked = filter_fn(is_marked).with_max_level_hint(LevelFilter::INFO);
        tracing_subscriber::Layer::with_filter(layer, marked)
    }
}

fn is_marked(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.fields().field(MARK).is_some()
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::of(event);
        let kind = line.fields.remove(MARK);
        let kind = kind.as_ref().and_then(|word| Kind::of(word.as_str()?));
        debug_assert!(kind.is_some(), "not a kind of event: {event:?}");
        if let Some(kind) = kind {
            let severity = Severity::from(event.metadata().level());
            self.journal.record(kind, severity, line, SystemTime::now());
        }
    }
}
