//! Converts `timeout …` into `[service.timeouts]`.

use super::Converter;
use crate::{
    Loss,
    document::{Table, quoted},
    haproxy::{
        model::{Line, Section},
        words,
    },
    ledger::Ledger,
};

/// Keys of `[service.timeouts]`, each with the timeouts of HAProxy that can give its value: of
/// these, the first that haproxy.cfg sets is used.
const OF_FRONTEND: [(&str, &[&str]); 4] = [
    ("head", &["http-request", "client"]),
    ("body", &["client"]),
    ("keep_alive", &["http-keep-alive", "http-request", "client"]),
    ("send", &["client"]),
];
const OF_BACKEND: [(&str, &[&str]); 5] = [
    ("connect", &["connect"]),
    ("response_head", &["server"]),
    ("response_body", &["server"]),
    ("tunnel", &["tunnel"]),
    ("half_closed", &["client-fin", "server-fin"]),
];

impl Converter<'_> {
    /// Returns the timeouts of a service, from its frontend and its default backend.
    pub(crate) fn timeouts(
        &mut self,
        frontend: &Section,
        backend: Option<&Section>,
    ) -> Option<Table> {
        let mut table = Table::new("[service.timeouts]");
        let frontends = OF_FRONTEND.iter().map(|row| (row, frontend));
        let backends = OF_BACKEND
            .iter()
            .map(|row| (row, backend.unwrap_or(frontend)));
        for ((key, names), section) in frontends.chain(backends) {
            let line = names.iter().find_map(|name| self.timeout(section, name));
            if let Some((line, value)) = line {
                table.text(key, &value, &[line.id]);
            }
        }
        (!table.is_empty()).then_some(table)
    }

    /// Returns the line that sets a timeout in a section, and the value as lb writes it.
    pub(crate) fn timeout(&mut self, section: &Section, name: &str) -> Option<(Line, String)> {
        let old = match name {
            "client" => "clitimeout",
            "server" => "srvtimeout",
            "connect" => "contimeout",
            _ => "",
        };
        let modern = self
            .sections
            .last(section, &["timeout", name])
            .map(|line| (2, line));
        let (at, line) = match modern {
            Some(found) => found,
            None => (
                1,
                self.sections
                    .last(section, &[old])
                    .filter(|_| !old.is_empty())?,
            ),
        };
        match words::duration(line.word(at)) {
            Some(value) => Some((line, value)),
            None => {
                self.ledger
                    .lose(line.id, format!("\"{}\" is not a duration", line.word(at)));
                None
            }
        }
    }
}

/// Shortens the timeout of a check or of a tracked script to its interval, which a timeout of lb
/// cannot exceed. `default` is the interval that lb has where the table has none.
pub(crate) fn shorten(table: &mut Table, default: &str, ledger: &mut Ledger) {
    let interval = table
        .value("interval")
        .unwrap_or_else(|| default.to_owned());
    let timeout = table.settings.iter_mut().find(|one| one.key == "timeout");
    let Some(timeout) = timeout else {
        return;
    };
    let given = words::spelled_millis(timeout.value.trim_matches('"'));
    if given > words::spelled_millis(&interval) {
        timeout.value = quoted(&interval);
        for origin in &timeout.origins {
            let why = format!("lb's checks end before the next begins: the timeout is {interval}");
            ledger.partly(*origin, Loss::NotCarriedOver, why);
        }
    }
}
