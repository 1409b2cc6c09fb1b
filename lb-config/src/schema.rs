//! How a section of the file is described: one description for the parser, for its hints and for
//! the reference page, so that none of them can say something else.

use super::kind::Kind;

/// A section: its keys, and the tables within it.
pub(super) struct Schema {
    /// The key under which its parent has it.
    pub(super) name: &'static str,
    /// How it is opened in a file: `[node]`, `[[pool.backend]]`.
    pub(super) header: &'static str,
    /// What it is for, as a sentence; Markdown.
    pub(super) about: &'static str,
    /// When it must be there, as a sentence.
    pub(super) presence: &'static str,
    /// Its keys, in the order of the reference page.
    pub(super) keys: &'static [&'static dyn Entry],
    /// The tables within it.
    pub(super) tables: &'static [&'static Self],
}

impl Schema {
    /// Whether a file may have it several times.
    pub(super) fn is_list(&self) -> bool {
        self.header.starts_with("[[")
    }

    /// Its header without the brackets.
    pub(super) fn path(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    /// The words that may stand in it.
    pub(super) fn allowed(&self) -> Vec<&'static str> {
        let keys = self.keys.iter().map(|key| key.name());
        keys.chain(self.tables.iter().map(|table| table.name))
            .collect()
    }

    /// This section and all within it, from the top.
    pub(super) fn walk(&'static self) -> Vec<&'static Self> {
        let below = self.tables.iter().flat_map(|table| table.walk());
        std::iter::once(self).chain(below).collect()
    }
}

/// One key of a section.
pub(super) struct Key<K> {
    /// The key as the file writes it.
    pub(super) name: &'static str,
    /// What its value may be.
    pub(super) kind: K,
    /// What holds when the file does not have it.
    pub(super) absent: Absent,
    /// What it is for; Markdown.
    pub(super) meaning: &'static str,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// It must be given; with an example of a value, as TOML.
    Refused(&'static str),
    /// The default, as TOML: it is read as if the file had it.
    Is(&'static str),
    /// There is no value, and this is what that means.
    Means(&'static str),
    /// It must be given, with an example as for `Refused`, unless this holds.
    Elsewhere(&'static str, &'static str),
}

/// A [`Key`] whatever its kind.
pub(super) trait Entry: Sync {
    /// The key as the file writes it.
    fn name(&self) -> &'static str;
    /// What its value may be, in words.
    fn describe(&self) -> String;
    /// What holds when the file does not have it.
    fn absent(&self) -> Absent;
    /// What it is for.
    fn meaning(&self) -> &'static str;
}

impl<K: Kind> Entry for Key<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> String {
        self.kind.describe()
    }

    fn absent(&self) -> Absent {
        self.absent
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }
}
