//! Draws the small graphs of the status page, as SVG.

use std::fmt::{self, Write};

use super::Series;
use crate::admin::{
    history::POINTS,
    wording::{count, milliseconds},
};

/// Height of a graph, in units of its SVG coordinates.
const HEIGHT: f32 = 28.0;
/// Width of the bar that shows one health check, with the gap to the next bar, in units of the SVG
/// coordinates.
const BAR: usize = 4;

/// Writes a line of the values of the last 15 minutes, the newest at the right edge. Zero is the
/// lower edge, the peak the upper one. `label` says what is shown, `format` formats a value.
pub(super) fn write(
    page: &mut String,
    series: &Series,
    label: &str,
    format: impl Fn(f32) -> String,
) -> fmt::Result {
    let peak = series.peak();
    let summary = match (peak, series.last()) {
        (Some(peak), Some(last)) => format!("now {}, peak {}", format(last), format(peak)),
        (Some(peak), None) => format!("peak {}", format(peak)),
        (None, _) => "no data yet".to_owned(),
    };
    write!(
        page,
        "<svg class=\"graph\" viewBox=\"0 0 {POINTS} {HEIGHT}\" preserveAspectRatio=\"none\" \
         role=\"img\" aria-label=\"{label} in the last 15 minutes: {summary}\"><path d=\""
    )?;
    write_path(page, series, peak.unwrap_or_default())?;
    page.write_str("\"/></svg>")
}

/// Writes the path of a graph's line. Unknown values interrupt the line.
fn write_path(page: &mut String, series: &Series, peak: f32) -> fmt::Result {
    let values = series.values();
    let first = POINTS - values.len();
    let mut is_drawing = false;
    for (place, value) in values.enumerate() {
        let Some(value) = value else {
            is_drawing = false;
            continue;
        };
        let part = if peak > 0.0 { value / peak } else { 0.0 };
        let height = (HEIGHT - 1.0) - part * (HEIGHT - 2.0);
        let x = first + place;
        if is_drawing {
            write!(page, "L{x} {height:.1}")?;
        } else {
            // A line of no length is drawn as a dot: a value between two unknown ones is visible.
            write!(page, "M{x} {height:.1}h0")?;
        }
        is_drawing = true;
    }
    Ok(())
}

/// Writes a bar for each of the most recent health checks: its height is the duration; a failed
/// check has the full height and the colour of failure.
pub(super) fn write_checks(page: &mut String, checks: &[Option<f64>]) -> fmt::Result {
    let longest = checks.iter().flatten().copied().fold(0.0, f64::max);
    let failed = checks.iter().filter(|check| check.is_none()).count();
    let summary = match (checks.len(), failed) {
        (0, _) => "no checks yet".to_owned(),
        (1, 0) => format!("the only check passed in {}", milliseconds(longest)),
        (1, _) => "the only check failed".to_owned(),
        (all, 0) => format!(
            "all of the last {all} checks passed, longest {}",
            milliseconds(longest)
        ),
        (all, failed) => format!("{failed} of the last {all} checks failed"),
    };
    let width = BAR * 40;
    write!(
        page,
        "<svg class=\"checks\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" \
         role=\"img\" aria-label=\"{summary}\">"
    )?;
    let first = 40_usize.saturating_sub(checks.len());
    for (place, check) in checks.iter().enumerate() {
        let (class, part) = match check {
            None => ("failed", 1.0),
            Some(seconds) if longest > 0.0 => ("passed", 0.15 + 0.6 * (seconds / longest) as f32),
            Some(_instant) => ("passed", 0.15),
        };
        let height = part * HEIGHT;
        write!(
            page,
            "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\"/>",
            (first + place) * BAR,
            HEIGHT - height,
            BAR - 1,
        )?;
    }
    page.write_str("</svg>")
}

/// Formats a rate: `0.4/s`, `12,345/s`.
pub(super) fn rate(rate: f32) -> String {
    if rate > 0.0 && rate < 10.0 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", count(rate.round() as u64))
    }
}

/// Formats a latency given in seconds: `0.42 ms`.
pub(super) fn latency(seconds: f32) -> String {
    milliseconds(f64::from(seconds))
}
