//! The source of the dashboards in `deploy/grafana/dashboards`.
//!
//! Grafana's JSON takes some sixty lines for a panel, of which a handful differ between panels. So each
//! dashboard is a table of panels here, and [`json`] adds the rest. `tests/tests/grafana.rs` compares the
//! files with this source, and writes them with `UPDATE=1`.

mod certificates;
mod data_plane;
mod failover;
mod http;
mod json;
mod node;
mod overview;

/// All dashboards.
pub const ALL: &[Dashboard] = &[
    overview::DASHBOARD,
    data_plane::DASHBOARD,
    http::DASHBOARD,
    failover::DASHBOARD,
    certificates::DASHBOARD,
    node::DASHBOARD,
];

/// A dashboard: rows of panels, and what its variables are filled from.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// Name of the file, and the permanent part of the dashboard's address.
    pub uid: &'static str,
    /// Title.
    pub title: &'static str,
    /// What the dashboard answers.
    pub description: &'static str,
    /// The metric whose labels `job` and `instance` the variables offer.
    pub hosts: &'static str,
    /// The job that is selected at first.
    pub job: &'static str,
    /// The rows: title and panels.
    pub rows: &'static [(&'static str, &'static [Panel])],
}

/// A panel.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Title.
    pub title: &'static str,
    /// What the panel shows, and what to look for.
    pub description: &'static str,
    /// How the values are drawn.
    pub kind: Kind,
    /// Unit of the values, by Grafana's name for it.
    pub unit: &'static str,
    /// Queries with the names of their series.
    pub queries: &'static [(&'static str, &'static str)],
    /// From which value on which colour is shown; below the first one it is green.
    pub thresholds: &'static [(f64, &'static str)],
    /// Whether the smallest values are the bad ones: red below the first threshold.
    pub low_is_bad: bool,
    /// Words that are shown in place of values, with their colours.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// Width in Grafana's grid of 24 columns.
    pub width: u32,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Lines over time.
    Lines,
    /// Lines that are stacked on each other.
    Stacked,
    /// The last value of each series, large.
    Stat,
    /// A table with a row for each series.
    Table,
    /// A band for each series, coloured by its value over time.
    Timeline,
}

/// Queries with the names of their series.
type Queries = &'static [(&'static str, &'static str)];

/// Returns a panel of lines over time.
const fn lines(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: Queries,
) -> Panel {
    Panel {
        title,
        description,
        kind: Kind::Lines,
        unit,
        queries,
        thresholds: &[],
        low_is_bad: false,
        words: &[],
        width: 8,
    }
}

/// Returns a panel of stacked lines over time.
const fn stacked(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: Queries,
) -> Panel {
    Panel {
        kind: Kind::Stacked,
        ..lines(title, unit, description, queries)
    }
}

/// Returns a panel with the last value of each series.
const fn stat(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: Queries,
) -> Panel {
    Panel {
        kind: Kind::Stat,
        width: 4,
        ..lines(title, unit, description, queries)
    }
}

/// Returns a table with a row for each series.
const fn table(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: Queries,
) -> Panel {
    Panel {
        kind: Kind::Table,
        width: 12,
        ..lines(title, unit, description, queries)
    }
}

/// Returns bands of states over time.
const fn timeline(
    title: &'static str,
    description: &'static str,
    queries: Queries,
    words: &'static [(&'static str, &'static str, &'static str)],
) -> Panel {
    Panel {
        kind: Kind::Timeline,
        words,
        width: 12,
        ..lines(title, "none", description, queries)
    }
}

/// 0 and 1 of a gauge that is 1 in a healthy system.
const UP: &[(&str, &str, &str)] = &[("0", "down", "red"), ("1", "up", "green")];

impl Panel {
    /// Shows yellow from the first value on, and red from the second.
    const fn limits(self, thresholds: &'static [(f64, &'static str)]) -> Self {
        Self { thresholds, ..self }
    }

    /// Shows red below the first value, and the colours of the thresholds from there on.
    const fn low(self, thresholds: &'static [(f64, &'static str)]) -> Self {
        Self {
            thresholds,
            low_is_bad: true,
            ..self
        }
    }

    /// Shows words in place of values.
    const fn words(self, words: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { words, ..self }
    }

    /// Makes the panel this wide.
    const fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    /// Returns a query as Prometheus gets it if all hosts of the job are selected, with rates over
    /// `interval`.
    #[must_use]
    pub fn resolved(query: &str, job: &str, interval: &str) -> String {
        query
            .replace("$__rate_interval", interval)
            .replace("$job", job)
            .replace("$instance", ".+")
    }
}
