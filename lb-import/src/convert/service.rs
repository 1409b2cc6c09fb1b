//! Converts frontend and listen sections into services, one for each address that they bind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Converter;
use crate::{
    document::Table,
    haproxy::{
        format::Of,
        model::{Line, Section},
        words,
    },
    ledger::Id,
};

impl Converter<'_> {
    /// Returns the services of all frontend and listen sections.
    pub(crate) fn services(&mut self) -> Vec<Table> {
        let sections: Vec<Section> = self.sections.0.clone();
        let proxies = sections
            .iter()
            .filter(|section| matches!(section.kind(), "frontend" | "listen"));
        let mut tables = Vec::new();
        for section in proxies {
            if is_stats(section) {
                let why = "lb has a status page at [admin] listen, http://127.0.0.1:9145/, without a password: restrict access to it";
                for line in std::iter::once(&section.header).chain(&section.lines) {
                    self.ledger.otherwise(line.id, crate::Loss::NotNeeded, why);
                }
                continue;
            }
            for (bind, address) in self.binds(section) {
                tables.extend(self.service(section, &bind, address));
            }
        }
        tables
    }

    /// Returns the addresses that a section binds, each with its line.
    fn binds(&mut self, section: &Section) -> Vec<(Line, SocketAddr)> {
        let mut lines: Vec<Line> = section
            .lines
            .iter()
            .filter(|line| line.keyword() == "bind")
            .cloned()
            .collect();
        if section.header.word(2).contains(':') {
            let mut words = section.header.words.clone();
            words.remove(0);
            lines.insert(
                0,
                Line {
                    id: section.header.id,
                    words,
                },
            );
        }
        let mut binds = Vec::new();
        for line in lines {
            for listener in words::listeners(line.word(1)) {
                match listener {
                    Ok(address) => {
                        binds.push((line.clone(), address));
                        binds.extend(self.also_ipv4(&line, address));
                    }
                    Err(why) => self.ledger.lose(line.id, why),
                }
            }
        }
        binds
    }

    /// Returns the wildcard 0.0.0.0 if a `bind` line is for all IPv6 addresses: HAProxy accepts
    /// IPv4 there too, unless the line says `v6only`, and lb accepts only IPv6. `None` for any
    /// other line, or if another `bind` line has 0.0.0.0 with that port.
    fn also_ipv4(&self, line: &Line, address: SocketAddr) -> Option<(Line, SocketAddr)> {
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        let is_dual = address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED)
            && !line.words.iter().any(|word| word == "v6only");
        let lines = self.sections.0.iter().flat_map(|section| &section.lines);
        let binds = lines.filter(|line| line.keyword() == "bind");
        let mut others = binds.flat_map(|bind| words::listeners(bind.word(1)));
        let is_free = !others.any(|other| other == Ok(all));
        (is_dual && is_free).then(|| (line.clone(), all))
    }

    fn service(&mut self, section: &Section, bind: &Line, address: SocketAddr) -> Option<Table> {
        let (http, mode_line) = self.is_http(section);
        let tls = bind.words.iter().any(|word| word == "ssl");
        if tls && !http {
            self.ledger.lose(bind.id, "lb terminates TLS for HTTP only, and the section has mode tcp: pass TLS through to the backends, or write mode http");
            return None;
        }
        let arrival = self.arrival(address).filter(|_| http);
        let address = if let Some((own, _)) = arrival {
            own
        } else if http {
            address
        } else {
            self.refuse_choice(section);
            self.steered_address(bind, address)?
        };
        let default = self.default_backend(section);
        let mut names = self.services.clone();
        let wanted = if names
            .iter()
            .any(|name| *name == words::name(section.name()))
        {
            format!("{}-{}", section.name(), address.port())
        } else {
            section.name().to_owned()
        };
        let name = words::unique(&wanted, &mut names);
        self.services = names;
        let mut table = Table::from("[[service]]", section.header.id);
        table.text("name", &name, &[]);
        let origins: Vec<_> = [bind.id]
            .into_iter()
            .chain(arrival.map(|(_, id)| id))
            .collect();
        let listen = table.text("listen", &address.to_string(), &origins);
        if arrival.is_some() {
            listen.remark("the address that packets of clients arrive at: on 0.0.0.0 a planned change of the active host would not wait for requests in flight");
            self.ledger.decide(format!("[[service]] listen: {} is the address that packets of clients arrive at, in place of all addresses of this host; if clients use others, write a service for each", address.ip()));
        }
        let mode = match (http, tls) {
            (true, true) => "https",
            (true, false) => "http",
            (false, _) => "tcp",
        };
        let origins: Vec<_> = mode_line.iter().map(|line| line.id).collect();
        let setting = table.text("mode", mode, &origins);
        if http && mode_line.is_none() {
            setting.remark("the section names no mode, and has TLS or header rules, as for HTTP");
        }
        if let Some((pool, line)) = &default {
            let origins: Vec<_> = line.iter().map(|line| line.id).collect();
            table.text("pool", &words::name(pool.name()), &origins);
        }
        if http {
            let of = Of {
                tls,
                port: address.port(),
            };
            self.of_http(
                section,
                bind,
                default.as_ref().map(|(pool, _)| pool),
                of,
                &mut table,
            );
        }
        Some(table)
    }

    /// Returns the address to listen on in place of 0.0.0.0, and the directive that it comes from;
    /// `None` for any other address. During a hand-over of the active role, lb's XDP program holds
    /// back new connections only to the exact address of a service, not to a wildcard.
    fn arrival(&self, address: SocketAddr) -> Option<(SocketAddr, Id)> {
        let (own, id) = self.arrives_at.filter(|(own, _)| own.is_ipv4())?;
        let is_wildcard = address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED);
        is_wildcard.then(|| (SocketAddr::new(own, address.port()), id))
    }

    /// Reports every `use_backend` line of a service of mode tcp, which has only one pool.
    fn refuse_choice(&mut self, section: &Section) {
        for line in section
            .lines
            .iter()
            .filter(|line| line.keyword() == "use_backend")
        {
            self.ledger.lose(line.id, "the kernel does not read the content of connections, such as the server name in TLS: all connections go to the default backend");
        }
    }

    /// Returns the listen address of a service of mode tcp; `None` for an IPv6 address, which lb
    /// does not support there and which is reported as lost. The wildcard 0.0.0.0 is replaced by
    /// the first virtual address of the pair, else by this host's own address, else by 192.0.2.1
    /// for the operator to change: lb's XDP program finds the service by the destination address of
    /// packets, which is never a wildcard.
    fn steered_address(&mut self, bind: &Line, address: SocketAddr) -> Option<SocketAddr> {
        if address.is_ipv6() {
            self.ledger
                .lose(bind.id, "this version of lb steers only IPv4 in mode tcp");
            return None;
        }
        if !address.ip().is_unspecified() {
            return Some(address);
        }
        let own = self.own_address.map(|(own, _)| own).filter(IpAddr::is_ipv4);
        let own = own.unwrap_or_else(|| {
            self.ledger.decide(format!("{}: a service of mode tcp needs the address that its packets carry: write this host's in place of 192.0.2.1", self.ledger.place(bind.id)));
            IpAddr::from([192, 0, 2, 1])
        });
        Some(SocketAddr::new(own, address.port()))
    }

    /// Returns the section that serves the requests that no `use_backend` line sends elsewhere, and
    /// the line that names that section.
    fn default_backend(&mut self, section: &Section) -> Option<(Section, Option<Line>)> {
        let line = self.sections.last(section, &["default_backend"]);
        if let Some(line) = &line {
            if self.serves_challenges(line, line.word(1)) {
                return None;
            }
            let backend = self.sections.backend(line.word(1)).cloned();
            let usable = backend.filter(|_| self.pools.iter().any(|pool| pool == line.word(1)));
            if usable.is_none() {
                self.ledger.lose(
                    line.id,
                    format!("backend {} has no server that lb can use", line.word(1)),
                );
            }
            return usable.map(|backend| (backend, Some(line.clone())));
        }
        let own =
            section.kind() == "listen" && self.pools.iter().any(|pool| pool == section.name());
        own.then(|| (section.clone(), None))
    }

    fn of_http(
        &mut self,
        section: &Section,
        bind: &Line,
        default: Option<&Section>,
        of: Of,
        table: &mut Table,
    ) {
        let mut rules = self.rules(section, of);
        let routes = self.routes(section, default, of, &mut rules);
        self.announce(&routes, &rules);
        if of.tls {
            let (files, origins) = self.certificates(bind);
            if !files.is_empty() {
                table.list("certificates", &files, &origins);
            }
            let domains = self.domains(&files, &routes.hosts);
            if !domains.is_empty() {
                let mut origins = self.acme_origins.clone();
                let sections =
                    self.sections.0.iter().filter(|section| {
                        self.challenges.iter().any(|name| name == section.name())
                    });
                origins.extend(sections.map(|section| section.header.id));
                table.list("domains", &domains, &origins);
            }
            table.tables.extend(self.tls(bind));
        }
        for line in self.error_files(section, default) {
            let (status, file) = (line.word(1).to_owned(), line.word(2).to_owned());
            table.text(&format!("error_pages.{status}"), &file, &[line.id]);
        }
        table
            .tables
            .extend(rules.request.table("service.request_headers"));
        table
            .tables
            .extend(rules.response.table("service.response_headers"));
        table.tables.extend(self.timeouts(section, default));
        table.tables.extend(routes.tables);
    }

    /// Returns the `errorfile` lines that apply to a section: of several for one status, the last.
    fn error_files(&mut self, section: &Section, default: Option<&Section>) -> Vec<Line> {
        let mut all = default
            .map(|default| self.sections.effective(default))
            .unwrap_or_default();
        all.extend(self.sections.effective(section));
        let mut files: Vec<Line> = Vec::new();
        for line in all.into_iter().filter(|line| line.keyword() == "errorfile") {
            if !matches!(line.word(1).parse(), Ok(400..=599)) || line.word(1).len() != 3 {
                self.ledger
                    .lose(line.id, "lb's error pages are for statuses from 400 to 599");
                continue;
            }
            files.retain(|other| other.word(1) != line.word(1));
            files.push(line);
        }
        if !files.is_empty() {
            let named = files.iter().map(|line| {
                let place = self.ledger.place(line.id);
                format!("{} ({place})", line.word(2))
            });
            let named: Vec<_> = named.collect();
            self.ledger.decide(format!(
                "error pages: a file contains a whole HTTP response, as HAProxy needs it, and lb needs \
                 the body only: remove the status line and the headers, and name it .html: {}",
                named.join(", ")
            ));
        }
        files
    }

    fn tls(&mut self, bind: &Line) -> Option<Table> {
        let mut table = Table::new("[service.tls]");
        let has = |word: &str| bind.words.iter().any(|other| other == word);
        let value = |name: &str| {
            bind.words
                .windows(2)
                .find(|pair| pair[0] == name)
                .map(|pair| pair[1].clone())
        };
        let global = self
            .sections
            .0
            .iter()
            .filter(|section| section.kind() == "global");
        let options = global
            .flat_map(|section| &section.lines)
            .rfind(|line| line.keyword() == "ssl-default-bind-options")
            .cloned();
        let newest = |words: &[String]| {
            let tls13 = words
                .windows(2)
                .any(|pair| pair[0] == "ssl-min-ver" && pair[1] == "TLSv1.3");
            tls13
                || words
                    .iter()
                    .any(|word| matches!(&**word, "force-tlsv13" | "no-tlsv12"))
        };
        if newest(&bind.words) {
            table.text("min_version", "1.3", &[bind.id]);
        } else if let Some(line) = options {
            let version = if newest(&line.words) { "1.3" } else { "1.2" };
            table.text("min_version", version, &[line.id]);
        }
        let verify = value("verify");
        let wanted = match verify.as_deref() {
            Some("required") => Some("required"),
            Some("optional") => Some("optional"),
            _ => None,
        };
        if let (Some(wanted), Some(file)) = (wanted, value("ca-file")) {
            let base = super::certificates::base(&self.sections, "ca-base");
            let path = match &base {
                Some((base, _)) if !file.starts_with('/') => format!("{base}/{file}"),
                _ => file,
            };
            table.text("client_certificates", wanted, &[bind.id]);
            table.list("client_authorities", &[path], &[bind.id]);
            if let Some(file) = value("crl-file") {
                table.list("client_revocations", &[file], &[bind.id]);
            }
        }
        for (word, why) in [
            (
                "ciphers",
                "lb supports only suites with forward secrecy; `ciphers` of [service.tls] restricts them, by IANA's names",
            ),
            (
                "ciphersuites",
                "`ciphers` of [service.tls] restricts the suites, by IANA's names",
            ),
            (
                "crt-list",
                "the list of certificates is in another file: list its entries in `certificates`",
            ),
            ("curves", "`key_exchange` of [service.tls] has them"),
        ] {
            if has(word) {
                self.ledger.lose(bind.id, format!("{word}: {why}"));
            }
        }
        if has("accept-proxy") {
            self.ledger.decide(format!(
                "{}: turn off the PROXY protocol in the proxy in front of lb, and list that proxy in trusted_proxies of [http] if it sends X-Forwarded-For",
                self.ledger.place(bind.id)
            ));
            self.ledger.lose(bind.id, "accept-proxy: lb does not read the PROXY protocol: the proxy in front must not send it");
        }
        (!table.is_empty()).then_some(table)
    }
}

/// Whether a section serves only HAProxy's statistics page.
pub(super) fn is_stats(section: &Section) -> bool {
    let has = |keyword: &str| section.lines.iter().any(|line| line.keyword() == keyword);
    let exporter = section
        .lines
        .iter()
        .any(|line| line.words.iter().any(|word| word == "prometheus-exporter"));
    (has("stats") || exporter) && !has("server") && !has("default_backend") && !has("use_backend")
}
