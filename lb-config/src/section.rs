//! Reading a section of the file by its [`Schema`].

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

/// A section of the file, whose keys have been checked against its schema.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    /// The schema of the whole file, in which a misplaced key is looked up.
    root: &'static Schema,
    schema: &'static Schema,
    table: &'a DeTable<'a>,
    /// Its header, or all of it where it is an inline table.
    span: Range<usize>,
}

impl<'a> Section<'a> {
    /// Opens the whole file and reports the sections that its schema does not have.
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

    /// Opens a section of the same file and reports the keys that its schema does not have.
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

    /// The value of a key, or its default. Reports a key that is missing and must not be.
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

    /// The value of a key where the file has it.
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

    /// The value and its place as the file has it, if it does.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(key.span().start..value.span().end.max(key.span().end))
    }

    /// The table of this name within the section, if the file has it.
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
                let message = format!("{} may stand in a file only once", schema.header);
                let hint = format!("write {} in single brackets, once", schema.header);
                Err(self.source.error(again, message, hint))
            }
            _ => {
                let wanted = format!("a table, {}", schema.header);
                Err(wrong_type(node, schema.name, &wanted, self.source))
            }
        }
    }

    /// The tables of this name within the section, in the order of the file.
    pub(super) fn tables(&self, schema: &'static Schema) -> Result<Vec<Section<'a>>, Reported> {
        let Some(node) = self.table.get(schema.name) else {
            return Ok(Vec::new());
        };
        match node.get_ref() {
            DeValue::Array(items) => {
                // Those that are tables are read, whatever the others are.
                let tables: Vec<_> = items.iter().map(|item| self.item(schema, item)).collect();
                match tables.iter().any(Result::is_ok) {
                    true => Ok(tables.into_iter().flatten().collect()),
                    false => tables.into_iter().collect(),
                }
            }
            DeValue::Table(_) => {
                let message = format!("{} is a list: there may be several", schema.path());
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

    /// Reports the second of several keys of which the section may have one.
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

    /// The text that is read and its findings.
    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    /// Its header, or all of it where it is an inline table.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What messages call it: `pool "web"`, or its header where it has no name.
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
            let message = format!("the default of {} is wrong in lb itself: {error}", key.name);
            self.error(message, None)
        })?;
        let node = Spanned::new(self.span(), node.into_inner());
        let value = key.kind.read(&node, key.name, self.source)?;
        Ok(Spanned::new(self.span(), value))
    }

    fn missing(&self, key: &str, example: &str) -> Reported {
        self.error(
            format!("{} has no {key}", self.label()),
            format!("add to it, for example: {key} = {example}"),
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
            let message = format!("there is no section {key_quoted}");
            let hint = self.unknown_key_hint(key, allowed, &format!("sections are: {list}"));
            self.source.error(span, message, hint);
        } else {
            let message = format!("{} has no key {key_quoted}", self.schema.header);
            let hint = self.unknown_key_hint(key, allowed, &format!("allowed here: {list}"));
            self.source.error(span, message, hint);
        }
    }

    /// The hint for a key that is not allowed: the key that was probably meant, or the sections that
    /// have it, and the `list` of allowed keys.
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
