//! Schemas of sections: one description for the parser, its hints and the reference page, so that
//! they cannot differ.

use super::kind::Kind;

/// A section: its keys, and the tables within it.
pub(super) struct Schema {
    /// The section's key in its parent section.
    pub(super) name: &'static str,
    /// The section's header in a file: `[node]`, `[[pool.backend]]`.
    pub(super) header: &'static str,
    /// The section's purpose, as a sentence in Markdown.
    pub(super) about: &'static str,
    /// Whether the section is required, as a sentence.
    pub(super) presence: &'static str,
    /// The section's keys, in the order of the reference page.
    pub(super) keys: &'static [&'static dyn Entry],
    /// The tables within the section.
    pub(super) tables: &'static [&'static Self],
}

impl Schema {
    /// Whether a file may have the section several times.
    pub(super) fn is_list(&self) -> bool {
        self.header.starts_with("[[")
    }

    /// Returns the header without brackets.
    pub(super) fn path(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    /// Returns the names of the section's keys and tables.
    pub(super) fn allowed(&self) -> Vec<&'static str> {
        let keys = self.keys.iter().map(|key| key.name());
        keys.chain(self.tables.iter().map(|table| table.name))
            .collect()
    }

    /// Returns this section and all sections within it, in order.
    pub(super) fn walk(&'static self) -> Vec<&'static Self> {
        let below = self.tables.iter().flat_map(|table| table.walk());
        std::iter::once(self).chain(below).collect()
    }
}

/// One key of a section.
pub(super) struct Key<K> {
    /// The key's name in the file.
    pub(super) name: &'static str,
    /// The kind of the key's value.
    pub(super) kind: K,
    /// What applies if the file does not have the key.
    pub(super) absent: Absent,
    /// The key's meaning, in Markdown.
    pub(super) meaning: &'static str,
}

/// What applies if a key is not given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// The key is required; holds an example of a value, as TOML.
    Refused(&'static str),
    /// The default value, as TOML. It is read as if the file had it.
    Is(&'static str),
    /// The key has no value then; holds a description of what that means.
    Means(&'static str),
    /// The key is required unless a condition holds; holds an example as `Refused` does, and the
    /// condition.
    Elsewhere(&'static str, &'static str),
}

/// A [`Key`] of any kind.
pub(super) trait Entry: Sync {
    /// Returns the key's name in the file.
    fn name(&self) -> &'static str;
    /// Describes the allowed values.
    fn describe(&self) -> String;
    /// Returns what applies if the file does not have the key.
    fn absent(&self) -> Absent;
    /// Returns the key's meaning, in Markdown.
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
