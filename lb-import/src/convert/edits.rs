//! Changes of HTTP header fields, collected from the rules of haproxy.cfg.

use crate::{document::Table, ledger::Id};

/// Changes of the header of requests or of responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    set: Vec<(String, String, Id)>,
    add: Vec<(String, String, Id)>,
    remove: Vec<(String, Id)>,
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Adds a change that sets a header field. An earlier change that sets the same field is
    /// removed, because it has no effect any more; the directive that it comes from is returned.
    pub(crate) fn set(&mut self, name: &str, value: String, id: Id) -> Option<Id> {
        let earlier = self
            .set
            .iter()
            .position(|(other, ..)| other.eq_ignore_ascii_case(name));
        let earlier = earlier.map(|index| self.set.remove(index).2);
        self.set.push((name.to_owned(), value, id));
        earlier
    }

    /// Adds a change that adds a line of a header field. Returns false, and adds nothing, if
    /// another change already sets the field or adds a line of it: lb adds only one line of a
    /// field.
    pub(crate) fn add(&mut self, name: &str, value: String, id: Id) -> bool {
        let mut names = self.add.iter().chain(&self.set);
        let free = names.all(|(other, ..)| !other.eq_ignore_ascii_case(name));
        if free {
            self.add.push((name.to_owned(), value, id));
        }
        free
    }

    pub(crate) fn remove(&mut self, name: &str, id: Id) {
        if self
            .remove
            .iter()
            .all(|(other, _)| !other.eq_ignore_ascii_case(name))
        {
            self.remove.push((name.to_owned(), id));
        }
    }

    /// Adds the header changes of a backend, `other`, after these changes.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, value, id) in &other.set {
            self.set(name, value.clone(), *id);
        }
        for (name, value, id) in &other.add {
            self.add(name, value.clone(), *id);
        }
        for (name, id) in &other.remove {
            self.remove(name, *id);
        }
    }

    /// Returns the changes as a table of lb's configuration with this name, such as
    /// `service.request_headers`; `None` if there are no changes.
    pub(crate) fn table(&self, name: &str) -> Option<Table> {
        if self.is_empty() {
            return None;
        }
        let mut table = Table::new(&format!("[{name}]"));
        if !self.remove.is_empty() {
            let names: Vec<_> = self.remove.iter().map(|(name, _)| name).collect();
            let ids: Vec<_> = self.remove.iter().map(|(_, id)| *id).collect();
            table.list("remove", &names, &ids);
        }
        for (key, lines) in [("set", &self.set), ("add", &self.add)] {
            let mut inner = Table::new(&format!("[{name}.{key}]"));
            for (field, value, id) in lines {
                inner.text(&crate::document::quoted(field), value, &[*id]);
            }
            table.tables.extend((!inner.is_empty()).then_some(inner));
        }
        Some(table)
    }
}
