//! Converts `server`, `server-template` and `default-server` into backends.

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

/// Parameters of `server` and `default-server` that take no value.
const ALONE: [&str; 39] = [
    "tls-tickets",
    "agent-check",
    "check-reuse-pool",
    "check-sni-auto",
    "check-via-socks4",
    "force-sslv3",
    "force-tlsv10",
    "force-tlsv11",
    "renegotiate",
    "sni-auto",
    "ssl-reuse",
    "strict-maxconn",
    "check",
    "no-check",
    "backup",
    "disabled",
    "enabled",
    "ssl",
    "no-ssl",
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2-ssl",
    "send-proxy-v2-ssl-cn",
    "check-send-proxy",
    "check-ssl",
    "non-stick",
    "stick",
    "no-backup",
    "tfo",
    "no-sslv3",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tlsv13",
    "no-tls-tickets",
    "force-tlsv12",
    "force-tlsv13",
    "allow-0rtt",
    "no-send-proxy",
];

/// Parameters of `server` and `default-server` about TLS to the server, which do nothing without
/// `ssl`.
const OF_TLS: [&str; 21] = [
    "ciphersuites",
    "client-sigalgs",
    "crl-file",
    "curves",
    "force-sslv3",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "ktls",
    "no-sslv3",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tlsv13",
    "no-verifyhost",
    "renegotiate",
    "sigalgs",
    "sni-auto",
    "ssl-reuse",
    "tls-tickets",
];

/// Parameters of `server` and `default-server` that take a value and that lb does not need, each
/// with the reason.
const NEEDLESS: [(&str, &str); 16] = [
    ("guid", "lb has names only"),
    ("resolve-net", "the server has an address"),
    ("npn", "lb speaks HTTP/1.1 to backends"),
    ("cookie", "lb's cookie does not name the backend"),
    ("id", "lb has names only"),
    ("fastinter", "lb checks at one interval"),
    ("downinter", "lb checks at one interval"),
    ("init-addr", "lb keeps discovered backends across a restart"),
    ("resolvers", "the server has an address"),
    ("resolve-prefer", "the server has an address"),
    ("resolve-opts", "lb uses each address of a name once"),
    ("alpn", "lb speaks HTTP/1.1 to backends"),
    ("proto", "lb speaks HTTP/1.1 to backends"),
    (
        "pool-max-conn",
        "[http] idle_connections applies to all backends",
    ),
    (
        "pool-purge-delay",
        "[http] idle_connections applies to all backends",
    ),
    ("minconn", "lb's limit does not adapt to the load"),
];

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

    /// Returns the parameters of a server with their values and directives. Those of
    /// `default-server` come first, and the server's own replace them.
    fn parameters(line: &Line, defaults: &[Line]) -> Vec<(String, String, Id)> {
        let mut all: Vec<(String, String, Id)> = Vec::new();
        let sources = defaults.iter().map(|line| (line.id, line.after(1)));
        for (id, words) in sources.chain([(line.id, line.after(3))]) {
            let mut words = words.iter();
            while let Some(word) = words.next() {
                let value = if ALONE.contains(&&**word) || word.starts_with("no-") {
                    None
                } else {
                    words.next()
                };
                if let Some(on) = word.strip_prefix("no-").filter(|on| ALONE.contains(on)) {
                    all.retain(|(key, ..)| key != on);
                    continue;
                }
                all.retain(|(key, ..)| key != word);
                all.push((word.clone(), value.cloned().unwrap_or_default(), id));
            }
        }
        all
    }

    fn parameter(
        &mut self,
        key: &str,
        value: &str,
        id: Id,
        (line, steered): (&Line, bool),
        table: &mut Table,
        servers: &mut Servers,
    ) {
        let number = value.len() < 10 && value.parse::<u32>().is_ok();
        match key {
            "check" => servers.checked.push(id),
            "inter" => match words::duration(value) {
                Some(time) => {
                    self.of_check("interval", crate::document::quoted(&time), id, servers);
                }
                None => self
                    .ledger
                    .lose(id, format!("\"{value}\" is not a duration")),
            },
            "rise" if number => self.of_check("rise", value.to_owned(), id, servers),
            "fall" if number => self.of_check("fall", value.to_owned(), id, servers),
            "weight" if number => {
                table.set("weight", value, &[id]);
            }
            "backup" if steered => self.ledger.lose(
                id,
                "a pool of a tcp service has no backups: it gets connections like the others",
            ),
            "backup" => {
                table.set("backup", "true", &[id]);
            }
            "maxconn" if number && steered => self
                .ledger
                .lose(id, "the kernel does not limit connections"),
            "maxconn" if number => self.limit(value, id, servers),
            "maxqueue" if number => servers.queue = Some((value.to_owned(), id)),
            "slowstart" => match words::duration(value) {
                Some(time) => servers.slow_start = Some((time, id)),
                None => self
                    .ledger
                    .lose(id, format!("\"{value}\" is not a duration")),
            },
            "enabled" | "stick" | "no-ssl" | "no-send-proxy" => {}
            "send-proxy" | "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                self.ledger.lose(id, format!("lb does not send the PROXY protocol ({key}): the backend must not expect it; HTTP backends see the client in X-Forwarded-For, backends of a tcp service see it if forward = \"dnat\""));
                self.ledger.decide(format!(
                    "{}: turn the PROXY protocol off on {}",
                    self.ledger.place(line.id),
                    line.word(2)
                ));
            }
            key if OF_TLS.contains(&key) => {
                let why = format!("{key}: the server is not reached over TLS");
                self.ledger.needless(id, why);
            }
            key if key.starts_with("set-proxy-v2-tlv-fmt(") => {
                let why = "lb does not send the PROXY protocol";
                self.ledger.lose(id, why);
            }
            key => match NEEDLESS.iter().find(|(name, _)| *name == key) {
                Some((_, why)) => self.ledger.needless(id, format!("{key}: {why}")),
                None if matches!(
                    key,
                    "port"
                        | "addr"
                        | "track"
                        | "agent-check"
                        | "agent-port"
                        | "agent-inter"
                        | "observe"
                        | "error-limit"
                        | "on-error"
                        | "on-marked-down"
                        | "on-marked-up"
                        | "check-ssl"
                        | "check-send-proxy"
                        | "check-sni"
                        | "source"
                        | "redir"
                        | "verify"
                        | "ca-file"
                        | "crt"
                        | "sni"
                        | "non-stick"
                        | "usesrc"
                        | "namespace"
                        | "tcp-ut"
                        | "tfo"
                        | "socks4"
                        | "pool-low-conn"
                        | "ws"
                        | "init-state"
                        | "shard"
                        | "verifyhost"
                        | "ciphers"
                        | "ssl-min-ver"
                        | "ssl-max-ver"
                        | "max-reuse"
                        | "agent-addr"
                        | "agent-send"
                        | "cc"
                        | "check-alpn"
                        | "check-pool-conn-name"
                        | "check-proto"
                        | "check-reuse-pool"
                        | "check-sni-auto"
                        | "check-via-socks4"
                        | "hash-key"
                        | "healthcheck"
                        | "idle-ping"
                        | "log-bufsize"
                        | "log-proto"
                        | "pool-conn-name"
                        | "proxy-v2-options"
                        | "quic-cc-algo"
                        | "strict-maxconn"
                        | "tcp-md5sig"
                ) =>
                {
                    let why = format!("lb has no setting for {key} {value}");
                    self.ledger.lose(id, why.trim_end());
                }
                None => self
                    .ledger
                    .unknown(id, format!("the import does not support {key}")),
            },
        }
    }

    /// Adds a key of the health check, which must be the same for all backends of a pool; a
    /// different value is reported as lost.
    fn of_check(&mut self, key: &'static str, value: String, id: Id, servers: &mut Servers) {
        let earlier = servers.times.iter().find(|(other, _)| *other == key);
        match earlier {
            Some((_, (other, _))) if *other != value => {
                self.ledger.lose(
                    id,
                    format!("lb checks all backends of a pool alike: {key} is {other}"),
                );
            }
            Some(_) => {}
            None => servers.times.push((key, (value, id))),
        }
    }

    fn limit(&mut self, value: &str, id: Id, servers: &mut Servers) {
        match &mut servers.limit {
            Some((other, ids)) if other == value => ids.push(id),
            Some((other, _)) => self.ledger.lose(
                id,
                format!(
                    "lb has one limit of connections for every backend of a pool, and that is {other}"
                ),
            ),
            None => servers.limit = Some((value.to_owned(), vec![id])),
        }
    }
}
