//! The parts of a line of the log.

use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::{
    Event,
    field::{Field, Visit},
};

/// The highest number of bytes of a text in a field. What is longer is cut.
const LONGEST_TEXT: usize = 1024;

/// The message and the fields of a line of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// The fixed message text of the line.
    pub message: String,
    /// The fields of the line, which are its variable parts. A text value is on one line and at
    /// most 1 KiB long.
    pub fields: Map<String, Value>,
}

impl Line {
    /// Returns the message and the fields of a line that a macro of `tracing` logs.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            text.clone_into(&mut self.message);
        } else {
            self.put(field, Value::String(on_one_line(text)));
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
}

/// Returns `text` with each run of white space as one space, without other control characters, and
/// cut to [`LONGEST_TEXT`].
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|it: char| it.is_whitespace() || it.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LONGEST_TEXT {
            line.truncate(line.floor_char_boundary(LONGEST_TEXT));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_on_one_line_and_bounded() {
        assert_eq!(on_one_line("a\n  b\t\u{1b}[1mc \n"), "a b [1mc");
        let long = on_one_line(&"größe ".repeat(1000));
        assert!(long.len() <= LONGEST_TEXT + '…'.len_utf8() && long.ends_with('…'));
    }
}
