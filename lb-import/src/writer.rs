//! Writes the document, which is the output of an import, as TOML, and records which table or
//! setting each line belongs to.

use crate::{
    document::{Setting, Table},
    ledger::{Id, Ledger, one_line},
};

/// The document, which is the output of an import, as text, and for each line of the text the table
/// or setting that the line belongs to.
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) owners: Vec<Option<Owner>>,
}

/// The table or setting that a line of the text belongs to: the indices that lead from the document
/// to the table, and the index of the setting in that table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Owner {
    pub(crate) table: Vec<usize>,
    pub(crate) setting: Option<usize>,
}

/// Writes the document, each setting below comments with the directives that it comes from.
pub(crate) fn write(document: &Table, ledger: &Ledger) -> Written {
    let mut writer = Writer {
        ledger,
        written: Written {
            text: String::new(),
            owners: Vec::new(),
        },
    };
    writer.table(document, &mut Vec::new());
    writer.written
}

struct Writer<'l> {
    ledger: &'l Ledger,
    written: Written,
}

impl Writer<'_> {
    fn table(&mut self, table: &Table, way: &mut Vec<usize>) {
        self.comments(&table.origins, &table.remarks);
        if !table.header.is_empty() {
            let owner = Owner {
                table: way.clone(),
                setting: None,
            };
            self.line(&table.header, Some(owner));
        }
        for (index, setting) in table.settings.iter().enumerate() {
            let Setting {
                key,
                value,
                origins,
                remarks,
            } = setting;
            self.comments(origins, remarks);
            let owner = Owner {
                table: way.clone(),
                setting: Some(index),
            };
            self.line(&format!("{key} = {value}"), Some(owner));
        }
        for (index, inner) in table.tables.iter().enumerate() {
            way.push(index);
            if !self.written.text.is_empty() {
                self.line("", None);
            }
            self.table(inner, way);
            way.pop();
        }
    }

    fn comments(&mut self, origins: &[Id], remarks: &[String]) {
        let mut seen = Vec::new();
        for origin in origins {
            if !seen.contains(origin) {
                seen.push(*origin);
                let place = self.ledger.place(*origin);
                let text = shortened(&self.ledger.directive(*origin).text);
                self.line(&format!("# {place}: {text}"), None);
            }
        }
        for remark in remarks {
            self.line(&format!("# {}", one_line(remark)), None);
        }
    }

    fn line(&mut self, text: &str, owner: Option<Owner>) {
        self.written.text.push_str(text);
        self.written.text.push('\n');
        self.written.owners.push(owner);
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}…")
}
