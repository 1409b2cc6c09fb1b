//! The output before it is text: tables of settings, each with the directives that it comes from.

use std::collections::BTreeSet;

use crate::ledger::Id;

/// A table of TOML with its settings, and the tables within it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The header with its brackets; empty for the document.
    pub(crate) header: String,
    /// The directives that it comes from.
    pub(crate) origins: Vec<Id>,
    /// Comments above the header.
    pub(crate) remarks: Vec<String>,
    /// The settings, in their order.
    pub(crate) settings: Vec<Setting>,
    /// The tables within, in their order.
    pub(crate) tables: Vec<Table>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// The value as TOML.
    pub(crate) value: String,
    /// The directives that it comes from.
    pub(crate) origins: Vec<Id>,
    /// Comments above it.
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

    /// Whether it has neither settings nor tables.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.tables.is_empty()
    }

    /// The directives that it, its settings and its tables come from.
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

/// A basic string of TOML.
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

/// A list of strings of TOML, on one line.
pub(crate) fn listed<T: AsRef<str>>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(|value| quoted(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}
