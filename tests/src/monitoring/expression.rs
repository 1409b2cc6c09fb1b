//! The names of metrics in a PromQL expression.

use std::collections::BTreeSet;

/// Words of PromQL that are followed by a list of labels in parentheses.
const GROUPING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Words of PromQL that are no metric although no parenthesis follows: operators, numbers, and
/// aggregations, which a grouping such as `by (…)` may follow.
const WORDS: [&str; 18] = [
    "and", "or", "unless", "offset", "bool", "sum", "min", "max", "avg", "count", "topk",
    "bottomk", "stddev", "quantile", "group", "inf", "nan", "atan2",
];

/// Returns the names of the metrics that a PromQL expression reads.
#[must_use]
pub fn metrics_in(expression: &str) -> BTreeSet<String> {
    let mut metrics = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' => after_string(rest, first),
            '{' => after(rest, '}'),
            '[' => after(rest, ']'),
            '0'..='9' => rest.trim_start_matches(is_of_name),
            _ if is_of_name(first) => {
                let (name, tail) = split_name(rest);
                let opens = tail.trim_start().starts_with('(');
                if opens && GROUPING.contains(&name) {
                    after(tail, ')')
                } else {
                    let is_word = WORDS.contains(&name.to_lowercase().as_str());
                    if !opens && !is_word && !GROUPING.contains(&name) {
                        metrics.insert(name.to_owned());
                    }
                    tail
                }
            }
            _ => &rest[first.len_utf8()..],
        };
    }
    metrics
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

fn split_name(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|letter| !is_of_name(letter))
            .unwrap_or(text.len()),
    )
}

/// Returns what follows the string literal with which `text` begins; `quote` is its quotation mark.
fn after_string(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// Returns what follows the first character `end` of `text` that is not within a string literal.
fn after(text: &str, end: char) -> &str {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if letter == '"' {
            rest = after_string(rest, letter);
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        if letter == end {
            break;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(expression: &str, metrics: &[&str]) {
        let found: Vec<_> = metrics_in(expression).into_iter().collect();
        assert_eq!(found, metrics, "{expression}");
    }

    #[test]
    fn functions_labels_and_words_are_no_metrics() {
        has(
            r#"sum by (job, code) (rate(a_total{code=~"5..",x="}b"}[2m])) / (c:d:e > 0.5e3)"#,
            &["a_total", "c:d:e"],
        );
        has(
            "time() - a > 30 and on (instance) b{s=\"x\"} == 1 unless c",
            &["a", "b", "c"],
        );
        has(
            "histogram_quantile(0.99, sum(rate(h_bucket[$__rate_interval])) by (le))",
            &["h_bucket"],
        );
        has(r#"label_replace(a, "x", "$1", "y", "(.*)")"#, &["a"]);
        has("", &[]);
    }
}
