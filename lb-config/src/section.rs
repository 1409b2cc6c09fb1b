//! Reads a section of the file by its [`Schema`].

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    kind::{Kind, Node, quoted, wrong_type},
    schema::{Absent, Key, Schema},
    source::{Reported, Source, WHOLE_FILE},
    suggest,
};

/// A section of the file. Its keys have been checked against its schema.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    /// The schema of the whole file, in which the section of a misplaced key is looked up.
    root: &'static Schema,
    schema: &'static Schema,
    table: &'a DeTable<'a>,
    /// The place of the section's header, or of the whole section if it is an inline table.
    span: Range<usize>,
}

impl<'a> Section<'a> {
    /// Opens the whole file as a section, and reports unknown sections.
    pub(super) fn whole_file(
        source: &'a Source<'a>,
        schema: &'static Schema,
        table: &'a DeTable<'a>,
    ) -> Self {
        let root = Self {
            source,
            root: schema,
            schema,
            table,
            span: WHOLE_FILE,
        };
        root.refuse_unknown_keys();
        root
    }

    /// Opens a section of the same file as `self`, and reports its unknown keys.
    pub(super) fn open<'b>(
        &self,
        schema: &'static Schema,
        table: &'b DeTable<'b>,
        span: Range<usize>,
    ) -> Section<'b>
    where
        'a: 'b,
    {
        let section = Section {
            source: self.source,
            root: self.root,
            schema,
            table,
            span,
        };
        section.refuse_unknown_keys();
        section
    }

    /// Reads the value of a key, or its default if the file does not have the key. Reports a
    /// missing key that is required.
    pub(super) fn value<K: Kind>(&self, key: &Key<K>) -> Result<Spanned<K::Value>, Reported> {
        match (self.optional(key)?, key.absent) {
            (Some(value), _) => Ok(value),
            (None, Absent::Is(default)) => self.default(key, default),
            (None, Absent::Refused(example) | Absent::Elsewhere(example, _)) => {
                Err(self.missing(key.name, example))
            }
            (None, Absent::Means(_)) => Err(self.missing(key.name, "…")),
        }
    }

    /// Reads the value of a key; `None` if the file does not have the key.
    pub(super) fn optional<K: Kind>(
        &self,
        key: &Key<K>,
    ) -> Result<Option<Spanned<K::Value>>, Reported> {
        let Some(node) = self.table.get(key.name) else {
            return Ok(None);
        };
        let value = key.kind.read(node, key.name, self.source)?;
        Ok(Some(Spanned::new(node.span(), value)))
    }

    /// Returns the place of a key and its value; `None` if the file does not have the key.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(key.span().start..value.span().end.max(key.span().end))
    }

    /// Opens a table within the section; `None` if the file does not have the table.
    pub(super) fn table(&self, schema: &'static Schema) -> Result<Option<Section<'a>>, Reported> {
        let Some(node) = self.table.get(schema.name) else {
            return Ok(None);
        };
        match node.get_ref() {
            DeValue::Table(table) => Ok(Some(self.open(schema, table, node.span()))),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                let again = items
                    .get(1)
                    .or(items.first())
                    .map_or(node.span(), Spanned::span);
                let message = format!("{} is allowed only once in a file", schema.header);
                let hint = format!("write {} once, in single brackets", schema.header);
                Err(self.source.error(again, message, hint))
            }
            _ => {
                let wanted = format!("a table, {}", schema.header);
                Err(wrong_type(node, schema.name, &wanted, self.source))
            }
        }
    }

    /// Opens the tables of a list within the section, in the order of the file.
    pub(super) fn tables(&self, schema: &'static Schema) -> Result<Vec<Section<'a>>, Reported> {
        let Some(node) = self.table.get(schema.name) else {
            return Ok(Vec::new());
        };
        match node.get_ref() {
            DeValue::Array(items) => {
                // The items of the list that are tables are read, even if other items are not
                // tables.
                let tables: Vec<_> = items.iter().map(|item| self.item(schema, item)).collect();
                match tables.iter().any(Result::is_ok) {
                    true => Ok(tables.into_iter().flatten().collect()),
                    false => tables.into_iter().collect(),
                }
            }
            DeValue::Table(_) => {
                let message = format!("{} is a list of sections", schema.path());
                let hint = format!("write the header in double brackets: {}", schema.header);
                Err(self.source.error(node.span(), message, hint))
            }
            _ => {
                let wanted = format!("a list of tables, {}", schema.header);
                Err(wrong_type(node, schema.name, &wanted, self.source))
            }
        }
    }

    fn item(&self, schema: &'static Schema, item: &'a Node<'a>) -> Result<Section<'a>, Reported> {
        let DeValue::Table(table) = item.get_ref() else {
            let wanted = format!("a table, {}", schema.header);
            return Err(wrong_type(item, schema.name, &wanted, self.source));
        };
        Ok(self.open(schema, table, item.span()))
    }

    /// Reports the second of the keys `keys` that the section has, if it has more than one of them.
    pub(super) fn only_one(&self, keys: &[&'static str], hint: &str) -> Result<(), Reported> {
        let mut there = keys.iter().filter(|key| self.place(key).is_some());
        let (Some(first), Some(second)) = (there.next(), there.next()) else {
            return Ok(());
        };
        let place = self.place(second).unwrap_or_else(|| self.span());
        let message = format!("{} has both {first} and {second}", self.label());
        Err(self.source.error(place, message, hint.to_owned()))
    }

    /// Reports an error about the section as a whole.
    pub(super) fn error(&self, message: String, hint: impl Into<Option<String>>) -> Reported {
        self.source.error(self.span.clone(), message, hint)
    }

    /// Returns the [`Source`] of the section: the text of the file, and the findings about it so
    /// far.
    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    /// Returns the place of the section's header, or of the whole section if it is an inline table.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the section's name in messages: `pool "web"`, or its header if it has no name.
    pub(super) fn label(&self) -> String {
        let name = self
            .table
            .get("name")
            .and_then(|name| name.get_ref().as_str());
        match name {
            Some(name) if self.schema.is_list() => {
                format!("{} {}", self.schema.name, quoted(name))
            }
            _ => self.schema.header.to_owned(),
        }
    }

    fn default<K: Kind>(
        &self,
        key: &Key<K>,
        default: &'static str,
    ) -> Result<Spanned<K::Value>, Reported> {
        let node = DeValue::parse(default).map_err(|error| {
            let message = format!(
                "the default of {} is not valid, which is a fault in lb: {error}",
                key.name
            );
            self.error(message, None)
        })?;
        let node = Spanned::new(self.span(), node.into_inner());
        let value = key.kind.read(&node, key.name, self.source)?;
        Ok(Spanned::new(self.span(), value))
    }

    fn missing(&self, key: &str, example: &str) -> Reported {
        self.error(
            format!("{} has no {key}", self.label()),
            format!("add it, for example: {key} = {example}"),
        )
    }

    fn refuse_unknown_keys(&self) {
        let allowed = self.schema.allowed();
        for key in self.table.keys() {
            if !allowed.contains(&&**key.get_ref()) {
                self.refuse_unknown_key(key.get_ref(), key.span(), &allowed);
            }
        }
    }

    fn refuse_unknown_key(&self, key: &str, span: Range<usize>, allowed: &[&'static str]) {
        let list = allowed.join(", ");
        let key_quoted = quoted(key);
        if self.schema.name.is_empty() {
            let message = format!("unknown section {key_quoted}");
            let hint = self.unknown_key_hint(key, allowed, &format!("known sections: {list}"));
            self.source.error(span, message, hint);
        } else {
            let message = format!("unknown key {key_quoted} in {}", self.schema.header);
            let hint = self.unknown_key_hint(key, allowed, &format!("known keys: {list}"));
            self.source.error(span, message, hint);
        }
    }

    /// Returns the hint for an unknown key: the key that was probably meant, or the sections that
    /// have it, and the `list` of known keys.
    fn unknown_key_hint(&self, key: &str, allowed: &[&'static str], list: &str) -> String {
        if let Some(near) = suggest::nearest(key, allowed.iter().copied()) {
            return format!("did you mean {near}?\n{list}");
        }
        let elsewhere: Vec<_> = self
            .root
            .walk()
            .into_iter()
            .filter(|schema| !schema.header.is_empty() && schema.allowed().contains(&key))
            .map(|schema| schema.header)
            .collect();
        if elsewhere.is_empty() {
            return list.to_owned();
        }
        format!("{key} belongs in {}\n{list}", suggest::listed(&elsewhere))
    }
}
