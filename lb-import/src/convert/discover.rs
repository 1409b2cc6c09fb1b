//! Converts servers that are named by a host name in place of an address into `[pool.discover]`.

use super::Converter;
use crate::{
    Loss,
    document::{Table, quoted},
    haproxy::{
        model::{Line, Section},
        words,
    },
    ledger::Id,
};

/// The name in DNS that servers of a section have, and the table `[pool.discover]` for it.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// The name in DNS, with its port unless its records have ports.
    target: String,
    pub(crate) table: Table,
}

impl Converter<'_> {
    /// Adds a server with a host name to the discovery of its section. `parameters` are those of
    /// the server and of `default-server`; the server is not disabled. Returns whether it could be
    /// added; if not, the reason is in the ledger.
    pub(crate) fn discover(
        &mut self,
        line: &Line,
        (host, port): (&str, Option<u16>),
        parameters: &[(String, String, Id)],
        steered: bool,
        discovery: &mut Option<Discovery>,
    ) -> bool {
        let is_service = host.starts_with('_');
        let target = match port.filter(|_| !is_service) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        match discovery {
            Some(other) if other.target != target => {
                let why = format!(
                    "lb discovers the backends of a pool by one name, which is {} here: give both \
                     names' addresses to one name",
                    other.target
                );
                self.ledger.lose(line.id, why);
                return false;
            }
            Some(same) => same.table.origins.push(line.id),
            None => {
                let mut table = Table::from("[pool.discover]", line.id);
                let key = if is_service { "srv" } else { "dns" };
                table.text(key, host, &[line.id]);
                if let Some(port) = port.filter(|_| !is_service) {
                    table.set("port", port.to_string(), &[line.id]);
                }
                *discovery = Some(Discovery { target, table });
            }
        }
        let why = format!(
            "lb names backends that it discovers after their addresses, not \"{}\"",
            line.word(1)
        );
        self.ledger.partly(line.id, Loss::NotNeeded, why);
        for (key, value, id) in parameters {
            match &**key {
                "resolvers" => self.resolvers(value, *id, discovery),
                "resolve-prefer" => self.family(value, *id, steered, discovery),
                "weight" if is_service => {
                    self.ledger
                        .needless(*id, "weight: the records of the name have weights");
                }
                "weight" if value == "1" => {}
                "weight" => self.ledger.lose(
                    *id,
                    format!("weight {value}: all addresses of a name have the weight 1"),
                ),
                "backup" => self
                    .ledger
                    .lose(*id, "backup: the addresses of a name cannot be backups"),
                _ => {}
            }
        }
        true
    }

    /// Adds the key `family`, if the table does not have it.
    fn family(&mut self, value: &str, id: Id, steered: bool, discovery: &mut Option<Discovery>) {
        let Some(Discovery { table, .. }) = discovery else {
            return;
        };
        let given = table.settings.iter().find(|one| one.key == "family");
        match (value, given) {
            ("ipv6", _) if steered => self.ledger.lose(id, "the kernel forwards to IPv4 only"),
            ("ipv4" | "ipv6", None) => {
                table.text("family", value, &[id]);
            }
            ("ipv4" | "ipv6", Some(given)) if given.value == quoted(value) => {}
            _ => self.ledger.lose(
                id,
                format!("resolve-prefer {value}: lb uses the addresses of one family"),
            ),
        }
    }

    /// Adds the name servers and the interval of a `resolvers` section to the discovery of a pool.
    fn resolvers(&mut self, name: &str, id: Id, discovery: &mut Option<Discovery>) {
        let named = |section: &&Section| section.kind() == "resolvers" && section.name() == name;
        let Some(section) = self.sections.0.iter().find(named).cloned() else {
            let why =
                format!("the file has no resolvers {name}: lb asks those of /etc/resolv.conf");
            return self.ledger.lose(id, why);
        };
        let Some(Discovery { table, .. }) = discovery else {
            return;
        };
        if table.origins.contains(&section.header.id) {
            return;
        }
        if table.settings.iter().any(|one| one.key == "nameservers") {
            let why =
                format!("resolvers {name}: another server of the section has other resolvers");
            return self.ledger.lose(id, why);
        }
        table.origins.push(section.header.id);
        let (mut addresses, mut origins) = (Vec::new(), vec![id]);
        for line in &section.lines {
            match (line.keyword(), line.word(1)) {
                ("nameserver", name) => match words::name_server(line.word(2)) {
                    Some(address) => {
                        addresses.push(address.to_string());
                        origins.push(line.id);
                        let why = format!("lb's name servers have no names, such as \"{name}\"");
                        self.ledger.partly(line.id, Loss::NotNeeded, why);
                    }
                    None => self.ledger.lose(
                        line.id,
                        "lb asks name servers by their IP addresses, over UDP and TCP",
                    ),
                },
                ("parse-resolv-conf", _) => {}
                ("hold", "valid") => match words::duration(line.word(2)) {
                    Some(time) => drop(table.text("interval", &time, &[line.id])),
                    None => self
                        .ledger
                        .lose(line.id, format!("\"{}\" is no duration", line.word(2))),
                },
                ("hold", _) => self.ledger.needless(
                    line.id,
                    "lb keeps the backends that it had while the name servers fail, and drains a \
                     backend that two answers in a row do not have",
                ),
                ("timeout" | "resolve_retries", _) => self.ledger.needless(
                    line.id,
                    "the times after which lb asks name servers again are fixed",
                ),
                ("accepted_payload_size", _) => self.ledger.needless(
                    line.id,
                    "lb asks over TCP where an answer is too large for UDP",
                ),
                _ => self.ledger.unknown(
                    line.id,
                    format!("the import does not know {}", line.keyword()),
                ),
            }
        }
        for line in &section.lines {
            if line.keyword() == "parse-resolv-conf" {
                match addresses.is_empty() {
                    true => self.ledger.needless(
                        line.id,
                        "without nameservers lb asks those of /etc/resolv.conf",
                    ),
                    false => self.ledger.lose(
                        line.id,
                        "lb asks either the name servers of the pool or those of /etc/resolv.conf",
                    ),
                }
            }
        }
        if !addresses.is_empty() {
            table.list("nameservers", &addresses, &origins);
        }
    }
}
