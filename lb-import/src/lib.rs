//! Converts haproxy.cfg, keepalived.conf and the script that moves an Elastic IP into an `lb.toml`.
//!
//! Text in, text out: [`import`] reads no file. Each file is read by its own parser (`haproxy`,
//! `keepalived`, `script`), `convert` makes the tables of the output from them, `settle` removes
//! what lb's parser refuses, and `writer` writes each setting below a comment with the directives
//! that it comes from. The `ledger` has every directive of the input: a directive that no setting
//! comes from is in the notes, with a reason.

mod convert;
mod document;
mod haproxy;
mod keepalived;
mod ledger;
mod report;
mod script;
mod settle;
mod writer;

use std::{collections::BTreeMap, io, path::Path};

use lb_config::Errors;

pub use ledger::{Counts, Directive, Loss, Note};

/// A file that is converted.
#[derive(Clone, Copy, Debug)]
pub struct File<'t> {
    /// The file's name in comments and notes.
    pub name: &'t str,
    /// The content of the file.
    pub text: &'t str,
}

/// The files to convert. Any of them may be missing.
#[derive(Clone, Debug, Default)]
pub struct Input<'t> {
    /// The file haproxy.cfg; `None` if there is none to convert.
    pub haproxy: Option<File<'t>>,
    /// The file keepalived.conf; `None` if there is none to convert.
    pub keepalived: Option<File<'t>>,
    /// The script that keepalived.conf runs when the host becomes master; `None` if there is none
    /// to convert.
    pub script: Option<File<'t>>,
    /// The certificate files in each folder that `bind … crt FOLDER` names, by the folder as
    /// haproxy.cfg writes it.
    pub folders: BTreeMap<String, Vec<String>>,
    /// Whether the other host of the pair still runs Keepalived. The output then has no
    /// `[ha.link]`, which Keepalived does not speak, and no `[acme]`, which needs `[ha.link]` in a
    /// pair.
    pub keepalived_peer: bool,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The configuration of lb, which [`lb_config::Config::parse`] accepts.
    pub configuration: String,
    /// What is not in the configuration, in the order of the input.
    pub notes: Vec<Note>,
    /// What the operator must decide or fill in before the configuration is used.
    pub decisions: Vec<String>,
    /// What lb does differently from HAProxy with directives that are carried over.
    pub differences: Vec<String>,
    /// How many directives there were, and what became of them.
    pub counts: Counts,
}

/// Converts the input.
///
/// # Errors
///
/// lb's parser refuses the output whatever is left out of it, which is a bug of this crate.
pub fn import(input: &Input<'_>) -> Result<Import, Errors> {
    let mut ledger = ledger::Ledger::default();
    let mut document = convert::document(input, &mut ledger);
    let mut configuration = settle::settle(&mut document, &mut ledger);
    while configuration.is_err() && convert::complete(&mut document, &mut ledger) {
        configuration = settle::settle(&mut document, &mut ledger);
    }
    let configuration = configuration?;
    let pools = document
        .tables
        .iter()
        .filter(|table| table.header == "[[pool]]");
    let pools: Vec<_> = pools.filter_map(document::Table::name).collect();
    ledger.decide_about_lacking(&pools);
    Ok(ledger.close(&document.all_origins(), configuration))
}

/// Returns the folders of certificates that haproxy.cfg names, for which [`Input::folders`] needs
/// the files.
#[must_use]
pub fn certificate_folders(haproxy: File<'_>) -> Vec<String> {
    let sections = haproxy::model::read(haproxy.name, haproxy.text, &mut ledger::Ledger::default());
    convert::certificates::folders(&sections)
}

/// Lists the files of a folder of certificates as HAProxy reads it: sorted by name, without those
/// that end in `.key`, `.issuer`, `.ocsp` or `.sctl`. This is the only I/O of this crate.
///
/// # Errors
///
/// The folder cannot be read.
pub fn list_folder(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let beside = matches!(ending, Some("key" | "issuer" | "ocsp" | "sctl"));
        if let (true, false, Some(path)) = (path.is_file(), beside, path.to_str()) {
            files.push(path.to_owned());
        }
    }
    files.sort();
    Ok(files)
}
