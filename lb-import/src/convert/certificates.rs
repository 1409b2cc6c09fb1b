//! The certificate files that `bind` lines of haproxy.cfg name.

use super::Converter;
use crate::{
    haproxy::model::{Line, Sections},
    ledger::Id,
};

/// Returns the folders that `crt` names in haproxy.cfg: a path is taken for a folder if its last
/// part has no dot.
pub(crate) fn folders(sections: &Sections) -> Vec<String> {
    let lines = sections.0.iter().flat_map(|section| &section.lines);
    let binds = lines.filter(|line| line.keyword() == "bind");
    let base = base(sections, "crt-base");
    let named = binds.flat_map(named);
    let named = named.map(|file| below(base.as_ref().map(|(base, _)| base.as_str()), &file));
    named.filter(|file| is_folder(file)).collect()
}

fn is_folder(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    file.ends_with('/') || !name.contains('.')
}

/// Returns the values of `crt` on a `bind` line.
fn named(line: &Line) -> Vec<String> {
    let pairs = line.words.windows(2);
    let pairs = pairs.filter(|pair| pair[0] == "crt");
    pairs.map(|pair| pair[1].clone()).collect()
}

fn below(base: Option<&str>, file: &str) -> String {
    match base {
        Some(base) if !file.starts_with('/') => format!("{}/{file}", base.trim_end_matches('/')),
        _ => file.to_owned(),
    }
}

/// Returns the value of a directive of `global`, such as `crt-base`: the folder that relative file
/// names are below.
pub(crate) fn base(sections: &Sections, keyword: &str) -> Option<(String, Id)> {
    let global = sections
        .0
        .iter()
        .filter(|section| section.kind() == "global");
    let mut lines = global.flat_map(|section| &section.lines);
    let line = lines.find(|line| line.keyword() == keyword)?;
    Some((line.word(1).to_owned(), line.id))
}

impl Converter<'_> {
    /// Returns the certificate files of a `bind` line, with the files of folders listed, and the
    /// directives that they come from.
    pub(crate) fn certificates(&mut self, bind: &Line) -> (Vec<String>, Vec<Id>) {
        let base = base(&self.sections, "crt-base");
        let mut origins = vec![bind.id];
        let mut files: Vec<String> = Vec::new();
        for name in named(bind) {
            if !name.starts_with('/') {
                origins.extend(base.as_ref().map(|(_, id)| *id));
            }
            let path = below(base.as_ref().map(|(base, _)| base.as_str()), &name);
            let path = if path.starts_with('/') {
                path
            } else {
                self.ledger.decide(format!(
                    "certificates: {path} is relative to the folder that HAProxy was started in, \
                     which the files do not name; if it is not /etc/haproxy, write it in place of \
                     /etc/haproxy"
                ));
                format!("/etc/haproxy/{path}")
            };
            let found = match self.folders.get(&path) {
                Some(listed) => listed.clone(),
                None if is_folder(&path) => {
                    let folder = path.trim_end_matches('/');
                    self.ledger.decide(format!("certificates: name the files of {folder}, which could not be listed, in place of {folder}/FILE.pem"));
                    vec![format!("{folder}/FILE.pem")]
                }
                None => vec![path],
            };
            for file in found {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        (files, origins)
    }
}
