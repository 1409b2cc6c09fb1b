//! Converts backend and listen sections into pools.

use super::{Converter, server::Servers, timeouts};
use crate::{
    document::{Table, quoted},
    haproxy::{
        model::{Line, Section},
        words,
    },
};

/// Keywords that only HTTP has: a section with one of them is of mode http if it does not state its
/// mode.
const OF_HTTP: [&str; 14] = [
    "reqadd",
    "reqrep",
    "reqirep",
    "reqdel",
    "reqidel",
    "rspadd",
    "rspdel",
    "rspidel",
    "redirect",
    "http-request",
    "http-response",
    "cookie",
    "reqdeny",
    "reqideny",
];

/// Options that say how servers are checked.
const OF_CHECKS: [&str; 10] = [
    "httpchk",
    "tcp-check",
    "ssl-hello-chk",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "smtpchk",
    "ldap-check",
    "external-check",
    "spop-check",
];

impl Converter<'_> {
    /// Returns whether a section is of mode http, and its line `mode`; `None` if it has no such
    /// line.
    pub(crate) fn is_http(&self, section: &Section) -> (bool, Option<Line>) {
        if let Some(mode) = self.sections.last(section, &["mode"]) {
            return (mode.word(1) == "http", Some(mode));
        }
        let tells = |line: &&Line| {
            OF_HTTP.contains(&line.keyword())
                || (line.keyword() == "bind" && line.words.iter().any(|word| word == "ssl"))
                || (line.keyword() == "option"
                    && matches!(line.word(1), "httpchk" | "httplog" | "forwardfor"))
        };
        let effective = self.sections.effective(section);
        (effective.iter().any(|line| tells(&line)), None)
    }

    /// Returns the pools of all sections that have servers.
    pub(crate) fn pools(&mut self) -> Vec<Table> {
        let steered = self.steered_pools();
        let sections: Vec<Section> = self.sections.0.clone();
        let mut tables = Vec::new();
        for section in &sections {
            let is_challenge = section.kind() == "backend"
                && self.challenges.iter().any(|name| name == section.name());
            let is_stats = super::service::is_stats(section);
            if matches!(section.kind(), "backend" | "listen") && !is_challenge && !is_stats {
                let is_steered = steered.iter().any(|name| name == section.name());
                tables.extend(self.pool(section, is_steered));
            }
        }
        tables
    }

    /// Returns the names of the sections whose pools are used by services of mode tcp: lb's XDP
    /// program forwards their packets and reads no requests.
    fn steered_pools(&self) -> Vec<String> {
        let proxies = self
            .sections
            .0
            .iter()
            .filter(|section| matches!(section.kind(), "frontend" | "listen"));
        let tcp = proxies.filter(|section| !self.is_http(section).0);
        let mut names = Vec::new();
        for section in tcp {
            names.push(section.name().to_owned());
            names.extend(
                self.sections
                    .last(section, &["default_backend"])
                    .map(|line| line.word(1).to_owned()),
            );
        }
        names
    }

    fn pool(&mut self, section: &Section, steered: bool) -> Option<Table> {
        let mut servers = self.servers(section, steered);
        self.keep_one_that_is_no_backup(&mut servers.tables);
        if servers.tables.is_empty() && servers.discovery.is_none() {
            for line in std::iter::once(&section.header).chain(&section.lines) {
                self.ledger.otherwise(
                    line.id,
                    crate::Loss::NotCarriedOver,
                    "its section has no server that lb can use",
                );
            }
            return None;
        }
        let mut taken = self.pools.clone();
        let name = words::unique(section.name(), &mut taken);
        if name != section.name() {
            self.ledger.lose(
                section.header.id,
                format!(
                    "lb does not allow its name, or the name is used twice: it is called \
                     \"{name}\" instead"
                ),
            );
        }
        self.pools.push(section.name().to_owned());
        for (server, id) in &servers.lacking {
            self.ledger.lack(&name, server, *id);
        }
        let mut table = Table::from("[[pool]]", section.header.id);
        table.text("name", &name, &[]);
        self.balance(section, steered, &mut table);
        self.retries(section, &mut table);
        if let Some((limit, ids)) = servers.limit.clone().filter(|_| !steered) {
            table.set("max_connections", limit, &ids);
        }
        if let Some((time, id)) = servers.slow_start.clone().filter(|_| !steered) {
            table.text("slow_start", &time, &[id]);
        }
        table.tables.extend(self.check(section, &servers));
        if !steered {
            table.tables.extend(self.sticky(section));
            table.tables.extend(self.queue(section, &servers));
        }
        table.tables.extend(servers.tables);
        table
            .tables
            .extend(servers.discovery.map(|discovery| discovery.table));
        Some(table)
    }

    /// Makes all backends of a pool ordinary ones if all of them are backups: lb has backups only
    /// beside other backends.
    fn keep_one_that_is_no_backup(&mut self, backends: &mut [Table]) {
        let is_backup =
            |table: &Table| table.settings.iter().any(|setting| setting.key == "backup");
        if !backends.iter().all(is_backup) {
            return;
        }
        for table in backends {
            table.settings.retain(|setting| setting.key != "backup");
            for origin in &table.origins {
                let why = "all servers of the section are backups, and lb needs one that is not: they become ordinary backends";
                self.ledger.needless(*origin, why);
            }
        }
    }

    fn balance(&mut self, section: &Section, steered: bool, table: &mut Table) {
        let Some(line) = self.sections.last(section, &["balance"]) else {
            return;
        };
        let argument = line.word(1);
        let (name, inner) = argument.split_once('(').unwrap_or((argument, ""));
        let inner = inner.trim_end_matches(')');
        let (balance, hash_by) = match name {
            "roundrobin" | "static-rr" => ("round_robin", None),
            "source" => ("source", None),
            "leastconn" => ("least_connections", None),
            "random" => ("random_two", None),
            "uri" if line.words.iter().any(|word| word == "whole") => {
                ("hash", Some("uri".to_owned()))
            }
            "uri" => ("hash", Some("path".to_owned())),
            "hdr" => ("hash", Some(format!("header:{inner}"))),
            _ => {
                return self.ledger.lose(
                    line.id,
                    format!(
                        "lb has no balancing method like {argument}: each backend gets requests in turn"
                    ),
                );
            }
        };
        if steered && !matches!(balance, "round_robin" | "source") {
            return self.ledger.lose(line.id, format!("the kernel does not know the load of backends and reads no requests, so a pool of a tcp service cannot have {argument}: each backend gets connections in turn"));
        }
        table.text("balance", balance, &[line.id]);
        if let Some(hash_by) = hash_by {
            table.text("hash_by", &hash_by, &[line.id]);
        }
    }

    fn retries(&mut self, section: &Section, table: &mut Table) {
        let Some(line) = self.sections.last(section, &["retries"]) else {
            return;
        };
        match line.word(1).parse::<u32>() {
            Ok(count) => {
                if count > 3 {
                    self.ledger
                        .lose(line.id, "lb tries at most 3 other backends");
                }
                table.set("retries", count.min(3).to_string(), &[line.id]);
            }
            Err(_) => self.ledger.lose(line.id, "it is not a number"),
        }
    }

    /// Returns `[pool.check]`; `None` if no server of the section has a health check.
    fn check(&mut self, section: &Section, servers: &Servers) -> Option<Table> {
        let option = self.check_option(section);
        let Some(first) = servers.checked.first() else {
            if let Some(line) = option {
                let why = "no server of the section has `check`";
                self.ledger.otherwise(line.id, crate::Loss::NotNeeded, why);
            }
            return None;
        };
        let mut table = Table::new("[pool.check]");
        if servers.checked.len() < servers.count {
            self.ledger.decide(format!(
                "pool \"{}\": HAProxy checks only some of its servers, lb checks all backends of a pool",
                section.name()
            ));
        }
        match &option {
            Some(line) if line.word(1) == "httpchk" => {
                table.text("type", "http", &[line.id, *first]);
                self.http_check(section, line, &mut table);
            }
            Some(line) => {
                let mut origins = vec![*first];
                match self.only_connects(section) {
                    Some(steps) if line.word(1) == "tcp-check" => {
                        origins.push(line.id);
                        origins.extend(steps);
                    }
                    _ => self.ledger.lose(line.id, "lb checks by a TCP connection or an HTTP request: for other checks, let a script on the backend answer the HTTP request"),
                }
                table.text("type", "tcp", &origins);
            }
            None => {
                table.text("type", "tcp", &[*first]);
            }
        }
        for (key, value) in &servers.times {
            let (value, id) = value;
            table.set(key, value.clone(), &[*id]);
        }
        if let Some((line, time)) = self.timeout(section, "check") {
            table.text("timeout", &time, &[line.id]);
        }
        timeouts::shorten(&mut table, "2s", self.ledger);
        Some(table)
    }

    /// Returns the option that says how the servers of a section are checked: the last of all such
    /// options, as each replaces those before it.
    fn check_option(&self, section: &Section) -> Option<Line> {
        let effective = self.sections.effective(section).into_iter();
        let mut options = effective.filter(|line| line.keyword() == "option");
        options.rfind(|line| OF_CHECKS.contains(&line.word(1)))
    }

    /// Returns the `tcp-check` lines of a section if they only connect to the port of the server;
    /// `None` if they do more.
    fn only_connects(&self, section: &Section) -> Option<Vec<crate::ledger::Id>> {
        let effective = self.sections.effective(section).into_iter();
        let steps = effective.filter(|line| line.keyword() == "tcp-check");
        let connects = |line: Line| {
            let words: Vec<_> = line.after(1).iter().map(String::as_str).collect();
            let does = matches!(
                &*words,
                ["comment", _] | ["connect"] | ["connect", "default"] | ["connect", "comment", _]
            );
            does.then_some(line.id)
        };
        steps.map(connects).collect()
    }

    /// Adds the keys of an HTTP check from `option httpchk [METHOD] URI [VERSION …]`,
    /// `http-check send` and `http-check expect`.
    fn http_check(&mut self, section: &Section, line: &Line, table: &mut Table) {
        let arguments = line.after(2);
        let mut path = arguments
            .iter()
            .find(|word| word.starts_with('/'))
            .map(|path| (path.clone(), line.id));
        let mut host = None;
        let method = arguments.first().filter(|word| !word.starts_with('/'));
        let mut method = method.map(|method| (method.clone(), line.id));
        // In `option httpchk`, header fields follow the version of HTTP, each after "\r\n".
        let text = arguments.join(" ");
        for field in text.split(['\r', '\n']).skip(1) {
            match field.split_once(':') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("host") => {
                    host = Some((value.trim().to_owned(), line.id));
                }
                Some((name, _)) => {
                    let why = format!("lb's check sends no header {}", name.trim());
                    self.ledger.lose(line.id, why);
                }
                None => {}
            }
        }
        for line in self.sections.effective(section) {
            if line.keyword() != "http-check" {
                continue;
            }
            if line.word(1) == "send" {
                let mut arguments = line.after(2).iter().cloned();
                while let Some(argument) = arguments.next() {
                    let value = arguments.next().unwrap_or_default();
                    match &*argument {
                        "uri" => path = Some((value, line.id)),
                        "meth" => {
                            if let Some((other, id)) = method.replace((value, line.id)) {
                                let why =
                                    format!("http-check send has another method than {other}");
                                self.ledger.needless(id, why);
                            }
                        }
                        "hdr" if value.eq_ignore_ascii_case("host") => {
                            host = Some((arguments.next().unwrap_or_default(), line.id));
                        }
                        "hdr" => {
                            drop(arguments.next());
                            self.ledger
                                .lose(line.id, format!("lb's check sends no header {value}"));
                        }
                        "ver" => self.ledger.needless(line.id, "lb checks by HTTP/1.1"),
                        _ => self
                            .ledger
                            .lose(line.id, format!("lb's check has no {argument}")),
                    }
                }
            }
            if line.word(1) == "expect" {
                self.expect(&line, table);
            }
        }
        if let Some((method, id)) = method.filter(|(method, _)| method != "GET") {
            self.ledger
                .lose(id, format!("lb checks by GET, not by {method}"));
        }
        if let Some((path, id)) = path {
            table.text("path", &path, &[id]);
        }
        if let Some((host, id)) = host {
            table.text("host", &host, &[id]);
        }
    }

    fn expect(&mut self, line: &Line, table: &mut Table) {
        let statuses = |word: &str| {
            let parts: Vec<_> = word.split('-').collect();
            let three =
                |part: &&str| part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit());
            parts.len() <= 2 && parts.iter().all(three)
        };
        let (what, value) = (line.word(2), line.word(3));
        let already = table.settings.iter().any(|setting| setting.key == "expect");
        if already {
            self.ledger
                .lose(line.id, "lb's check expects one range of statuses");
        } else if what == "status" && statuses(value) {
            table.set("expect", quoted(value), &[line.id]);
        } else if matches!(
            (what, value),
            (
                "rstatus",
                "(2|3)[0-9][0-9]" | "[23][0-9][0-9]" | "^[23][0-9][0-9]"
            )
        ) {
            table.text("expect", "200-399", &[line.id]);
        } else if matches!(
            (what, value),
            ("rstatus", "2[0-9][0-9]" | "^2[0-9][0-9]" | "^2" | "2..")
        ) {
            table.text("expect", "200-299", &[line.id]);
        } else {
            self.ledger.lose(
                line.id,
                "lb's check expects a status or one range of statuses, and does not read the body",
            );
        }
    }

    fn sticky(&mut self, section: &Section) -> Option<Table> {
        let line = self.sections.last(section, &["cookie"])?;
        let has = |word: &str| line.words.iter().any(|other| other == word);
        if has("rewrite") || has("prefix") || !has("insert") {
            self.ledger.lose(
                line.id,
                "lb sets a cookie of its own (insert); it does not change those of the application",
            );
            return None;
        }
        let mut table = Table::from("[pool.sticky]", line.id);
        table.text("cookie", line.word(1), &[line.id]);
        table
            .text("key_file", "/etc/lb/sticky.key", &[])
            .remark("make it with `openssl rand -hex 32`, mode 0600, the same on both hosts");
        self.ledger.decide("[pool.sticky]: make /etc/lb/sticky.key with `openssl rand -hex 32`, mode 0600, the same on both hosts; sessions of HAProxy's cookies are not continued");
        self.ledger.differ("[pool.sticky]: lb's cookie comes with Cache-Control: private, is HttpOnly, over TLS Secure, and SameSite=Lax unless the line says otherwise");
        if has("secure") {
            table.set("secure", "true", &[line.id]);
        }
        for pair in line.words.windows(2) {
            match (&*pair[0], &*pair[1]) {
                ("maxlife", time) => match seconds(time) {
                    Some(time) => drop(table.text("max_age", &time, &[line.id])),
                    None => self
                        .ledger
                        .lose(line.id, format!("\"{time}\" is not a duration")),
                },
                ("maxidle" | "domain", _) => self
                    .ledger
                    .lose(line.id, format!("lb's cookie has no {}", pair[0])),
                ("attr", value) => match value.to_ascii_lowercase().strip_prefix("samesite=") {
                    Some(same) => {
                        table.text("same_site", same, &[line.id]);
                    }
                    None => self
                        .ledger
                        .lose(line.id, format!("lb's cookie has no {value}")),
                },
                _ => {}
            }
        }
        Some(table)
    }

    fn queue(&mut self, section: &Section, servers: &Servers) -> Option<Table> {
        servers.limit.as_ref()?;
        let mut table = Table::new("[pool.queue]");
        if let Some((size, id)) = &servers.queue {
            table.set("size", size.clone(), &[*id]);
        }
        if let Some((line, time)) = self.timeout(section, "queue") {
            table.text("timeout", &time, &[line.id]);
        }
        (!table.is_empty()).then_some(table)
    }
}

/// Returns a duration as lb writes it. A number without a unit counts seconds, as in `maxlife`.
fn seconds(word: &str) -> Option<String> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    words::duration(&if plain {
        format!("{word}s")
    } else {
        word.to_owned()
    })
}
