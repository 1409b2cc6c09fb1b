//! Mistakes of TOML itself, in words for someone who knows what they wanted to write.

use std::ops::Range;

use super::source::{Reported, Source};

/// Reports mistakes of syntax, in the order of the file: those that stay within their line, and the
/// first that does not. What the parser makes of the text after that one says nothing.
pub(super) fn report(source: &Source<'_>, errors: &[toml::de::Error]) -> Reported {
    let mut places: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default(), error.message()))
        .collect();
    places.sort_by_key(|(span, _)| span.start);
    // What follows a mistake in its line is seldom another.
    places.dedup_by_key(|(span, _)| source.line(span));
    for (span, message) in places {
        let mistake = Mistake::new(source, &span, message);
        // An empty place is that of something missing: it is shown as one character wide.
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
    /// Whether the next line can be understood in spite of it.
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
            let hint = "put its keys under one header; those of which there may be several, as of \
                        pool and service, have double brackets";
            (line, hint)
        } else {
            (key, "keep one of them")
        };
        Self {
            message: format!("{what} stands twice"),
            hint: Some(hint.to_owned()),
            within_line: true,
        }
    }

    fn other(source: &Source<'_>, span: &Range<usize>, message: &str) -> Self {
        let runs_on = message.starts_with("missing comma")
            && source
                .line_text(span)
                .starts_with(source.text(&(span.start..span.start + 1)));
        let hint = runs_on.then(|| "is the bracket missing that ends the list above?".to_owned());
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

/// Whether a value was meant as text: it begins no text, list or table and is no number.
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
