//! Converts `server`, `server-template` and `default-server` into backends.

mod parameters;

use super::{Converter, discover::Discovery};
use crate::{
    Loss,
    document::Table,
    haproxy::{
        model::{Line, Section},
        words,
    },
    ledger::Id,
};

/// The servers of a section, and those of their parameters that lb sets for the whole pool.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    pub(crate) tables: Vec<Table>,
    /// `[pool.discover]`, if servers have a host name in place of an address.
    pub(crate) discovery: Option<Discovery>,
    /// Whether a server of the section has an address, so that its backends are not discovered.
    has_addresses: bool,
    pub(crate) count: usize,
    /// The directives that switch on health checks of servers.
    pub(crate) checked: Vec<Id>,
    /// Keys of `[pool.check]`, with their values and directives.
    pub(crate) times: Vec<(&'static str, (String, Id))>,
    /// The value of the servers' parameter `maxconn`, and the directives that it comes from.
    pub(crate) limit: Option<(String, Vec<Id>)>,
    pub(crate) queue: Option<(String, Id)>,
    pub(crate) slow_start: Option<(String, Id)>,
    /// Names that backends of the pool have already, so no two get the same.
    names: Vec<String>,
    addresses: Vec<String>,
    /// Servers that HAProxy sends requests to and the pool lacks, by their names.
    pub(crate) lacking: Vec<(String, Id)>,
}

impl Converter<'_> {
    /// Reads the servers of a section.
    pub(crate) fn servers(&mut self, section: &Section, steered: bool) -> Servers {
        let mut servers = Servers::default();
        let port = Self::only_port(section);
        let mut defaults: Vec<Line> = Vec::new();
        let lines = self.sections.effective(section);
        servers.has_addresses = lines.iter().any(|line| {
            let address = if line.keyword() == "server" { 2 } else { 3 };
            matches!(line.keyword(), "server" | "server-template")
                && words::server_address(line.word(address), port.or(Some(1))).is_ok()
        });
        for line in lines {
            let is_carried = match line.keyword() {
                "default-server" => {
                    defaults.push(line);
                    continue;
                }
                "server" => self.server(&line, &defaults, port, steered, &mut servers),
                "server-template" => {
                    let why = format!(
                        "a pool of lb has all addresses of the name, not {}",
                        line.word(2)
                    );
                    self.ledger.partly(line.id, Loss::NotCarriedOver, why);
                    let mut line = line.clone();
                    if line.words.len() > 2 {
                        line.words.remove(2);
                    }
                    self.server(&line, &defaults, port, steered, &mut servers)
                }
                _ => continue,
            };
            if !is_carried {
                servers.lacking.push((line.word(1).to_owned(), line.id));
            }
        }
        let unread = section.unread.iter();
        let unread = unread.filter(|line| matches!(line.keyword(), "server" | "server-template"));
        let unread = unread.map(|line| (line.word(1).to_owned(), line.id));
        servers.lacking.extend(unread);
        servers
    }

    /// Returns the port for servers that name none: that of the section's `bind`, if there is
    /// exactly one.
    fn only_port(section: &Section) -> Option<u16> {
        let binds: Vec<_> = section
            .lines
            .iter()
            .filter(|line| line.keyword() == "bind")
            .collect();
        let [bind] = &*binds else {
            return None;
        };
        match &*words::listeners(bind.word(1)) {
            [Ok(address)] => Some(address.port()),
            _ => None,
        }
    }

    /// Adds a server to `servers`. Returns false if HAProxy sends requests to the server, and the pool
    /// cannot have it; the reason is then in the ledger.
    fn server(
        &mut self,
        line: &Line,
        defaults: &[Line],
        port: Option<u16>,
        steered: bool,
        servers: &mut Servers,
    ) -> bool {
        let parameters = Self::parameters(line, defaults);
        let find = |name: &str| parameters.iter().rfind(|(key, ..)| key == name);
        let is_off = find("disabled").is_some()
            || find("weight").is_some_and(|(_, weight, _)| weight == "0");
        let name = words::server_name(line.word(2), port);
        let address = match (words::server_address(line.word(2), port), &name) {
            (Ok(address), _) => Some(address),
            (Err(_), Some((host, _))) if servers.has_addresses => {
                self.ledger.lose(
                    line.id,
                    format!(
                        "\"{host}\" is a name, and other servers of the section have addresses: a \
                         pool of lb either lists its backends or discovers them"
                    ),
                );
                return is_off;
            }
            (Err(_), Some((host, port))) if port.is_some() || host.starts_with('_') => None,
            (Err(why), _) => {
                self.ledger.lose(line.id, why);
                return is_off;
            }
        };
        if let Some(address) = address
            && let Err(why) = Self::fits(address, steered, servers)
        {
            self.ledger.lose(line.id, why);
            return is_off || servers.addresses.contains(&address.to_string());
        }
        for (stop, why) in [
            (
                "disabled",
                "it is disabled: add it, and take it out of service with `lb backend down`",
            ),
            (
                "ssl",
                "lb connects to backends without TLS: give the backend a port without TLS, in a network that you trust",
            ),
        ] {
            if let Some((_, _, id)) = find(stop) {
                self.ledger.lose(line.id, why);
                if *id != line.id {
                    self.ledger.lose(*id, why);
                }
                return is_off;
            }
        }
        if let Some((_, _, id)) = find("weight").filter(|(_, weight, _)| weight == "0") {
            self.ledger.lose(
                *id,
                "its weight is 0: add it, and take it out of service with `lb backend drain`",
            );
            return true;
        }
        let Some(address) = address else {
            let (host, port) = name.unwrap_or_default();
            let is_discovered = self.discover(
                line,
                (&host, port),
                &parameters,
                steered,
                &mut servers.discovery,
            );
            if is_discovered {
                servers.count += 1;
                let of_discovery = ["resolvers", "resolve-prefer", "weight", "backup"];
                let others = parameters.into_iter();
                let others = others.filter(|(key, ..)| !of_discovery.contains(&&**key));
                let mut unused = Table::default();
                for (key, value, id) in others {
                    self.parameter(&key, &value, id, (line, steered), &mut unused, servers);
                }
            }
            return is_discovered;
        };
        let given = address.to_string();
        servers.addresses.push(given.clone());
        servers.count += 1;
        let mut table = Table::from("[[pool.backend]]", line.id);
        let name = words::unique(line.word(1), &mut servers.names);
        if name != line.word(1) {
            self.ledger.lose(
                line.id,
                format!(
                    "lb does not allow its name, or the name is used twice: it is called \
                     \"{name}\" instead"
                ),
            );
        }
        table.text("name", &name, &[]);
        table.text("address", &given, &[]);
        for (key, value, id) in parameters {
            self.parameter(&key, &value, id, (line, steered), &mut table, servers);
        }
        servers.tables.push(table);
        true
    }

    /// Returns why a server with this address cannot be a backend of its section's pool.
    fn fits(
        address: std::net::SocketAddr,
        steered: bool,
        servers: &Servers,
    ) -> Result<(), &'static str> {
        let ip = address.ip();
        if steered && (ip.is_ipv6() || ip.is_loopback() || ip.is_unspecified()) {
            return Err("the kernel forwards to IPv4 addresses of other hosts only");
        }
        if servers.addresses.contains(&address.to_string()) {
            return Err("another server of the section has the same address");
        }
        Ok(())
    }
}
