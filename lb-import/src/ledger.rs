//! The accounts of an import: every directive of the input, and what became of each.

use std::collections::BTreeSet;

/// The number of a directive in a [`Ledger`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id(usize);

/// A directive of the input: a line of haproxy.cfg, a statement of keepalived.conf, a command of the
/// script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// The file, as the caller named it.
    pub file: String,
    /// The line where it begins, counted from 1.
    pub line: u32,
    /// Its text on one line, control characters escaped.
    pub text: String,
}

/// Why a directive, or a part of it, is not in the output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Loss {
    /// lb cannot do it, or the value is not in the file.
    NotCarriedOver,
    /// The import does not know the directive.
    Unknown,
    /// lb needs no such setting, or does it always.
    NotNeeded,
}

/// What is not in the output, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The directive.
    pub directive: Directive,
    /// Which kind of loss it is.
    pub loss: Loss,
    /// The reason, a sentence without a full stop.
    pub why: String,
    /// Whether the rest of the directive is in the output.
    pub in_part: bool,
}

/// How many directives there are, and what became of them. `carried_over`, `not_carried_over`,
/// `not_needed` and `unknown` add up to `directives`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Directives of the input.
    pub directives: usize,
    /// Directives that a setting of the output comes from.
    pub carried_over: usize,
    /// Directives that lb cannot do.
    pub not_carried_over: usize,
    /// Directives that lb has no need of.
    pub not_needed: usize,
    /// Directives that the import does not know.
    pub unknown: usize,
}

/// Every directive of the input, with the reasons that were found for leaving it out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    directives: Vec<Directive>,
    reasons: Vec<(Id, Loss, String)>,
    /// Reasons that hold where nothing else was said of a directive.
    fallbacks: Vec<(Id, Loss, String)>,
    decisions: Vec<String>,
}

impl Ledger {
    /// Enters a directive.
    pub(crate) fn enter(&mut self, file: &str, line: u32, text: &str) -> Id {
        self.directives.push(Directive {
            file: file.to_owned(),
            line,
            text: one_line(text),
        });
        Id(self.directives.len() - 1)
    }

    pub(crate) fn directive(&self, id: Id) -> &Directive {
        &self.directives[id.0]
    }

    /// `file:line` of a directive.
    pub(crate) fn place(&self, id: Id) -> String {
        let Directive { file, line, .. } = self.directive(id);
        format!("{}:{line}", one_line(file))
    }

    /// Says that lb cannot do a directive, or a part of it.
    pub(crate) fn lose(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::NotCarriedOver, why.into());
    }

    /// Says that lb has no need of a directive, or of a part of it.
    pub(crate) fn needless(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::NotNeeded, why.into());
    }

    /// Says that a directive has a part that the import does not know.
    pub(crate) fn unknown(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::Unknown, why.into());
    }

    fn reason(&mut self, id: Id, loss: Loss, why: String) {
        let reason = (id, loss, why);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Gives the reason that holds where a directive is not in the output and nothing else was said of
    /// it.
    pub(crate) fn otherwise(&mut self, id: Id, loss: Loss, why: impl Into<String>) {
        self.fallbacks.push((id, loss, why.into()));
    }

    /// Says what the operator must decide or fill in.
    pub(crate) fn decide(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.decisions.contains(&what) {
            self.decisions.push(what);
        }
    }

    /// Closes the accounts. `carried` are the directives that settings of the output come from.
    pub(crate) fn close(self, carried: &BTreeSet<Id>) -> (Counts, Vec<Note>, Vec<String>) {
        let mut counts = Counts {
            directives: self.directives.len(),
            ..Counts::default()
        };
        let mut notes = Vec::new();
        for (index, directive) in self.directives.iter().enumerate() {
            let id = Id(index);
            let in_part = carried.contains(&id);
            let mut reasons: Vec<_> = self
                .reasons
                .iter()
                .filter(|(of, ..)| *of == id)
                .map(|(_, loss, why)| (*loss, why.clone()))
                .collect();
            if reasons.is_empty() && !in_part {
                let fallback = self.fallbacks.iter().find(|(of, ..)| *of == id);
                reasons.push(fallback.map_or_else(
                    || (Loss::Unknown, "the import does not know it".to_owned()),
                    |(_, loss, why)| (*loss, why.clone()),
                ));
            }
            let worst = reasons.iter().map(|(loss, _)| *loss).min();
            match worst {
                _ if in_part => counts.carried_over += 1,
                Some(Loss::NotCarriedOver) => counts.not_carried_over += 1,
                Some(Loss::NotNeeded) => counts.not_needed += 1,
                Some(Loss::Unknown) | None => counts.unknown += 1,
            }
            notes.extend(reasons.into_iter().map(|(loss, why)| Note {
                directive: directive.clone(),
                loss,
                why,
                in_part,
            }));
        }
        (counts, notes, self.decisions)
    }
}

/// The text without control characters, its runs of spaces made one.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let escape = |character: char| -> String {
        if character.is_control() {
            character.escape_default().collect()
        } else {
            character.to_string()
        }
    };
    words.join(" ").chars().map(escape).collect()
}
