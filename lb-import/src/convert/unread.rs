//! Names the words that the import does not read in directives that settings come from, so that no
//! part of a directive is lost without a note.

use crate::{
    Loss,
    haproxy::model::Line,
    keepalived::model::Node,
    ledger::{Id, Ledger},
};

use super::Converter;

/// Directives of haproxy.cfg, and how many of their words the import reads, the keyword included.
const OF_HAPROXY: &[(&[&str], usize)] = &[
    (&["http-check expect"], 4),
    (&["timeout", "errorfile", "nameserver", "hold"], 3),
    (&["option httplog", "option tcplog", "option tcp-check"], 2),
    (
        &[
            "mode",
            "maxconn",
            "nbthread",
            "hard-stop-after",
            "default_backend",
            "retries",
            "clitimeout",
            "srvtimeout",
            "contimeout",
            "crt-base",
            "ca-base",
            "monitor-uri",
        ],
        2,
    ),
];

/// Directives of keepalived.conf, and how many of their words the import reads, the keyword
/// included.
const OF_KEEPALIVED: &[(&[&str], usize)] = &[
    (&["virtual_server", "real_server"], 3),
    (
        &[
            "vrrp_instance",
            "vrrp_script",
            "interface",
            "virtual_router_id",
            "priority",
            "advert_int",
            "version",
            "vrrp_version",
            "preempt_delay",
            "unicast_src_ip",
            "mcast_src_ip",
            "auth_type",
            "auth_pass",
            "router_id",
            "interval",
            "timeout",
            "rise",
            "fall",
            "weight",
            "protocol",
            "lb_algo",
            "lvs_sched",
            "lb_kind",
            "lvs_method",
            "delay_loop",
            "connect_timeout",
            "path",
            "status_code",
        ],
        2,
    ),
    (
        &[
            "nopreempt",
            "v3_checksum_as_v2",
            "authentication",
            "unicast_peer",
            "virtual_ipaddress",
            "virtual_ipaddress_excluded",
            "track_script",
            "HTTP_GET",
            "TCP_CHECK",
            "url",
        ],
        1,
    ),
];

/// Words of `bind` of which nothing is lost, because lb does the same or the import reads them
/// elsewhere; the second list has those that take a value.
const BIND_READ: (&[&str], &[&str]) = (
    &[
        "ssl",
        "accept-proxy",
        "force-tlsv13",
        "no-tlsv12",
        "no-sslv3",
        "no-tlsv10",
        "no-tlsv11",
        "v4only",
        "v4v6",
        "v6only",
    ],
    &[
        "crt",
        "crt-list",
        "ca-file",
        "crl-file",
        "verify",
        "ciphers",
        "ciphersuites",
        "curves",
        "ssl-min-ver",
    ],
);

/// Words of `bind` that lb does not need; the second list has those that take a value.
const BIND_NEEDLESS: (&[&str], &[&str]) = (
    &[
        "tfo",
        "defer-accept",
        "prefer-client-ciphers",
        "tls-tickets",
        "no-strict-sni",
    ],
    &[
        "guid-prefix",
        "label",
        "ktls",
        "name",
        "id",
        "alpn",
        "npn",
        "backlog",
        "nice",
        "process",
        "thread",
        "shards",
        "ecdhe",
    ],
);

/// Words of `bind` that lb has no setting for; the second list has those that take a value.
const BIND_LOST: (&[&str], &[&str]) = (
    &[
        "strict-sni",
        "transparent",
        "no-tls-tickets",
        "no-tlsv13",
        "force-tlsv12",
        "allow-0rtt",
        "generate-certificates",
        "no-ca-names",
        "no-alpn",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "quic-force-retry",
    ],
    &[
        "interface",
        "mss",
        "maxconn",
        "ssl-max-ver",
        "tls-ticket-keys",
        "ca-sign-file",
        "ca-sign-pass",
        "ca-verify-file",
        "crt-ignore-err",
        "ca-ignore-err",
        "namespace",
        "tcp-ut",
        "proto",
        "mode",
        "user",
        "group",
        "uid",
        "gid",
        "level",
        "ocsp-update",
        "expose-fd",
        "accept-netscaler-cip",
        "cc",
        "client-sigalgs",
        "default-crt",
        "ech",
        "idle-ping",
        "nbconn",
        "quic-cc-algo",
        "quic-socket",
        "severity-output",
        "sigalgs",
        "tcp-md5sig",
        "tcp-ss",
    ],
);

impl Converter<'_> {
    /// Notes each word that is not read in a directive of haproxy.cfg that settings come from.
    pub(crate) fn name_unread_words(&mut self) {
        for section in &self.sections.0 {
            let inherits = section.header.after(1).iter().any(|word| word == "from");
            let binds = section.header.word(2).contains(':');
            let most = if section.kind() == "global" { 1 } else { 2 };
            let most = most + usize::from(binds) + 2 * usize::from(inherits);
            rest(section.header.id, &section.header.words, most, self.ledger);
            for line in &section.lines {
                of_line(line, self.ledger);
            }
        }
    }
}

/// Notes each word that is not read in a directive of keepalived.conf that settings come from.
pub(crate) fn of_keepalived(nodes: &[Node], ledger: &mut Ledger) {
    for node in nodes {
        if let Some(most) = read(OF_KEEPALIVED, &node.words) {
            rest(node.id, &node.words, most, ledger);
        }
        for inner in &node.inner {
            match node.keyword() {
                "unicast_peer" => rest(inner.id, &inner.words, 1, ledger),
                "track_script" => {
                    let most = if inner.word(1) == "weight" { 3 } else { 1 };
                    rest(inner.id, &inner.words, most, ledger);
                }
                _ => {}
            }
        }
        of_keepalived(&node.inner, ledger);
    }
}

/// Returns how many words of a directive the import reads, according to `table`, which is
/// [`OF_HAPROXY`] or [`OF_KEEPALIVED`]; `None` if the directive is not in it.
fn read(table: &[(&[&str], usize)], words: &[String]) -> Option<usize> {
    let first = words.first().map_or("", |word| word);
    let second = words.get(1).map_or("", |word| word);
    let two = format!("{first} {second}");
    let row = table
        .iter()
        .find(|(keywords, _)| keywords.contains(&&*two) || keywords.contains(&first));
    row.map(|(_, most)| *most)
}

fn of_line(line: &Line, ledger: &mut Ledger) {
    if let Some(most) = read(OF_HAPROXY, &line.words) {
        return rest(line.id, &line.words, most, ledger);
    }
    match line.keyword() {
        "bind" => of_bind(line, ledger),
        "cookie" => of_cookie(line, ledger),
        "balance" => {
            let words = line.words.iter().filter(|word| *word != "whole");
            let words: Vec<_> = words.cloned().collect();
            rest(line.id, &words, 2, ledger);
            if line.word(1).starts_with("random(") {
                let why = "lb always compares two random backends, whatever the number";
                ledger.partly(line.id, Loss::NotCarriedOver, why);
            }
        }
        "log" => of_log(line, ledger),
        "option" if line.word(1) == "httpchk" => of_check(line, ledger),
        "ssl-default-bind-options" => of_tls_options(line, ledger),
        _ => {}
    }
}

/// Notes that the import does not read the words of a directive after the first `most`.
fn rest(id: Id, words: &[String], most: usize, ledger: &mut Ledger) {
    let unread = words.get(most..).unwrap_or_default();
    if !unread.is_empty() {
        unknown(id, &unread.join(" "), ledger);
    }
}

fn unknown(id: Id, words: &str, ledger: &mut Ledger) {
    let why = format!("the import does not support \"{words}\" here");
    ledger.partly(id, Loss::Unknown, why);
}

/// Notes the words that `[log.access]` has no setting for in `log TARGET [len N] [format NAME]
/// FACILITY …`.
fn of_log(line: &Line, ledger: &mut Ledger) {
    if line.word(1) == "global" {
        return rest(line.id, &line.words, 2, ledger);
    }
    let known = |word: &String| matches!(&**word, "/dev/log" | "stdout" | "local0");
    let others = line.after(1).iter().filter(|word| !known(word));
    let others: Vec<_> = others.map(String::as_str).collect();
    if !others.is_empty() {
        let others = others.join(" ");
        let why = format!(
            "lb logs to /dev/log or standard output, with facility local0, in a format of its own: not \"{others}\""
        );
        ledger.partly(line.id, Loss::NotCarriedOver, why);
    }
}

/// Notes that the import does not read what follows `option httpchk [METHOD] URI [VERSION]` on its
/// line.
fn of_check(line: &Line, ledger: &mut Ledger) {
    let with_method = !line.word(2).is_empty() && !line.word(2).starts_with('/');
    let most = if with_method { 5 } else { 4 };
    rest(line.id, &line.words, most, ledger);
    let version = line.word(most - 1);
    if !version.is_empty() && !version.starts_with("HTTP/") {
        unknown(line.id, version, ledger);
    }
}

fn of_bind(line: &Line, ledger: &mut Ledger) {
    let mut words = line.after(2).iter();
    while let Some(word) = words.next() {
        let among = |(alone, with_value): (&[&str], &[&str])| {
            (alone.contains(&&**word), with_value.contains(&&**word))
        };
        let [read, needless, lost] = [BIND_READ, BIND_NEEDLESS, BIND_LOST].map(among);
        let value = (read.1 || needless.1 || lost.1).then(|| words.next());
        let value = value.flatten().map_or("", |value| value);
        match () {
            () if read.0 || read.1 => {}
            () if word == "alpn" && value.contains("h2") => {
                ledger.partly(
                    line.id,
                    Loss::NotNeeded,
                    "lb offers HTTP/2 and HTTP/1.1 by ALPN",
                );
            }
            () if word == "alpn" => {
                let why = format!("alpn {value}: lb offers HTTP/2 as well");
                ledger.partly(line.id, Loss::NotCarriedOver, why);
            }
            () if needless.0 || needless.1 => {
                let why = format!("lb does not need {word}");
                ledger.partly(line.id, Loss::NotNeeded, why);
            }
            () if word == "strict-sni" => {
                let why = "strict-sni: lb uses the first certificate for clients that send no \
                           name, or an unknown one";
                ledger.partly(line.id, Loss::NotCarriedOver, why);
            }
            () if lost.0 || lost.1 => {
                let why = format!("lb has no setting for {word} {value}");
                ledger.partly(line.id, Loss::NotCarriedOver, why.trim_end());
            }
            () => unknown(line.id, word, ledger),
        }
    }
}

fn of_cookie(line: &Line, ledger: &mut Ledger) {
    let mut words = line.after(2).iter();
    while let Some(word) = words.next() {
        match &**word {
            "insert" | "indirect" | "nocache" | "httponly" | "secure" => {}
            "maxidle" | "maxlife" | "domain" | "attr" => drop(words.next()),
            "postonly" | "preserve" | "dynamic" | "rewrite" | "prefix" => {
                let why = format!("lb's cookie has no {word}");
                ledger.partly(line.id, Loss::NotCarriedOver, why);
            }
            word => unknown(line.id, word, ledger),
        }
    }
}

fn of_tls_options(line: &Line, ledger: &mut Ledger) {
    let mut words = line.after(1).iter();
    while let Some(word) = words.next() {
        match &**word {
            "ssl-min-ver" => drop(words.next()),
            "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "no-tlsv12" | "force-tlsv13" => {}
            "prefer-client-ciphers" => {
                ledger.partly(line.id, Loss::NotNeeded, format!("lb does not need {word}"));
            }
            word => {
                let why = format!("lb has no setting for {word}");
                ledger.partly(line.id, Loss::NotCarriedOver, why);
            }
        }
    }
}
