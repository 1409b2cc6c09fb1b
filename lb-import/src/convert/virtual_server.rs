//! Converts each `virtual_server` into a service of mode tcp and its pool.

use std::net::{IpAddr, SocketAddr};

use super::{Converter, timeouts};
use crate::{
    document::{Table, quoted},
    haproxy::words,
    keepalived::model::{Node, is_read},
    ledger::Ledger,
};

/// Returns the pools and the services of all virtual servers.
pub(crate) fn convert(nodes: &[Node], converter: &mut Converter<'_>) -> (Vec<Table>, Vec<Table>) {
    let (mut pools, mut services) = (Vec::new(), Vec::new());
    for node in nodes
        .iter()
        .filter(|node| node.keyword() == "virtual_server")
    {
        match server(node, converter) {
            Ok((pool, service)) => {
                pools.push(pool);
                services.push(service);
            }
            Err(why) => node
                .ids()
                .into_iter()
                .for_each(|id| converter.ledger.lose(id, why)),
        }
    }
    (pools, services)
}

fn address(node: &Node) -> Option<SocketAddr> {
    let address: IpAddr = node.word(1).parse().ok()?;
    let port = node.word(2).parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(address, port)).filter(SocketAddr::is_ipv4)
}

fn server(node: &Node, converter: &mut Converter<'_>) -> Result<(Table, Table), &'static str> {
    let listen = address(node)
        .filter(|_| is_read(node))
        .ok_or("lb's services of mode tcp have an IPv4 address and a port")?;
    if node
        .find("protocol")
        .is_some_and(|protocol| protocol.word(1) != "TCP")
    {
        return Err("lb steers only TCP");
    }
    let mut pool = Table::from("[[pool]]", node.id);
    let name = words::unique(
        &format!("{}-{}", listen.ip(), listen.port()),
        &mut converter.pools,
    );
    pool.text("name", &name, &[]);
    if let Some(line) = node.find("lb_algo").or(node.find("lvs_sched")) {
        match line.word(1) {
            "rr" | "wrr" => _ = pool.text("balance", "round_robin", &[line.id]),
            "sh" => _ = pool.text("balance", "source", &[line.id]),
            "mh" => _ = pool.text("balance", "maglev", &[line.id]),
            other => converter.ledger.lose(
                line.id,
                format!(
                    "the kernel's packet path has no {other}: each backend gets connections in turn"
                ),
            ),
        }
    }
    let mut backends = Vec::new();
    let mut taken = Vec::new();
    for real in node
        .inner
        .iter()
        .filter(|real| real.keyword() == "real_server")
    {
        if address(real).is_none() {
            let words = real.words.get(1..).unwrap_or_default();
            converter.ledger.lack(&name, &words.join(" "), real.id);
        }
        match address(real).filter(|address| !taken.contains(address)) {
            Some(address) => {
                taken.push(address);
                let mut table = Table::from("[[pool.backend]]", real.id);
                table.text("address", &address.to_string(), &[]);
                if let Some(line) = real.find("weight") {
                    table.set("weight", line.word(1), &[line.id]);
                }
                backends.push(table);
            }
            None => real.ids().into_iter().for_each(|id| {
                converter
                    .ledger
                    .lose(id, "it has no IPv4 address and port of its own");
            }),
        }
    }
    if backends.is_empty() {
        return Err("it has no real server that lb can use");
    }
    pool.tables.extend(check(node, converter.ledger));
    pool.tables.extend(backends);
    let mut service = Table::from("[[service]]", node.id);
    service.text("name", &words::unique(&name, &mut converter.services), &[]);
    service.text("listen", &listen.to_string(), &[]);
    let protocol: Vec<_> = node
        .find("protocol")
        .map(|line| line.id)
        .into_iter()
        .collect();
    service.text("mode", "tcp", &protocol);
    if let Some(line) = node.find("lb_kind").or(node.find("lvs_method")) {
        if line.word(1) == "NAT" {
            service.text("forward", "dnat", &[line.id]);
        } else {
            converter.ledger.lose(
                line.id,
                format!("lb forwards by NAT, not by {}", line.word(1)),
            );
        }
    }
    for keyword in ["persistence_timeout", "sorry_server"] {
        if let Some(line) = node.find(keyword) {
            converter.ledger.lose(
                line.id,
                format!("lb's services of mode tcp have no {keyword}"),
            );
        }
    }
    service.text("pool", &name, &[]);
    Ok((pool, service))
}

/// Returns `[pool.check]` from the health check of the first real server that has one: lb checks
/// all backends of a pool alike.
fn check(node: &Node, ledger: &mut Ledger) -> Option<Table> {
    let checks = node.inner.iter().flat_map(|real| &real.inner);
    let checks: Vec<&Node> = checks
        .filter(|check| matches!(check.keyword(), "TCP_CHECK" | "HTTP_GET"))
        .collect();
    let kind = checks.first()?.keyword();
    let alike: Vec<&&Node> = checks
        .iter()
        .filter(|check| check.keyword() == kind)
        .collect();
    let of = |keyword: &str| -> Vec<&Node> {
        alike
            .iter()
            .filter_map(|check| check.find(keyword))
            .collect()
    };
    let mut table = Table::new("[pool.check]");
    let ids: Vec<_> = alike.iter().map(|check| check.id).collect();
    table.text(
        "type",
        if kind == "HTTP_GET" { "http" } else { "tcp" },
        &ids,
    );
    if kind == "HTTP_GET" {
        let urls = of("url");
        for (keyword, key) in [("path", "path"), ("status_code", "expect")] {
            let lines: Vec<_> = urls.iter().filter_map(|url| url.find(keyword)).collect();
            if let Some(first) = lines.first() {
                let same = lines.iter().filter(|line| line.words == first.words);
                let mut ids: Vec<_> = urls.iter().map(|url| url.id).collect();
                ids.extend(same.map(|line| line.id));
                table.set(key, quoted(first.word(1)), &ids);
            }
        }
    }
    let mut seconds = |key: &str, lines: Vec<&Node>| {
        if let Some(first) = lines.first()
            && let Ok(seconds) = first.word(1).parse::<u32>()
        {
            let same = lines.iter().filter(|line| line.words == first.words);
            let ids: Vec<_> = same.map(|line| line.id).collect();
            table.text(key, &format!("{seconds}s"), &ids);
        }
    };
    seconds("interval", node.find("delay_loop").into_iter().collect());
    seconds("timeout", of("connect_timeout"));
    timeouts::shorten(&mut table, "2s", ledger);
    Some(table)
}
