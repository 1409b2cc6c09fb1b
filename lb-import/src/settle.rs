//! Removes from the document, which is the output of an import, what lb's own parser refuses, until
//! it accepts the rest.
//!
//! The conversion itself leaves out what lb is known not to have, and gives a suitable reason. What
//! it misses is caught here: a value that lb refuses for another reason (a regular expression with
//! look-around, a duration out of range) is removed and noted with the parser's message. So lb
//! accepts every output, and nothing is lost without a note.

use std::path::Path;

use lb_config::{Config, Errors};

use crate::{
    document::Table,
    ledger::Ledger,
    writer::{Owner, write},
};

/// Keys that a table of the output must have: if lb's parser refuses the value of one, the whole
/// table is removed.
const REQUIRED: [&str; 14] = [
    "name",
    "address",
    "listen",
    "mode",
    "type",
    "to",
    "status",
    "cookie",
    "peer",
    "source",
    "virtual_router_id",
    "dns",
    "srv",
    "port",
];

/// Removes from the document, which is the output of an import, what lb's parser refuses, and
/// returns the document as text that the parser accepts. The errors are those of the parser if
/// nothing more can be removed.
pub(crate) fn settle(document: &mut Table, ledger: &mut Ledger) -> Result<String, Errors> {
    loop {
        let written = write(document, ledger);
        let Err(errors) = Config::parse(Path::new("lb.toml"), &written.text) else {
            return Ok(written.text);
        };
        let mut refused: Vec<(Owner, String)> = Vec::new();
        for error in errors.diagnostics() {
            let line = error.line().and_then(|line| (line as usize).checked_sub(1));
            let owner = line.and_then(|line| written.owners.get(line).cloned().flatten());
            if let Some(owner) = owner {
                let owner = widened(document, owner);
                if refused.iter().all(|(other, _)| *other != owner) {
                    refused.push((owner, error.message.clone()));
                }
            }
        }
        // Tables and settings are removed from the end of the document to its beginning, so the
        // indices of those that are still to be removed stay valid.
        refused.sort_by(|one, other| other.0.cmp(&one.0));
        let mut changed = false;
        for (owner, message) in refused {
            changed |= take_out(document, &owner, &message, ledger);
        }
        remove_empty(document);
        if !changed {
            return Err(errors);
        }
    }
}

/// Returns what is removed because the parser refuses a line: only the line's setting, if the
/// setting has directives that it comes from and its table does not require it; otherwise the
/// innermost table that has such directives. A single condition of a route is never removed, as the
/// route would then take more requests than intended.
fn widened(document: &Table, owner: Owner) -> Owner {
    let Owner { mut table, setting } = owner;
    let found = find(document, &table);
    if let Some(index) = setting {
        let setting = found.and_then(|table| table.settings.get(index));
        let alone = |setting: &crate::document::Setting| {
            !setting.origins.is_empty() && !REQUIRED.contains(&&*setting.key)
        };
        if setting.is_some_and(alone) {
            return Owner {
                table,
                setting: Some(index),
            };
        }
    }
    while table.len() > 1 && find(document, &table).is_some_and(|table| table.origins.is_empty()) {
        table.pop();
    }
    Owner {
        table,
        setting: None,
    }
}

fn take_out(document: &mut Table, owner: &Owner, message: &str, ledger: &mut Ledger) -> bool {
    let why = format!("lb refuses it: {message}");
    if let Some(index) = owner.setting {
        let Some(table) = find_mut(document, &owner.table) else {
            return false;
        };
        if index >= table.settings.len() {
            return false;
        }
        for origin in table.settings.remove(index).origins {
            ledger.lose(origin, why.clone());
        }
        return true;
    }
    let Some((last, way)) = owner.table.split_last() else {
        return false;
    };
    let Some(parent) = find_mut(document, way) else {
        return false;
    };
    if *last >= parent.tables.len() || parent.tables[*last].header == "[node]" {
        return false;
    }
    let removed = parent.tables.remove(*last);
    if removed.header == "[[pool.backend]]"
        && let Some(origin) = removed.origins.first()
    {
        let server = removed.name().or_else(|| removed.value("address"));
        let pool = parent.name().unwrap_or_default();
        ledger.lack(&pool, &server.unwrap_or_default(), *origin);
    }
    for origin in removed.all_origins() {
        ledger.lose(origin, why.clone());
    }
    true
}

/// Removes the tables within a table that have neither settings nor tables any more. `[acme]` needs
/// none.
fn remove_empty(table: &mut Table) {
    table.tables.iter_mut().for_each(remove_empty);
    let needs_none = |inner: &Table| matches!(&*inner.header, "[acme]" | "[node]");
    table
        .tables
        .retain(|inner| !inner.is_empty() || needs_none(inner));
}

fn find<'t>(document: &'t Table, way: &[usize]) -> Option<&'t Table> {
    way.iter()
        .try_fold(document, |table, index| table.tables.get(*index))
}

fn find_mut<'t>(document: &'t mut Table, way: &[usize]) -> Option<&'t mut Table> {
    way.iter()
        .try_fold(document, |table, index| table.tables.get_mut(*index))
}
