//! Converts servers that are named by a host name in place of an address into `[pool.discover]`.

use super::Converter;
use crate::{
    Loss,
    document::{Table, listed, quoted},
    haproxy::{
        model::{Line, Section},
        words,
    },
    ledger::Id,
};

/// The names in DNS that servers of a section have, and the table `[pool.discover]` for them.
#[derive(Debug)]
pub(crate) struct Discovery {
    names: Names,
    pub(crate) table: Table,
}

/// The names in DNS of a table `[pool.discover]`.
#[derive(Debug)]
enum Names {
    /// Names whose addresses are backends, and the port of them.
    Hosts(Vec<String>, Option<u16>),
    /// A name with records of type SRV, which have ports.
    Service(String),
}

impl Discovery {
    fn new(names: Names, id: Id) -> Self {
        let mut table = Table::from("[pool.discover]", id);
        match &names {
            Names::Service(name) => drop(table.text("srv", name, &[id])),
            Names::Hosts(hosts, port) => {
                table.text("dns", &hosts.concat(), &[id]);
                if let Some(port) = port {
                    table.set("port", port.to_string(), &[id]);
                }
            }
        }
        Self { names, table }
    }

    /// Adds the name of another server of the section. Returns why that is not possible, if so.
    fn add(&mut self, host: &str, port: Option<u16>, id: Id) -> Result<(), String> {
        let hosts = match &mut self.names {
            Names::Service(name) if name == host => {
                self.table.origins.push(id);
                return Ok(());
            }
            Names::Service(name) => {
                return Err(format!(
                    "lb discovers the backends of a pool by one service in DNS, which is {name} \
                     here"
                ));
            }
            Names::Hosts(..) if host.starts_with('_') => {
                return Err(
                    "lb discovers the backends of a pool either by host names or by a \
                            service in DNS"
                        .to_owned(),
                );
            }
            Names::Hosts(_, expected) if *expected != port => {
                let expected = expected.map_or("none".to_owned(), |port| port.to_string());
                return Err(format!(
                    "all backends that lb discovers for a pool have one port, which is {expected} \
                     here"
                ));
            }
            Names::Hosts(hosts, _) => hosts,
        };
        self.table.origins.push(id);
        if !hosts.iter().any(|one| one.eq_ignore_ascii_case(host)) {
            hosts.push(host.to_owned());
            let settings = self.table.settings.iter_mut();
            for setting in settings.filter(|setting| setting.key == "dns") {
                setting.value = listed(hosts);
                setting.origins.push(id);
            }
        }
        Ok(())
    }
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
        let added = match discovery {
            Some(discovery) => discovery.add(host, port, line.id),
            None => {
                let names = match is_service {
                    true => Names::Service(host.to_owned()),
                    false => Names::Hosts(vec![host.to_owned()], port),
                };
                *discovery = Some(Discovery::new(names, line.id));
                Ok(())
            }
        };
        if let Err(why) = added {
            self.ledger.lose(line.id, why);
            return false;
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
                        .lose(line.id, format!("\"{}\" is not a duration", line.word(2))),
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
                    format!("the import does not support {}", line.keyword()),
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
