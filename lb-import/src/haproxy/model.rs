//! The sections of haproxy.cfg and their directives.

use super::{
    environment::{Environment, variable},
    lexer,
};
use crate::ledger::{Id, Ledger, OF_TEMPLATE, is_template};

/// The keywords that begin a section of haproxy.cfg.
const SECTIONS: [&str; 20] = [
    "healthcheck",
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "mailers",
    "resolvers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
    "log-profile",
];

/// A directive of haproxy.cfg: its words, the keyword first.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: Id,
    pub(crate) words: Vec<String>,
}

impl Line {
    pub(crate) fn keyword(&self) -> &str {
        self.words.first().map_or("", |word| word)
    }

    /// Returns the word at an index; the keyword has index 0. Empty if there are fewer words.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| word)
    }

    /// Returns the words of the directive after the first `count`.
    pub(crate) fn after(&self, count: usize) -> &[String] {
        self.words.get(count..).unwrap_or_default()
    }
}

/// A section: its header, its directives, and the `defaults` section that it inherits from.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) header: Line,
    pub(crate) lines: Vec<Line>,
    /// The directives that could not be split into words as HAProxy does it, with the words that
    /// were found. The ledger has the reasons.
    pub(crate) unread: Vec<Line>,
    /// The index of the `defaults` section that this section inherits from.
    pub(crate) defaults: Option<usize>,
}

impl Section {
    pub(crate) fn kind(&self) -> &str {
        self.header.keyword()
    }

    pub(crate) fn name(&self) -> &str {
        self.header.word(1)
    }

    pub(crate) fn is_proxy(&self) -> bool {
        matches!(self.kind(), "frontend" | "backend" | "listen")
    }
}

/// The sections of haproxy.cfg, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Sections(pub(crate) Vec<Section>);

impl Sections {
    /// Returns the directives that apply to a section: those of its `defaults`, then its own.
    pub(crate) fn effective(&self, section: &Section) -> Vec<Line> {
        let mut all = vec![&section.lines];
        let mut next = section.defaults;
        // A section inherits only from a `defaults` section before it, so this loop ends.
        while let Some(defaults) = next.and_then(|index| self.0.get(index)) {
            all.push(&defaults.lines);
            next = defaults.defaults;
        }
        all.into_iter().rev().flatten().cloned().collect()
    }

    /// Returns the directive in force among those that begin with these words: the last, unless
    /// `no …` cancels it.
    pub(crate) fn last(&self, section: &Section, words: &[&str]) -> Option<Line> {
        let begins = |line: &Line| {
            line.words.len() >= words.len()
                && line
                    .words
                    .iter()
                    .zip(words)
                    .all(|(one, other)| one == other)
        };
        let off = |line: &Line| {
            line.keyword() == "no"
                && line.after(1).first().map(String::as_str) == words.first().copied()
                && line.words.len() > words.len()
                && line
                    .after(1)
                    .iter()
                    .zip(words)
                    .all(|(one, other)| one == other)
        };
        let effective = self.effective(section);
        let last = effective
            .iter()
            .rev()
            .find(|line| begins(line) || off(line))?;
        begins(last).then(|| last.clone())
    }

    /// Returns the backend or listen section with this name.
    pub(crate) fn backend(&self, name: &str) -> Option<&Section> {
        let takes = |section: &&Section| {
            matches!(section.kind(), "backend" | "listen") && section.name() == name
        };
        self.0.iter().find(takes)
    }
}

/// Reads haproxy.cfg. A directive that cannot be split into words is entered in the ledger (the
/// list of all directives and what became of them) with the reason, and is in no section.
pub(crate) fn read(file: &str, text: &str, ledger: &mut Ledger) -> Sections {
    let mut sections = Sections::default();
    let mut environment = Environment::default();
    // Directives that set an environment variable, and the variable's name.
    let mut set: Vec<(Id, String)> = Vec::new();
    for (number, text) in (1_u32..).zip(text.lines()) {
        let lexer::Line {
            mut words,
            fault,
            comment,
            mut defaults,
        } = lexer::words(text, &mut environment);
        let Some(keyword) = words.first() else {
            continue;
        };
        let directive = text.get(..comment).unwrap_or(text);
        let id = ledger.enter(file, number, directive);
        let fault = is_template(directive)
            .then(|| OF_TEMPLATE.to_owned())
            .or(fault);
        if let Some(fault) = fault {
            ledger.lose(id, fault);
            if let Some(section) = sections.0.last_mut() {
                section.unread.push(Line { id, words });
            }
            continue;
        }
        if keyword.starts_with('.') {
            ledger.lose(
                id,
                "conditions are not evaluated: all lines of the block are read",
            );
            continue;
        }
        expand_address(&mut words, &mut environment, &mut defaults);
        for (name, value) in defaults {
            ledger.decide(format!(
                "{file}: the environment variable ${name} has its default \"{value}\"; if HAProxy is \
                 started with another value, write that"
            ));
        }
        let line = Line { id, words };
        if SECTIONS.contains(&line.keyword()) {
            let defaults = defaults_of(&line, &sections, ledger);
            sections.0.push(Section {
                header: line,
                lines: Vec::new(),
                unread: Vec::new(),
                defaults,
            });
        } else if let Some(section) = sections.0.last_mut() {
            if section.kind() == "global" {
                environment.change(&line.words);
                if matches!(line.keyword(), "setenv" | "presetenv") {
                    set.push((id, line.word(1).to_owned()));
                }
            }
            section.lines.push(line);
        } else {
            ledger.lose(id, "it is in no section");
        }
    }
    for (id, name) in set {
        if environment.is_used(&name) {
            ledger.needless(id, "its value is written where the file uses the variable");
        }
    }
    sections
}

/// Expands environment variables in the address of a directive, which HAProxy does there outside of
/// quotes too. `defaults` gets the variables that have a default, with the default.
fn expand_address(
    words: &mut [String],
    environment: &mut Environment,
    defaults: &mut Vec<(String, String)>,
) {
    let at = match words.first().map_or("", |word| word) {
        "bind" | "log" => 1,
        "server" | "nameserver" | "frontend" | "listen" => 2,
        "server-template" => 3,
        _ => return,
    };
    let Some(address) = words.get_mut(at) else {
        return;
    };
    let mut rest = address.clone();
    while let Some((name, _, end)) = variable(&rest) {
        if let Some(preset) = environment.preset(name) {
            defaults.push((name.to_owned(), preset));
        }
        rest.drain(..end);
    }
    *address = environment.expand(address);
}

/// Returns the index of the `defaults` that a section inherits from: the one that it names, or
/// else, unless it is a `defaults` itself, the last one before it.
fn defaults_of(header: &Line, sections: &Sections, ledger: &mut Ledger) -> Option<usize> {
    let is_defaults = |section: &&(usize, &Section)| section.1.kind() == "defaults";
    let is_one = header.keyword() == "defaults";
    if !is_one && !matches!(header.keyword(), "frontend" | "backend" | "listen") {
        return None;
    }
    let all: Vec<_> = sections.0.iter().enumerate().collect();
    let from = header.words.iter().position(|word| word == "from");
    let Some(from) = from.filter(|from| *from >= 2 || is_one && *from == 1) else {
        if is_one {
            return None;
        }
        return all.iter().rev().find(is_defaults).map(|(index, _)| *index);
    };
    let named = all
        .iter()
        .filter(is_defaults)
        .find(|(_, section)| section.name() == header.word(from + 1));
    if named.is_none() {
        ledger.lose(
            header.id,
            "it inherits from a defaults section that the file does not have",
        );
    }
    named.map(|(index, _)| *index)
}
