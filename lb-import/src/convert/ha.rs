//! Converts `vrrp_instance` and `global_defs` into `[node]` and `[ha]`.

use std::net::IpAddr;

use super::{
    moves::{self, Arrival},
    track::{self, Addition},
};
use crate::{
    document::Table,
    haproxy::words,
    keepalived::model::{Node, is_read},
    ledger::{Id, Ledger},
    script::Script,
};

/// The tables `[node]` and `[ha]` that keepalived.conf becomes, and the addresses from it on which
/// services of the output can listen.
pub(crate) struct Pair {
    pub(crate) node: Table,
    pub(crate) table: Option<Table>,
    pub(crate) own_address: Option<(IpAddr, Id)>,
    /// The address that clients' packets have when they arrive at the active host, if all have one
    /// address and it is known.
    pub(crate) arrives_at: Option<(IpAddr, Id)>,
}

/// The priority of an instance of Keepalived that states none.
const KEEPALIVED_PRIORITY: u8 = 100;

/// Converts keepalived.conf. `script` is the file name of the script that the caller gave, and what
/// it says about an Elastic IP.
pub(crate) fn convert(
    nodes: &[Node],
    script: Option<(&str, Script)>,
    keepalived_peer: bool,
    ledger: &mut Ledger,
) -> Pair {
    let mut instances = nodes
        .iter()
        .filter(|node| node.keyword() == "vrrp_instance" && is_read(node));
    let first = instances.next();
    for other in instances {
        for id in other.ids() {
            ledger.lose(id, "lb has one virtual router on each host, and all its addresses move together: if that is what you want, add these addresses to the first instance");
        }
    }
    let globals: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.keyword() == "global_defs")
        .flat_map(|node| &node.inner)
        .collect();
    let global = |keyword: &str| {
        globals
            .iter()
            .rfind(|node| node.keyword() == keyword && is_read(node))
            .copied()
    };
    let node = host(first, global("router_id"), ledger);
    let Some(instance) = first else {
        if let Some((_, script)) = &script {
            moves::unused(script, ledger);
        }
        return Pair {
            node,
            table: None,
            own_address: None,
            arrives_at: None,
        };
    };
    let mut reader = Reader { instance, ledger };
    let mut table = Table::from("[ha]", instance.id);
    let own = reader.addresses(&mut table);
    let additions = track::additions(nodes, instance);
    reader.settings(&mut table, &additions, global("vrrp_version"));
    let moved = moves::convert(nodes, instance, script, &mut table, reader.ledger);
    track::convert(nodes, instance, &mut table, reader.ledger);
    if !keepalived_peer {
        let mut link = Table::new("[ha.link]");
        link.remarks.push(
            "the connection between the two agents, which Keepalived does not have".to_owned(),
        );
        link.text("secret_file", "/etc/lb/peer.secret", &[]);
        table.tables.push(link);
        ledger.decide("[ha.link]: make /etc/lb/peer.secret with `lb peer init`, copy it to the other host, and `chown lb:` it on both; while the other host still runs Keepalived, import with --keepalived-peer");
    }
    Pair {
        node,
        table: Some(table),
        own_address: moved.first.or(own),
        arrives_at: match moved.arrives_at {
            Arrival::At(address, id) => Some((address, id)),
            Arrival::AtOwn => own,
            Arrival::Unknown => None,
        },
    }
}

/// Returns the table `[node]` of lb's configuration.
fn host(instance: Option<&Node>, router_id: Option<&Node>, ledger: &mut Ledger) -> Table {
    let mut table = Table::new("[node]");
    match router_id.filter(|node| !node.word(1).is_empty()) {
        Some(node) => {
            table.text("name", &words::name(node.word(1)), &[node.id]);
        }
        None => {
            table.text("name", "lb-a", &[]);
            ledger.decide(
                "[node] name: the files do not name this host; write its name in place of lb-a",
            );
        }
    }
    let interface = instance
        .and_then(|instance| instance.find("interface"))
        .filter(|node| is_interface(node.word(1)) && is_read(node));
    match interface {
        Some(node) => {
            table.text("interface", node.word(1), &[node.id]);
        }
        None => {
            table.text("interface", "eth0", &[]);
            ledger.decide("[node] interface: the files do not name the network interface; write its name in place of eth0");
        }
    }
    table
}

fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

struct Reader<'n, 'l> {
    instance: &'n Node,
    ledger: &'l mut Ledger,
}

impl Reader<'_, '_> {
    fn find(&self, keyword: &str) -> Option<&Node> {
        self.instance.find(keyword).filter(|node| is_read(node))
    }

    /// Adds `peer`, `source` and `transport` to `[ha]`. Returns this host's own address.
    fn addresses(&mut self, table: &mut Table) -> Option<(IpAddr, Id)> {
        let instance = self.instance;
        let peers: Vec<(IpAddr, Id)> = instance
            .find("unicast_peer")
            .map(|block| {
                block
                    .inner
                    .iter()
                    .filter_map(|node| Some((node.word(0).parse().ok()?, node.id)))
                    .collect()
            })
            .unwrap_or_default();
        for (_, id) in peers.iter().skip(1) {
            self.ledger.lose(*id, "lb has one peer");
        }
        let block = instance.find("unicast_peer").map(|node| node.id);
        match (peers.first(), block) {
            (Some((peer, id)), Some(block)) => {
                table.text("peer", &peer.to_string(), &[block, *id]);
            }
            _ => {
                table
                    .text("peer", "192.0.2.2", &[])
                    .remark("fill in: the address of the other host");
                self.ledger.decide("[ha] peer: the input does not name the other host; write its address in place of 192.0.2.2");
            }
        }
        let named = ["unicast_src_ip", "mcast_src_ip"]
            .iter()
            .find_map(|keyword| self.find(keyword));
        let source = named.and_then(|node| Some((node.word(1).parse::<IpAddr>().ok()?, node.id)));
        match source {
            Some((source, id)) => {
                table.text("source", &source.to_string(), &[id]);
            }
            None => {
                table
                    .text("source", "192.0.2.1", &[])
                    .remark("fill in: the address of this host");
                self.ledger.decide("[ha] source: the input does not name this host's address; write it in place of 192.0.2.1");
            }
        }
        if peers.is_empty() {
            table
                .text("transport", "multicast", &[])
                .remark("there is no unicast_peer: Keepalived then sends to VRRP's group");
        }
        source
    }

    /// Adds `priority` to `[ha]`. `additions` are part of the priority that Keepalived advertises
    /// while HAProxy runs, and the other host may still run Keepalived.
    fn priority(&mut self, table: &mut Table, additions: &[Addition<'_>]) {
        let given = self.find("priority").map(|node| (node.id, node.word(1)));
        let given = given.map(|(id, word)| (id, word.parse::<u8>()));
        let (base, mut origins) = match given {
            Some((id, Ok(255))) => {
                // Keepalived adds nothing to this priority.
                table.set("priority", "254", &[id]);
                return self.ledger.lose(id, "lb's highest priority is 254");
            }
            Some((id, Ok(base @ 1..))) => (base, vec![id]),
            Some((id, _)) => {
                self.ledger.lose(id, "it is no priority");
                (KEEPALIVED_PRIORITY, Vec::new())
            }
            None => (KEEPALIVED_PRIORITY, Vec::new()),
        };
        if origins.is_empty() && additions.is_empty() {
            return;
        }
        let (mut sum, mut terms) = (i32::from(base), base.to_string());
        for Addition {
            check,
            amount,
            origin,
        } in additions
        {
            sum += amount;
            let sign = if *amount < 0 { '-' } else { '+' };
            terms += &format!(" {sign} {} (the weight of {check})", amount.abs());
            origins.push(*origin);
        }
        let priority = table.set("priority", sum.clamp(1, 254).to_string(), &origins);
        if !additions.is_empty() {
            priority.remark(format!(
                "{terms}: what Keepalived advertises while HAProxy runs"
            ));
        }
    }

    fn settings(
        &mut self,
        table: &mut Table,
        additions: &[Addition<'_>],
        global_version: Option<&Node>,
    ) {
        let instance = self.instance;
        match self
            .find("virtual_router_id")
            .filter(|node| matches!(node.word(1).parse::<u8>(), Ok(1..)))
        {
            Some(node) => {
                table.set("virtual_router_id", plain(node.word(1)), &[node.id]);
            }
            None => {
                table.set("virtual_router_id", "51", &[]);
                self.ledger.decide("[ha] virtual_router_id: the input has none that is valid; write that of the other host in place of 51");
            }
        }
        self.priority(table, additions);
        let version = self.find("version").or(global_version);
        let three = version.is_some_and(|node| node.word(1) == "3");
        match version {
            Some(node) => {
                table.set("version", if three { "3" } else { "2" }, &[node.id]);
            }
            None => {
                table.set("version", "2", &[]).remark(
                    "Keepalived uses version 2 by default; change it to 3 when both hosts run lb",
                );
            }
        }
        if let Some(node) = self.find("advert_int") {
            match node.word(1).parse::<f64>() {
                Ok(seconds) if (0.01..=255.0).contains(&seconds) => {
                    let text = words::of_seconds(seconds);
                    table.text("advert_interval", &text, &[node.id]);
                }
                _ => {
                    let id = node.id;
                    self.ledger.lose(id, "lb does not support this interval");
                }
            }
        }
        if let Some(node) = self.find("nopreempt") {
            table.set("preempt", "false", &[node.id]);
        } else if let Some(node) = self.find("preempt_delay")
            && let Ok(seconds) = node.word(1).parse::<u32>()
        {
            table.text("preempt_delay", &format!("{seconds}s"), &[node.id]);
        }
        if let Some(node) = self
            .find("preempt_delay")
            .filter(|_| instance.find("nopreempt").is_some())
        {
            let id = node.id;
            self.ledger
                .needless(id, "with nopreempt the delay has no effect");
        }
        if let Some(node) = self.find("v3_checksum_as_v2").filter(|_| three) {
            table.set("checksum_without_pseudo_header", "true", &[node.id]);
        }
        self.authentication(table, three);
    }

    fn authentication(&mut self, table: &mut Table, three: bool) {
        let Some(block) = self.instance.find("authentication") else {
            return;
        };
        let kind = block.find("auth_type");
        let password = block.find("auth_pass");
        let is_password = kind.is_none_or(|kind| kind.word(1) == "PASS");
        match password {
            Some(node) if is_password && !three && is_read(node) => {
                let word: String = node.word(1).chars().take(8).collect();
                let mut origins = vec![block.id];
                origins.extend(kind.map(|kind| kind.id));
                origins.push(node.id);
                table.text("password", &word, &origins);
                if word.len() < node.word(1).len() {
                    self.ledger
                        .needless(node.id, "Keepalived also uses only its first 8 characters");
                }
            }
            _ => {
                let why = if three {
                    "version 3 has no password: see hmac_key_file"
                } else {
                    "lb has no such authentication: see hmac_key_file"
                };
                block
                    .ids()
                    .into_iter()
                    .for_each(|id| self.ledger.lose(id, why));
            }
        }
    }
}

/// Returns a whole number, given as text, without leading zeros.
fn plain(word: &str) -> String {
    word.parse::<u32>()
        .map_or_else(|_| word.to_owned(), |number| number.to_string())
}
