//! Changes of HTTP header fields, collected from the rules of haproxy.cfg.

use crate::{document::Table, ledger::Id};

/// Changes of the header of requests or of responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    set: Vec<(String, String, Id)>,
    add: Vec<(String, String, Id)>,
    remove: Vec<(String, Id)>,
}

/// What became of changes that were added to others.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The directives of changes that have no effect, because a later one replaces them.
    pub(crate) replaced: Vec<Id>,
    /// The directives of changes that lb has no equivalent for.
    pub(crate) refused: Vec<Id>,
}

fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Adds a change that sets a header field. Earlier changes of the same field are removed,
    /// because they have no effect any more; the directives that they come from are returned.
    pub(crate) fn set(&mut self, name: &str, value: String, id: Id) -> Vec<Id> {
        let earlier = self.forget(name);
        self.set.push((name.to_owned(), value, id));
        earlier
    }

    /// Adds a change that adds a line of a header field. Returns false, and adds nothing, if
    /// another change adds a line of it: lb adds only one line of a field.
    pub(crate) fn add(&mut self, name: &str, value: String, id: Id) -> bool {
        let free = !self.add.iter().any(|(other, ..)| is_same(other, name));
        if free {
            self.add.push((name.to_owned(), value, id));
        }
        free
    }

    /// Adds a change that removes a header field. Returns the directives of earlier changes of the
    /// same field, as [`Edits::set`] does.
    pub(crate) fn remove(&mut self, name: &str, id: Id) -> Vec<Id> {
        let earlier = self.forget(name);
        self.remove.push((name.to_owned(), id));
        earlier
    }

    /// Removes all changes of a field, and returns the directives that they come from.
    fn forget(&mut self, name: &str) -> Vec<Id> {
        let mut ids = Vec::new();
        for lines in [&mut self.set, &mut self.add] {
            lines.retain(|(other, _, id)| {
                let same = is_same(other, name);
                ids.extend(same.then_some(*id));
                !same
            });
        }
        self.remove.retain(|(other, id)| {
            let same = is_same(other, name);
            ids.extend(same.then_some(*id));
            !same
        });
        ids
    }

    /// Adds changes that HAProxy makes after these.
    pub(crate) fn extend(&mut self, later: &Self) -> Merged {
        let mut merged = Merged::default();
        for (name, id) in &later.remove {
            merged.replaced.extend(self.remove(name, *id));
        }
        for (name, value, id) in &later.set {
            merged.replaced.extend(self.set(name, value.clone(), *id));
        }
        for (name, value, id) in &later.add {
            if !self.add(name, value.clone(), *id) {
                merged.refused.push(*id);
            }
        }
        merged
    }

    /// Returns the changes that a route needs so that, applied after those of its service, they do
    /// what HAProxy does with these first and with those of the service, `later`, after them. Adds
    /// to `replaced` the directives of changes that have no effect then.
    pub(crate) fn before(&self, later: &Self, replaced: &mut Vec<Id>) -> Self {
        let decides = |name: &str| {
            let mut names = later.set.iter().map(|(name, ..)| name);
            let mut removed = later.remove.iter().map(|(name, _)| name);
            names.any(|other| is_same(other, name)) || removed.any(|other| is_same(other, name))
        };
        let added = |name: &str| later.add.iter().find(|(other, ..)| is_same(other, name));
        let mut route = Self::default();
        for (name, id) in &self.remove {
            if decides(name) {
                replaced.push(*id);
                continue;
            }
            route.remove.push((name.clone(), *id));
            // The route's change removes the line that the service adds, so it adds that again.
            route.add.extend(added(name).cloned());
        }
        for (name, value, id) in &self.set {
            if decides(name) {
                replaced.push(*id);
                continue;
            }
            route.set.push((name.clone(), value.clone(), *id));
            route.add.extend(added(name).cloned());
        }
        for (name, value, id) in &self.add {
            if decides(name) {
                replaced.push(*id);
            } else {
                route.add(name, value.clone(), *id);
            }
        }
        route
    }

    /// Whether a value has the variable `{host}`.
    pub(crate) fn names_the_host(&self) -> bool {
        let mut lines = self.set.iter().chain(&self.add);
        lines.any(|(_, value, _)| value.contains("{host}"))
    }

    /// Whether a field is set or removed whose name may be written with `_` in place of `-`.
    pub(crate) fn has_dashes(&self) -> bool {
        let set = self.set.iter().map(|(name, ..)| name);
        let mut names = set.chain(self.remove.iter().map(|(name, _)| name));
        names.any(|name| name.contains('-'))
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
