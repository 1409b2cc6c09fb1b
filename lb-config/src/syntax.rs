//! Errors of TOML syntax, with hints for the usual mistakes.

use std::ops::Range;

use super::source::{Reported, Source};

/// Reports syntax errors in the order of the file: errors that affect only their own line, and the
/// first error that affects later lines. What the TOML parser reports after that error is
/// meaningless.
pub(super) fn report(source: &Source<'_>, errors: &[toml::de::Error]) -> Reported {
    let mut places: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default(), error.message()))
        .collect();
    places.sort_by_key(|(span, _)| span.start);
    // Additional errors on the same line usually have the same cause as the first error.
    places.dedup_by_key(|(span, _)| source.line(span));
    for (span, message) in places {
        let mistake = Mistake::new(source, &span, message);
        // An error about something that is missing has an empty place in the file: the place is
        // shown one character wide.
        let shown = span.start..span.end.max(span.start + 1);
        source.error(shown, mistake.message, mistake.hint);
        if !mistake.within_line {
            break;
        }
    }
    Reported
}

struct Mistake {
    message: String,
    hint: Option<String>,
    /// Whether the mistake affects only its own line, so the lines after it can still be parsed.
    within_line: bool,
}

impl Mistake {
    fn new(source: &Source<'_>, span: &Range<usize>, message: &str) -> Self {
        let line = without_comment(source.line_text(span));
        if message == "duplicate key" {
            return Self::twice(line, source.text(span));
        }
        match line.split_once('=') {
            Some((key, value)) if value.trim().is_empty() => Self {
                message: format!("{} has no value", key.trim()),
                hint: None,
                within_line: true,
            },
            Some((key, value)) if lacks_quotes(value.trim(), message) => Self {
                message: format!("the value of {} is text and has no quotes", key.trim()),
                hint: Some(format!("write {} = \"{}\"", key.trim(), value.trim())),
                within_line: true,
            },
            _ => Self::other(source, span, message),
        }
    }

    fn twice(line: &str, key: &str) -> Self {
        let (what, hint) = if line.starts_with('[') {
            let hint = "put its keys under one header; sections that may be repeated, such as pool \
                        and service, have double brackets";
            (format!("header {line}"), hint)
        } else {
            (format!("key {key}"), "keep one of them")
        };
        Self {
            message: format!("duplicate {what}"),
            hint: Some(hint.to_owned()),
            within_line: true,
        }
    }

    fn other(source: &Source<'_>, span: &Range<usize>, message: &str) -> Self {
        let runs_on = message.starts_with("missing comma")
            && source
                .line_text(span)
                .starts_with(source.text(&(span.start..span.start + 1)));
        let hint = runs_on.then(|| "the list above may lack its closing bracket".to_owned());
        let message = message
            .strip_suffix(", expected nothing")
            .unwrap_or(message);
        Self {
            message: format!("not TOML: {message}"),
            hint,
            within_line: false,
        }
    }
}

/// Whether a value is probably text without quotes: it is not a text, list, table or number.
fn lacks_quotes(value: &str, message: &str) -> bool {
    let about_value = message.starts_with("string values must be quoted")
        || message.starts_with("invalid float")
        || message.starts_with("invalid integer")
        || message.starts_with("invalid boolean");
    about_value
        && !value.contains(['"', '\'', '[', '{', '\\', '='])
        && value.parse::<f64>().is_err()
}

fn without_comment(text: &str) -> &str {
    text.split('#').next().unwrap_or_default().trim()
}
