//! The two text formats of metrics: OpenMetrics 1.0.0, and Prometheus's text format 0.0.4.

/// A text format in which the metrics are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`, which Prometheus requests.
    OpenMetrics,
    /// `text/plain; version=0.0.4`, for all other clients and for `promtool check metrics`.
    Prometheus,
}

impl Format {
    /// The media type of the format OpenMetrics, without parameters.
    pub const OPEN_METRICS: &'static str = "application/openmetrics-text";

    /// Returns the value of the header field Content-Type for this format.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Converts OpenMetrics to Prometheus's text format. The formats differ in the name of a counter's
/// family, which includes `_total` only in Prometheus's, and in the line `# EOF`, which only
/// OpenMetrics has.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if let Some(help) = line.strip_prefix("# HELP ") {
            // The TYPE line, which says whether this is a counter, follows the HELP line.
            push(&mut text, "# HELP ", help, is_counter(next));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            push(&mut text, "# TYPE ", kind, is_counter(line));
        } else if line != "# EOF" {
            push(&mut text, "", line, false);
        }
    }
    text
}

fn is_counter(line: &str) -> bool {
    line.starts_with("# TYPE ") && line.ends_with(" counter")
}

fn push(text: &mut String, prefix: &str, rest: &str, is_counter: bool) {
    text.push_str(prefix);
    match rest.split_once(' ') {
        Some((name, rest)) if is_counter => {
            text.push_str(name);
            text.push_str("_total ");
            text.push_str(rest);
        }
        _ => text.push_str(rest),
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_its_total_in_the_name_of_its_family() {
        let open_metrics = "# HELP lb_x Packets.\n# TYPE lb_x counter\nlb_x_total{a=\"b c\"} 1\n\
                            # HELP lb_y State.\n# TYPE lb_y gauge\nlb_y 2.5\n# EOF\n";
        let prometheus = "# HELP lb_x_total Packets.\n# TYPE lb_x_total counter\n\
                          lb_x_total{a=\"b c\"} 1\n\
                          # HELP lb_y State.\n# TYPE lb_y gauge\nlb_y 2.5\n";
        assert_eq!(to_prometheus(open_metrics), prometheus);
    }
}
