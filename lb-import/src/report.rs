//! The report about an import, as text.

use std::fmt::Write as _;

use crate::{Import, Loss, Note};

impl Import {
    /// Returns a text that lists what was carried over and what was not, with file, line and
    /// reason.
    #[must_use]
    pub fn report(&self) -> String {
        let counts = &self.counts;
        let mut text = format!(
            "directives carried over: {} of {}; not carried over: {}, not needed: {}, unknown: {}\n",
            counts.carried_over,
            counts.directives,
            counts.not_carried_over,
            counts.not_needed,
            counts.unknown,
        );
        for (title, lines) in [
            ("Before you use the configuration", &self.decisions),
            ("Different from HAProxy", &self.differences),
        ] {
            if lines.is_empty() {
                continue;
            }
            // Writing to memory does not fail.
            _ = writeln!(text, "\n{title}:");
            for line in lines {
                _ = writeln!(text, "- {line}");
            }
        }
        for (title, loss) in [
            ("Not carried over", Loss::NotCarriedOver),
            ("Unknown to the import", Loss::Unknown),
            ("Not needed", Loss::NotNeeded),
        ] {
            let mut notes: Vec<_> = self.notes.iter().filter(|note| note.loss == loss).collect();
            if notes.is_empty() {
                continue;
            }
            _ = writeln!(text, "\n{title}:");
            // Directives that are left out for the same reason are listed together, below that
            // reason, at the place of the first of them.
            while let Some(first) = notes.first().copied() {
                let (same, others) = notes.into_iter().partition(|note| note.why == first.why);
                notes = others;
                one(&mut text, &first.why, same);
            }
        }
        text
    }
}

fn one(text: &mut String, why: &str, notes: Vec<&Note>) {
    _ = writeln!(text, "- {why}:");
    for note in notes {
        let directive = &note.directive;
        let part = if note.in_part {
            " (the rest is carried over)"
        } else {
            ""
        };
        _ = writeln!(
            text,
            "    {}:{}: {}{part}",
            directive.file, directive.line, directive.text
        );
    }
}
