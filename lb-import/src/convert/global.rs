//! `[http]` and `[log.access]` from the `global` section.

use super::Converter;
use crate::{
    document::Table,
    haproxy::{model::Line, words},
};

impl Converter<'_> {
    /// Returns the tables of lb's configuration that hold for the whole process, `[http]` and
    /// `[log.access]`.
    pub(crate) fn global(&mut self) -> Vec<Table> {
        let mut http = Table::new("[http]");
        let lines: Vec<Line> = self
            .sections
            .0
            .iter()
            .filter(|section| section.kind() == "global")
            .flat_map(|section| section.lines.clone())
            .collect();
        let last = |keyword: &str| lines.iter().rfind(|line| line.keyword() == keyword);
        for (keyword, key) in [("maxconn", "max_connections"), ("nbthread", "workers")] {
            if let Some(line) = last(keyword).filter(|line| is_number(line.word(1))) {
                http.set(key, line.word(1), &[line.id]);
            }
        }
        if let Some(line) = last("hard-stop-after")
            && let Some(time) = words::duration(line.word(1))
        {
            http.text("drain_timeout", &time, &[line.id]);
        }
        let mut tables = Vec::new();
        if !http.is_empty() {
            http.origins = self.headers("global");
            tables.push(http);
        }
        tables.extend(self.access_log());
        tables
    }

    /// Returns the numbers in the [`Ledger`](crate::ledger::Ledger), which lists all directives, of
    /// the lines that begin the sections of one kind, such as `global`.
    fn headers(&self, kind: &str) -> Vec<crate::ledger::Id> {
        let of_kind = self
            .sections
            .0
            .iter()
            .filter(|section| section.kind() == kind);
        of_kind.map(|section| section.header.id).collect()
    }

    /// Returns `[log.access]`, if any section logs requests and the target of the log is known.
    fn access_log(&self) -> Option<Table> {
        let all: Vec<&Line> = self
            .sections
            .0
            .iter()
            .flat_map(|section| &section.lines)
            .collect();
        let of = |words: &[&str]| -> Vec<_> {
            let begins = |line: &&&Line| {
                words.len() <= line.words.len()
                    && line
                        .words
                        .iter()
                        .zip(words)
                        .all(|(one, other)| one == other)
            };
            all.iter().filter(begins).map(|line| line.id).collect()
        };
        let asked = of(&["option", "httplog"]);
        let targets: Vec<&Line> = all
            .iter()
            .filter(|line| line.keyword() == "log" && !matches!(line.word(1), "" | "global"))
            .copied()
            .collect();
        let first = targets.first()?;
        if asked.is_empty() {
            return None;
        }
        let mut table = Table::new("[log.access]");
        let to = if first.word(1) == "stdout" {
            "stdout"
        } else {
            "syslog"
        };
        let mut origins = asked;
        origins.push(first.id);
        origins.extend(of(&["log", "global"]));
        table.text("to", to, &origins).remark(
            "lb logs to /dev/log with facility local0, in its own format: see docs/operations.md",
        );
        Some(table)
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty()
        && word.len() < 10
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && !word.starts_with('0')
}
