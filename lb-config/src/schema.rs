//! Schemas of sections: one description for the parser, its hints and the reference page, so that
//! they cannot differ.

use super::kind::Kind;

/// The schema of a section: its keys, and the tables within it.
pub(super) struct Schema {
    /// The name of the section's key in its parent section.
    pub(super) name: &'static str,
    /// The section's header in a file: `[node]`, `[[pool.backend]]`.
    pub(super) header: &'static str,
    /// The section's purpose, as a sentence in Markdown.
    pub(super) about: &'static str,
    /// Whether a file must have the section, as a sentence.
    pub(super) presence: &'static str,
    /// The schemas of the section's keys, in the order of the reference page.
    pub(super) keys: &'static [&'static dyn Entry],
    /// The schemas of the tables within the section.
    pub(super) tables: &'static [&'static Self],
}

impl Schema {
    /// Whether a file may have the section several times.
    pub(super) fn is_list(&self) -> bool {
        self.header.starts_with("[[")
    }

    /// Returns the section's header without brackets.
    pub(super) fn path(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    /// Returns the names of the section's keys and tables.
    pub(super) fn allowed(&self) -> Vec<&'static str> {
        let keys = self.keys.iter().map(|key| key.name());
        keys.chain(self.tables.iter().map(|table| table.name))
            .collect()
    }

    /// Returns this section's schema and those of all sections within it, in order.
    pub(super) fn walk(&'static self) -> Vec<&'static Self> {
        let below = self.tables.iter().flat_map(|table| table.walk());
        std::iter::once(self).chain(below).collect()
    }
}

/// The schema of one key of a section.
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

/// What applies if the file does not have a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// The key is required; the text is an example of a value, as TOML.
    Refused(&'static str),
    /// The default value, as TOML: it is read as if the file had it.
    Is(&'static str),
    /// There is no value if the file does not have the key; the text says what that means.
    Means(&'static str),
    /// The key is required unless a condition holds; the texts are an example of a value, as TOML,
    /// and the condition.
    Elsewhere(&'static str, &'static str),
}

/// The schema of a key whose value has any kind: a [`Key`].
pub(super) trait Entry: Sync {
    /// Returns the key's name in the file.
    fn name(&self) -> &'static str;
    /// Describes the values that the key allows.
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
