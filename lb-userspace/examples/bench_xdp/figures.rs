//! Printed figures: medians over the rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::path::Path;

/// The figures of all rounds, in nanoseconds a packet.
#[derive(Default)]
pub(crate) struct Rounds {
    empty: Vec<f64>,
    lb: BTreeMap<Path, Vec<f64>>,
    katran: BTreeMap<Path, Vec<f64>>,
}

/// All figures, each the median over the rounds.
#[derive(Serialize)]
pub(crate) struct Figures {
    /// Nanoseconds of the empty program: the overhead of the measurement.
    pub(crate) empty_ns: f64,
    /// Number of rounds.
    pub(crate) rounds: u32,
    /// Capacity of the connection tables, in connections.
    pub(crate) max_connections: u32,
    /// Number of CPUs.
    pub(crate) cpus: usize,
    /// Requested rate of connections that open and close, in connections per second.
    pub(crate) churn_rate: u32,
    /// The lowest rate in any round at which connections opened and closed, in connections per
    /// second.
    pub(crate) lowest_churn_rate: Option<f64>,
    /// Share of new connections that were dropped with 70% of the source ports in use; `None` if
    /// this was not measured.
    pub(crate) occupied_refused: Option<f64>,
    /// The figures of each measured path of a packet through the program.
    pub(crate) paths: Vec<Figure>,
}

/// The figures of one path of a packet through the program. Each ratio is the median of the ratios
/// within single rounds.
#[derive(Serialize)]
pub(crate) struct Figure {
    path: Path,
    /// Nanoseconds of a packet through `lb`, less the empty program's; `None` if not measured.
    lb_ns: Option<f64>,
    /// Nanoseconds of a packet through Katran, less the empty program's; `None` if not measured.
    katran_ns: Option<f64>,
    /// Ratio of `lb`'s nanoseconds to Katran's; `None` unless both were measured.
    ratio: Option<f64>,
    /// Ratio of `lb`'s nanoseconds to those on the same path without connections that open and
    /// close on another CPU; `None` if the path has no such connections.
    lb_to_quiet: Option<f64>,
    /// Ratio of Katran's nanoseconds to those on the same path without connections that open and
    /// close on another CPU; `None` if the path has no such connections.
    katran_to_quiet: Option<f64>,
}

impl Rounds {
    /// Records the time of a packet in the empty program, in nanoseconds, in one round.
    pub(crate) fn note_empty(&mut self, empty: f64) {
        self.empty.push(empty);
    }

    /// Records the nanoseconds per packet of `lb` and of Katran on one path through the program, in
    /// one round.
    pub(crate) fn note(&mut self, path: Path, lb: Option<f64>, katran: Option<f64>) {
        self.lb.entry(path).or_default().extend(lb);
        self.katran.entry(path).or_default().extend(katran);
    }

    /// Returns the median time of the empty program in nanoseconds.
    pub(crate) fn empty(&self) -> f64 {
        median(self.empty.clone()).unwrap_or_default()
    }

    /// Returns the figures of all measured paths of a packet through the program, in order.
    pub(crate) fn paths(&self) -> Vec<Figure> {
        let of =
            |side: &BTreeMap<Path, Vec<f64>>, path| side.get(&path).cloned().unwrap_or_default();
        let figure = |path: Path| {
            let (lb, katran) = (of(&self.lb, path), of(&self.katran, path));
            let to_quiet = |side: &BTreeMap<Path, Vec<f64>>, own: &[f64]| {
                path.quiet().and_then(|quiet| ratio(own, &of(side, quiet)))
            };
            Figure {
                path,
                ratio: ratio(&lb, &katran),
                lb_to_quiet: to_quiet(&self.lb, &lb),
                katran_to_quiet: to_quiet(&self.katran, &katran),
                lb_ns: median(lb),
                katran_ns: median(katran),
            }
        };
        self.lb.keys().copied().map(figure).collect()
    }
}

/// Returns the median, over the rounds, of the ratios of `of` to `to`; `None` if there are no
/// rounds with both figures.
fn ratio(of: &[f64], to: &[f64]) -> Option<f64> {
    median(of.iter().zip(to).map(|(of, to)| of / to).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
