//! The tables of `lb top`: their columns, the order of their rows, and the filter by name. Needs no
//! terminal.

use std::{cmp::Ordering, time::Duration};

use super::rates::{BackendRates, Rates, ServiceRates};
use crate::{
    admin::State,
    cli::table::{Align, Style},
};

/// The value by which the rows of a table of `lb top` are ordered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Sort {
    /// The rows have the order of the configuration.
    #[default]
    Configuration,
    Name,
    Connections,
    Requests,
    Bytes,
    Errors,
}

impl Sort {
    /// Returns the order that follows this one when the operator presses `s`, which goes through
    /// all orders.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Configuration => Self::Name,
            Self::Name => Self::Connections,
            Self::Connections => Self::Requests,
            Self::Requests => Self::Bytes,
            Self::Bytes => Self::Errors,
            Self::Errors => Self::Configuration,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Name => "name",
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Errors => "errors",
        }
    }
}

/// A table of `lb top` with its title. Each row has a cell, with its style, for every column.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    pub(super) title: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<(String, Style)>>,
}

/// A column of a table of `lb top`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    /// On a terminal that is too narrow, the column with the highest rank is left out first.
    pub(super) rank: u8,
}

const fn left(title: &'static str, rank: u8) -> Column {
    Column {
        title,
        align: Align::Left,
        rank,
    }
}

const fn right(title: &'static str, rank: u8) -> Column {
    Column {
        title,
        align: Align::Right,
        rank,
    }
}

impl Sheet {
    /// Returns the indices of the columns to show in `width` characters, in ascending order. If not
    /// even one column fits, one is shown anyway.
    pub(super) fn fitting(&self, width: usize) -> Vec<usize> {
        let widths = self.widths();
        let mut places: Vec<usize> = (0..self.columns.len()).collect();
        let taken = |places: &[usize]| -> usize { places.iter().map(|it| widths[*it] + 2).sum() };
        while places.len() > 1 && taken(&places) > width + 2 {
            let last = places
                .iter()
                .copied()
                .max_by_key(|it| (self.columns[*it].rank, *it));
            places.retain(|it| Some(*it) != last);
        }
        places
    }

    /// Returns the width of each column in characters: that of its longest cell or of its title.
    pub(super) fn widths(&self) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        let widths = columns.map(|(place, column)| {
            let cells = self.rows.iter().map(|row| row[place].0.chars().count());
            cells.max().unwrap_or(0).max(column.title.chars().count())
        });
        widths.collect()
    }
}

/// Returns the table of the services whose name contains `filter`.
pub(super) fn services(rates: &Rates, sort: Sort, filter: &str) -> Sheet {
    let mut rows: Vec<_> = rates
        .services
        .iter()
        .filter(|it| it.name.contains(filter))
        .collect();
    rows.sort_by(|one, other| match sort {
        Sort::Configuration => Ordering::Equal,
        Sort::Name => one.name.cmp(&other.name),
        Sort::Connections => down(one.connections, other.connections),
        Sort::Requests => down(one.requests, other.requests),
        Sort::Bytes => down(bytes(one), bytes(other)),
        Sort::Errors => down(one.errors, other.errors),
    });
    Sheet {
        title: "services",
        columns: vec![
            left("SERVICE", 0),
            left("LISTEN", 7),
            left("MODE", 8),
            left("UP", 1),
            right("OPEN", 4),
            right("NEW/S", 2),
            right("REQ/S", 2),
            right("IN B/S", 5),
            right("OUT B/S", 5),
            right("ERR/S", 3),
        ],
        rows: rows.into_iter().map(service_row).collect(),
    }
}

/// Returns the table of the backends whose name in the form `POOL/NAME` contains `filter`.
pub(super) fn backends(rates: &Rates, sort: Sort, filter: &str) -> Sheet {
    let matches = |it: &&BackendRates| format!("{}/{}", it.pool, it.name).contains(filter);
    let mut rows: Vec<_> = rates.backends.iter().filter(matches).collect();
    rows.sort_by(|one, other| match sort {
        Sort::Configuration => Ordering::Equal,
        Sort::Name => (&one.pool, &one.name).cmp(&(&other.pool, &other.name)),
        Sort::Connections => down(one.connections, other.connections),
        Sort::Requests => down(one.requests, other.requests),
        Sort::Bytes => down(one.bytes, other.bytes),
        // There is no count of errors of a backend: backends whose last health check failed come
        // first.
        Sort::Errors => other.failure.is_some().cmp(&one.failure.is_some()),
    });
    Sheet {
        title: "backends",
        columns: vec![
            left("BACKEND", 0),
            left("ADDRESS", 7),
            left("STATE", 1),
            right("OPEN", 5),
            right("NEW/S", 2),
            right("REQ/S", 2),
            right("B/S", 6),
            right("CHECK", 3),
            left("FAILURE", 4),
        ],
        rows: rows.into_iter().map(backend_row).collect(),
    }
}

/// Returns the table of dropped packets by reason.
pub(super) fn drops(rates: &Rates) -> Sheet {
    let rows = rates.drops.iter().map(|(reason, rate, packets)| {
        let style = if rate.is_some_and(|rate| rate > 0.0) {
            Style::Yellow
        } else {
            Style::Plain
        };
        vec![
            (reason.clone(), Style::Plain),
            (number(*rate), style),
            (packets.to_string(), Style::Plain),
        ]
    });
    Sheet {
        title: "dropped packets",
        columns: vec![left("REASON", 0), right("DROPS/S", 1), right("TOTAL", 2)],
        rows: rows.collect(),
    }
}

fn service_row(it: &ServiceRates) -> Vec<(String, Style)> {
    let (up, all) = it.up;
    let style = match up {
        0 => Style::Red,
        _ if up < all => Style::Yellow,
        _ => Style::Green,
    };
    let errors = if it.errors.is_some_and(|errors| errors > 0.0) {
        Style::Red
    } else {
        Style::Plain
    };
    let open = it.open.map_or_else(dash, |open| open.to_string());
    vec![
        (it.name.clone(), Style::Bold),
        (it.listen.clone(), Style::Plain),
        (it.mode.clone(), Style::Plain),
        (format!("{up}/{all}"), style),
        (open, Style::Plain),
        (number(it.connections), Style::Plain),
        (number(it.requests), Style::Plain),
        (number(it.bytes_in), Style::Plain),
        (number(it.bytes_out), Style::Plain),
        (number(it.errors), errors),
    ]
}

fn backend_row(it: &BackendRates) -> Vec<(String, Style)> {
    let (state, style) = match it.state {
        State::Up if it.ejected => ("ejected", Style::Yellow),
        State::Up => ("up", Style::Green),
        State::Draining => ("draining", Style::Yellow),
        State::Down => ("down", Style::Red),
    };
    let check = it.check.map_or_else(dash, milliseconds);
    vec![
        (format!("{}/{}", it.pool, it.name), Style::Bold),
        (it.address.clone(), Style::Plain),
        (state.to_owned(), style),
        (it.open.to_string(), Style::Plain),
        (number(it.connections), Style::Plain),
        (number(it.requests), Style::Plain),
        (number(it.bytes), Style::Plain),
        (check, Style::Plain),
        (it.failure.clone().unwrap_or_default(), Style::Red),
    ]
}

fn bytes(it: &ServiceRates) -> Option<f64> {
    Some(it.bytes_in? + it.bytes_out.unwrap_or(0.0))
}

/// Compares two rates so that the higher one comes first; `None` comes last.
fn down(one: Option<f64>, other: Option<f64>) -> Ordering {
    other.unwrap_or(-1.0).total_cmp(&one.unwrap_or(-1.0))
}

fn dash() -> String {
    "-".to_owned()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Formats a rate with about three digits: `0`, `0.4`, `87`, `1.2k`, `34M`.
pub(super) fn number(rate: Option<f64>) -> String {
    let Some(rate) = rate else {
        return dash();
    };
    let (mut scaled, mut unit) = (rate, "");
    for next in ["k", "M", "G", "T"] {
        if scaled < 999.5 {
            break;
        }
        (scaled, unit) = (scaled / 1000.0, next);
    }
    if scaled == 0.0 {
        "0".to_owned()
    } else if scaled < 9.95 {
        format!("{scaled:.1}{unit}")
    } else {
        format!("{scaled:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::examples_of_status as status;

    fn rates() -> Rates {
        let mut rates = Rates::between(None, &status());
        rates.backends[0].requests = Some(1.0);
        rates.backends[2].requests = Some(12_345.0);
        rates
    }

    fn first(sheet: &Sheet) -> Vec<&str> {
        sheet.rows.iter().map(|row| &*row[0].0).collect()
    }

    #[test]
    fn rates_have_about_three_digits() {
        let shown = [
            0.0,
            0.04,
            0.4,
            9.94,
            87.4,
            999.4,
            1234.0,
            12_345.0,
            34_000_000.0,
            5e12,
        ];
        let shown: Vec<_> = shown.into_iter().map(|rate| number(Some(rate))).collect();
        let wanted = [
            "0", "0.0", "0.4", "9.9", "87", "999", "1.2k", "12k", "34M", "5.0T",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(number(None), "-");
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let rates = rates();
        let by = |sort, filter| {
            let sheet = backends(&rates, sort, filter);
            first(&sheet)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            by(Sort::Configuration, ""),
            ["web/web1", "web/web2", "web/web3"]
        );
        assert_eq!(by(Sort::Requests, ""), ["web/web3", "web/web1", "web/web2"]);
        assert_eq!(by(Sort::Errors, ""), ["web/web3", "web/web1", "web/web2"]);
        assert_eq!(by(Sort::Requests, "web2"), ["web/web2"]);
        assert_eq!(first(&services(&rates, Sort::Name, "s")), ["https"]);
    }

    #[test]
    fn each_order_is_reached_by_the_key_and_returns_to_the_first() {
        let mut sort = Sort::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(sort.as_str());
            sort = sort.next();
        }
        assert_eq!(sort, Sort::default());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_narrow_terminal_has_the_columns_that_matter_most() {
        let sheet = services(&rates(), Sort::default(), "");
        let titles = |width| -> Vec<_> {
            let places = sheet.fitting(width);
            places
                .into_iter()
                .map(|it| sheet.columns[it].title)
                .collect()
        };
        assert_eq!(titles(200).len(), sheet.columns.len());
        assert_eq!(titles(30), ["SERVICE", "UP", "NEW/S", "REQ/S"]);
        assert_eq!(titles(1), ["SERVICE"]);
        for width in 10..200 {
            let taken: usize = sheet
                .fitting(width)
                .iter()
                .map(|it| sheet.widths()[*it] + 2)
                .sum();
            assert!(taken <= width + 2, "{width}");
        }
    }
}
