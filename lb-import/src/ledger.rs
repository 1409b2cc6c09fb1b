//! The ledger of an import: every directive of the input, and what became of it.

use std::collections::BTreeSet;

use crate::Import;

/// The number of a directive in a [`Ledger`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id(usize);

/// A directive of the input: a line of haproxy.cfg, a statement of keepalived.conf, a command of
/// the script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// The file that has the directive, by the name that the caller gave.
    pub file: String,
    /// The line where the directive begins, counted from 1.
    pub line: u32,
    /// The directive's text on one line, control characters escaped.
    pub text: String,
}

/// Why a directive, or a part of it, is not in the output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Loss {
    /// lb has no equivalent of the directive, or the value of the directive is not in the file.
    NotCarriedOver,
    /// The import does not know the directive.
    Unknown,
    /// lb needs no such setting, or always does what the directive asks for.
    NotNeeded,
}

/// A directive, or a part of one, that is not in the output, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The directive that is not in the output, or only in part.
    pub directive: Directive,
    /// Whether lb lacks what the directive asks for, does not need it, or does not know the
    /// directive.
    pub loss: Loss,
    /// The reason why the directive, or a part of it, is not in the output, as a sentence without a
    /// full stop.
    pub why: String,
    /// Whether only a part of the directive is left out, and the rest of it is in the output.
    pub in_part: bool,
}

/// How many directives there are, and what became of them. `carried_over`, `not_carried_over`,
/// `not_needed` and `unknown` add up to `directives`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Number of directives of the input.
    pub directives: usize,
    /// Number of directives that a setting of the output comes from.
    pub carried_over: usize,
    /// Number of directives that lb has no equivalent for.
    pub not_carried_over: usize,
    /// Number of directives that lb does not need.
    pub not_needed: usize,
    /// Number of directives that the import does not know.
    pub unknown: usize,
}

/// Every directive of the input, with the reasons that were found for leaving it out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    directives: Vec<Directive>,
    reasons: Vec<(Id, Loss, String)>,
    /// Reasons for parts of directives, which are given if another part is in the output.
    parts: Vec<(Id, Loss, String)>,
    /// Reasons for directives that are not in the output and have no reason in `reasons`.
    fallbacks: Vec<(Id, Loss, String)>,
    decisions: Vec<String>,
    differences: Vec<String>,
    /// Servers that pools lack: the name of the pool, and the server with its place in the input.
    lacking: Vec<(String, String)>,
}

impl Ledger {
    /// Adds a directive to the ledger. Returns its number.
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

    /// Returns `file:line` of a directive.
    pub(crate) fn place(&self, id: Id) -> String {
        let Directive { file, line, .. } = self.directive(id);
        format!("{}:{line}", one_line(file))
    }

    /// Records that lb has no equivalent for a directive, or for a part of it.
    pub(crate) fn lose(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::NotCarriedOver, why.into());
    }

    /// Records that lb does not need a directive, or a part of it.
    pub(crate) fn needless(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::NotNeeded, why.into());
    }

    /// Records that the import does not know a part of a directive.
    pub(crate) fn unknown(&mut self, id: Id, why: impl Into<String>) {
        self.reason(id, Loss::Unknown, why.into());
    }

    fn reason(&mut self, id: Id, loss: Loss, why: String) {
        let reason = (id, loss, why);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Records why a part of a directive is left out, for the case that another part is in the
    /// output.
    pub(crate) fn partly(&mut self, id: Id, loss: Loss, why: impl Into<String>) {
        let reason = (id, loss, why.into());
        if !self.parts.contains(&reason) {
            self.parts.push(reason);
        }
    }

    /// Records the reason to give if a directive is not in the output and no other reason is
    /// recorded.
    pub(crate) fn otherwise(&mut self, id: Id, loss: Loss, why: impl Into<String>) {
        self.fallbacks.push((id, loss, why.into()));
    }

    /// Records something that the operator must decide or fill in.
    pub(crate) fn decide(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.decisions.contains(&what) {
            self.decisions.push(what);
        }
    }

    /// Records what lb does differently from HAProxy with directives that are carried over.
    pub(crate) fn differ(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.differences.contains(&what) {
            self.differences.push(what);
        }
    }

    /// Records that a server that HAProxy or Keepalived sends connections to is not in the pool that
    /// its section becomes. The reason is recorded separately.
    pub(crate) fn lack(&mut self, pool: &str, server: &str, id: Id) {
        let server = format!("{} ({})", one_line(server), self.place(id));
        self.lacking.push((pool.to_owned(), server));
    }

    /// Adds to what the operator must decide the servers that pools lack. `pools` are the names of
    /// the pools of the output.
    pub(crate) fn decide_about_lacking(&mut self, pools: &[String]) {
        for pool in pools {
            let of_pool = self.lacking.iter().filter(|(other, _)| other == pool);
            let servers: Vec<_> = of_pool.map(|(_, server)| server.as_str()).collect();
            if !servers.is_empty() {
                self.decide(format!(
                    "pool \"{pool}\" lacks {}, for a reason given below: add what you can, and check \
                     that the backends it has can carry the load",
                    servers.join(", ")
                ));
            }
        }
    }

    /// Returns the result of the import with this configuration. `carried` are the directives that
    /// its settings come from.
    pub(crate) fn close(self, carried: &BTreeSet<Id>, configuration: String) -> Import {
        let mut counts = Counts {
            directives: self.directives.len(),
            ..Counts::default()
        };
        let mut notes = Vec::new();
        for (index, directive) in self.directives.iter().enumerate() {
            let id = Id(index);
            let in_part = carried.contains(&id);
            let parts = self.parts.iter().filter(|_| in_part);
            let mut reasons: Vec<_> = self
                .reasons
                .iter()
                .chain(parts)
                .filter(|(of, ..)| *of == id)
                .map(|(_, loss, why)| (*loss, why.clone()))
                .collect();
            if reasons.is_empty() && !in_part {
                let fallback = self.fallbacks.iter().find(|(of, ..)| *of == id);
                reasons.push(fallback.map_or_else(
                    || (Loss::Unknown, "the import does not support it".to_owned()),
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
        Import {
            configuration,
            notes,
            decisions: self.decisions,
            differences: self.differences,
            counts,
        }
    }
}

/// Why a directive with a place-holder is not read.
pub(crate) const OF_TEMPLATE: &str =
    "it is of a template, whose values are not in the file: import the file that is made from it";

/// Whether a text has a place-holder or a statement of a template, such as `{{ port }}` or
/// `{% if … %}`.
pub(crate) fn is_template(text: &str) -> bool {
    [("{{", "}}"), ("{% ", "%}")].iter().any(|(begin, end)| {
        let after = text.split_once(begin).map(|(_, after)| after);
        after.is_some_and(|after| after.contains(end))
    })
}

/// Returns a text with control characters escaped and each run of spaces made a single space.
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
