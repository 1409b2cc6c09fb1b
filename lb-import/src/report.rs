//! The report about an import, as text.

use std::fmt::Write as _;

use crate::{Import, Loss, Note};

impl Import {
    /// Returns a text that lists what was carried over and what was not, with file, line and reason.
    #[must_use]
    pub fn report(&self) -> String {
        let counts = &self.counts;
        let mut text = format!(
            "{} of {} directives are carried over; {} are not, {} are not needed, {} are not known\n",
            counts.carried_over,
            counts.directives,
            counts.not_carried_over,
            counts.not_needed,
            counts.unknown,
        );
        if !self.decisions.is_empty() {
            text.push_str("\nBefore you use it:\n");
            for decision in &self.decisions {
                // Writing to memory does not fail.
                _ = writeln!(text, "  {decision}");
            }
        }
        for (title, loss) in [
            ("Not carried over:", Loss::NotCarriedOver),
            ("Not known to lb import:", Loss::Unknown),
            ("Not needed:", Loss::NotNeeded),
        ] {
            let notes: Vec<_> = self.notes.iter().filter(|note| note.loss == loss).collect();
            if !notes.is_empty() {
                _ = writeln!(text, "\n{title}");
                notes.into_iter().for_each(|note| one(&mut text, note));
            }
        }
        text
    }
}

fn one(text: &mut String, note: &Note) {
    let directive = &note.directive;
    let part = if note.in_part { " (in part)" } else { "" };
    _ = writeln!(
        text,
        "  {}:{}: {}{part}\n      {}",
        directive.file, directive.line, directive.text, note.why
    );
}
