//! The source of the dashboards in `deploy/grafana/dashboards`.
//!
//! Grafana's JSON takes some sixty lines for a panel, of which a handful differ between panels. So
//! each dashboard is a table of panels here, and [`json`] adds what all panels have in common.
//! `tests/tests/grafana.rs` compares the files with this source, and writes them with `UPDATE=1`.

mod certificates;
mod data_plane;
mod failover;
mod http;
mod json;
mod node;
mod overview;

/// All Grafana dashboards of `lb`.
pub const ALL: &[Dashboard] = &[
    overview::DASHBOARD,
    data_plane::DASHBOARD,
    http::DASHBOARD,
    failover::DASHBOARD,
    certificates::DASHBOARD,
    node::DASHBOARD,
];

/// A Grafana dashboard: rows of panels, and what its variables are filled from.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// Name of the dashboard's file, and the part of its URL that never changes.
    pub uid: &'static str,
    /// Title of the dashboard.
    pub title: &'static str,
    /// What the dashboard shows, as a sentence that Grafana displays.
    pub description: &'static str,
    /// The metric whose labels `job` and `instance` give the choices of the dashboard's variables.
    pub hosts: &'static str,
    /// The scrape job of Prometheus that is selected when the dashboard is opened.
    pub job: &'static str,
    /// The rows of the dashboard, each with its title and its panels.
    pub rows: &'static [(&'static str, &'static [Panel])],
}

/// A panel of a Grafana dashboard: one graph or table.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Title of the panel.
    pub title: &'static str,
    /// What the panel shows, and what to look for.
    pub description: &'static str,
    /// How the panel draws the values of its queries.
    pub kind: Kind,
    /// Unit of the panel's values, by Grafana's name for the unit.
    pub unit: &'static str,
    /// PromQL queries of the panel, each with the name that the legend gives to its series.
    pub queries: &'static [(&'static str, &'static str)],
    /// Values, each with the colour that is shown from that value on; below the first value the
    /// colour is green.
    pub thresholds: &'static [(f64, &'static str)],
    /// Whether small values are bad: below the first threshold the colour is then red, not green.
    pub low_is_bad: bool,
    /// Values for which the panel shows a word, each with the word and its colour.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// Width of the panel, in columns of Grafana's grid, which has 24.
    pub width: u32,
}

/// How a panel draws the values of its queries.
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

/// PromQL queries of a panel, each with the name that the legend gives to its series.
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

/// Returns a panel with a table that has a row for each series.
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

/// Returns a panel with a band for each series, coloured by its state over time.
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

/// Words and colours that a panel shows for the values 0 and 1 of a metric (a gauge) that is 1 in a
/// healthy system.
const UP: &[(&str, &str, &str)] = &[("0", "down", "red"), ("1", "up", "green")];

impl Panel {
    /// Sets the panel's thresholds: values with the colours from there on, such as yellow from the
    /// first value and red from the second; below the first the colour is green.
    const fn limits(self, thresholds: &'static [(f64, &'static str)]) -> Self {
        Self { thresholds, ..self }
    }

    /// Sets the panel's thresholds, with red below the first value, and from each value on its
    /// colour.
    const fn low(self, thresholds: &'static [(f64, &'static str)]) -> Self {
        Self {
            thresholds,
            low_is_bad: true,
            ..self
        }
    }

    /// Makes the panel show words in place of values.
    const fn words(self, words: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { words, ..self }
    }

    /// Sets the panel's width, in columns of Grafana's grid, which has 24.
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
