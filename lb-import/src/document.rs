//! The output before it is written as text: tables of settings, each with the directives that it
//! comes from.

use std::collections::BTreeSet;

use crate::ledger::Id;

/// A table of TOML with its settings, and the tables within it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The header of the table with its brackets; empty for the document itself.
    pub(crate) header: String,
    /// The directives of the input that the table comes from.
    pub(crate) origins: Vec<Id>,
    /// Comments that are written above the header of the table.
    pub(crate) remarks: Vec<String>,
    /// The settings of the table, in the order in which they are written.
    pub(crate) settings: Vec<Setting>,
    /// The tables within this table, in the order in which they are written.
    pub(crate) tables: Vec<Table>,
}

/// A setting of a table: a key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// The value of the setting, as TOML.
    pub(crate) value: String,
    /// The directives of the input that the setting comes from.
    pub(crate) origins: Vec<Id>,
    /// Comments that are written above the setting.
    pub(crate) remarks: Vec<String>,
}

impl Table {
    pub(crate) fn new(header: &str) -> Self {
        Self {
            header: header.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn from(header: &str, origin: Id) -> Self {
        Self {
            origins: vec![origin],
            ..Self::new(header)
        }
    }

    /// Adds a setting whose value is written as TOML.
    pub(crate) fn set(
        &mut self,
        key: &str,
        value: impl Into<String>,
        origins: &[Id],
    ) -> &mut Setting {
        self.settings.push(Setting {
            key: key.to_owned(),
            value: value.into(),
            origins: origins.to_vec(),
            remarks: Vec::new(),
        });
        let last = self.settings.len() - 1;
        &mut self.settings[last]
    }

    /// Adds a setting whose value is text.
    pub(crate) fn text(&mut self, key: &str, value: &str, origins: &[Id]) -> &mut Setting {
        self.set(key, quoted(value), origins)
    }

    /// Adds a setting whose value is a list of texts.
    pub(crate) fn list<T: AsRef<str>>(
        &mut self,
        key: &str,
        values: &[T],
        origins: &[Id],
    ) -> &mut Setting {
        self.set(key, listed(values), origins)
    }

    /// Returns the text of the setting `name`.
    pub(crate) fn name(&self) -> Option<String> {
        self.value("name")
    }

    /// Returns the text of a setting, without its quotes.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let setting = self.settings.iter().find(|setting| setting.key == key)?;
        Some(setting.value.trim_matches('"').to_owned())
    }

    /// Whether the table has neither settings nor tables.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.tables.is_empty()
    }

    /// Returns the directives that the table, its settings and its inner tables come from.
    pub(crate) fn all_origins(&self) -> BTreeSet<Id> {
        let mut all: BTreeSet<Id> = self.origins.iter().copied().collect();
        for setting in &self.settings {
            all.extend(&setting.origins);
        }
        for table in &self.tables {
            all.extend(table.all_origins());
        }
        all
    }
}

impl Setting {
    /// Adds a comment above the setting.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) -> &mut Self {
        self.remarks.push(remark.into());
        self
    }
}

/// Returns a text as a basic string of TOML, quoted and escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns a list of texts as TOML, on one line.
pub(crate) fn listed<T: AsRef<str>>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(|value| quoted(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}
