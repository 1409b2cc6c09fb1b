//! The parameters of `server` and `default-server`.

use super::{Converter, Servers};
use crate::{
    document::Table,
    haproxy::{model::Line, words},
    ledger::Id,
};

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
    /// Returns the parameters of a server with their values and directives. Those of
    /// `default-server` come first, and the server's own replace them.
    pub(super) fn parameters(line: &Line, defaults: &[Line]) -> Vec<(String, String, Id)> {
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

    pub(super) fn parameter(
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
