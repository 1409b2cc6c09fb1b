//! Prints the figures of the XDP benchmark as a table, and the highest acceptable values.

use super::{Figures, Time, Times};
use crate::table::{Column, Table, grouped};

/// The label, in the printed table, of one path of a packet through the XDP program, and the
/// highest acceptable values of its ratios.
struct Row {
    path: &'static str,
    label: &'static str,
    /// Highest acceptable ratio of the time per packet of `lb` to that of Katran; `None` if there
    /// is none.
    to_katran: Option<f64>,
    /// Highest acceptable ratio of the time per packet of `lb` to its time without connections that
    /// open and close; `None` if there is none.
    to_quiet: Option<f64>,
}

const fn row(path: &'static str, label: &'static str, to_katran: Option<f64>) -> Row {
    Row {
        path,
        label,
        to_katran,
        to_quiet: None,
    }
}

const ROWS: [Row; 14] = [
    row("known", "known connection, to the backend", Some(0.18)),
    row("back", "the same, to the client", None),
    row("thousand", "known, 1,000 in turn", None),
    row("many", "known, 16,384 in turn", Some(0.7)),
    row("million", "known, 1,000,000 in turn", Some(0.6)),
    row("new", "new connection", Some(0.5)),
    row("flood", "the same, once Katran writes none", None),
    row("occupied", "new, 70% of the source ports taken", None),
    row("not-ours", "not ours", Some(0.2)),
    row("elsewhere", "a service's port elsewhere", Some(0.7)),
    Row {
        to_quiet: Some(1.5),
        ..row("churn", "known, while others open and close", None)
    },
    Row {
        to_quiet: Some(1.5),
        ..row("churn-thousand", "1,000 in turn, likewise", None)
    },
    row("all-cpus", "known, one on each CPU at once", None),
    row("shared", "known, the same one on all CPUs", None),
];

/// Prints the figures as a table, with notes.
pub(super) fn print(figures: &Figures) {
    let times = &figures.times;
    let beside_katran = times.paths.iter().any(|time| time.katran_ns.is_some());
    if beside_katran {
        println!("{}", beside(times));
    } else {
        println!("{}", alone(times));
    }
    let jit = if figures.compiler { "on" } else { "OFF" };
    println!("{}, BPF JIT {jit}", figures.machine);
    println!(
        "Nanoseconds a packet, less the {:.1} of an empty program: BPF_PROG_TEST_RUN, repeat = 1, \
         in a loop; the mean of the durations that the kernel reports, the median over {} \
         interleaved rounds. Tables for {} connections.",
        times.empty_ns,
        times.rounds,
        grouped(times.max_connections.into())
    );
    if let Some(lowest) = times.lowest_churn_rate {
        println!(
            "Others open and close on a second CPU, {} a second (in the slowest round {lowest:.0}).",
            grouped(times.churn_rate.into())
        );
    }
    if let Some(refused) = times.occupied_refused {
        println!(
            "Where 70% of the source ports were taken, {:.1}% of new connections found none.",
            100.0 * refused
        );
    }
}

fn alone(times: &Times) -> Table<4> {
    let mut table = Table::new([
        Column::Left("XDP, IPv4 TCP"),
        Column::Right("ns a packet"),
        Column::Right("with the empty program"),
        Column::Right("to quiet"),
    ]);
    for (row, time) in rows(times) {
        if let Some(own) = time.lb_ns {
            table.row([
                row.label.to_owned(),
                format!("{own:.1}"),
                format!("{:.1}", own + times.empty_ns),
                ratio(time.lb_to_quiet),
            ]);
        }
    }
    table
}

fn beside(times: &Times) -> Table<7> {
    let mut table = Table::new([
        Column::Left("XDP, IPv4 TCP"),
        Column::Right("lb, ns"),
        Column::Right("Katran, ns"),
        Column::Right("lb / Katran"),
        Column::Right("lb to quiet"),
        Column::Right("Katran to quiet"),
        Column::Left("goal"),
    ]);
    for (row, time) in rows(times) {
        table.row([
            row.label.to_owned(),
            nanoseconds(time.lb_ns),
            nanoseconds(time.katran_ns),
            ratio(time.ratio),
            ratio(time.lb_to_quiet),
            ratio(time.katran_to_quiet),
            row.goal(time),
        ]);
    }
    table
}

/// Returns the measured paths of a packet through the XDP program with their labels, in the order
/// of the printed table.
fn rows(times: &Times) -> impl Iterator<Item = (&'static Row, &Time)> {
    ROWS.iter().filter_map(|row| {
        let time = times.paths.iter().find(|time| time.path == row.path)?;
        Some((row, time))
    })
}

impl Row {
    /// Formats the highest acceptable ratio of a path of a packet through the XDP program, and
    /// whether the figures meet it; empty if the path has none.
    fn goal(&self, time: &Time) -> String {
        let (at_most, reached, of) = match (self.to_katran, self.to_quiet) {
            (Some(at_most), _) => (at_most, time.ratio, ""),
            (None, Some(at_most)) => (at_most, time.lb_to_quiet, " to quiet"),
            (None, None) => return String::new(),
        };
        let met = match reached {
            Some(reached) if reached <= at_most => ", met",
            Some(_) => ", missed",
            None => "",
        };
        format!("≤ {at_most}{of}{met}")
    }
}

fn nanoseconds(time: Option<f64>) -> String {
    time.map_or_else(String::new, |time| format!("{time:.1}"))
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(path: &str, ratio: Option<f64>, lb_to_quiet: Option<f64>) -> Time {
        Time {
            path: path.to_owned(),
            lb_ns: Some(20.0),
            katran_ns: ratio.map(|ratio| 20.0 / ratio),
            ratio,
            lb_to_quiet,
            katran_to_quiet: None,
        }
    }

    fn goal(time: &Time) -> String {
        let row = ROWS.iter().find(|row| row.path == time.path);
        row.expect("a row of the table").goal(time)
    }

    #[test]
    fn a_goal_is_met_up_to_its_ratio() {
        assert_eq!(goal(&time("known", Some(0.18), None)), "≤ 0.18, met");
        assert_eq!(goal(&time("known", Some(0.19), None)), "≤ 0.18, missed");
        assert_eq!(goal(&time("known", None, None)), "≤ 0.18");
        assert_eq!(goal(&time("back", None, None)), "");
    }

    #[test]
    fn churn_is_compared_with_the_same_balancer_in_quiet() {
        assert_eq!(
            goal(&time("churn", Some(3.0), Some(1.4))),
            "≤ 1.5 to quiet, met"
        );
    }
}
