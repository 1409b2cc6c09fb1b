//! Converts what moves to the active host: an Elastic IP, virtual addresses, or an address that
//! commands move.

use std::net::IpAddr;

use crate::{
    document::Table,
    keepalived::model::{Node, is_read},
    ledger::{Id, Ledger},
    script::Script,
};

/// The addresses that move to the active host, as far as services of the output need to know them.
pub(crate) struct Moved {
    /// The first virtual address with its directive; `None` if an Elastic IP moves.
    pub(crate) first: Option<(IpAddr, Id)>,
    /// How the clients' packets are addressed when they arrive, if they all have one address.
    pub(crate) arrives_at: Arrival,
}

/// The address that the packets of clients have when they arrive at the active host.
pub(crate) enum Arrival {
    /// The only virtual address, or the private address that the script associates with the Elastic
    /// IP.
    At(IpAddr, Id),
    /// The host's own address, to which an Elastic IP is translated.
    AtOwn,
    /// Clients' packets have several addresses, or one that the input does not name.
    Unknown,
}

/// Converts the virtual addresses and the notify commands of a `vrrp_instance`, and the script that
/// moves an Elastic IP.
pub(crate) fn convert(
    nodes: &[Node],
    instance: &Node,
    script: Option<(&str, Script)>,
    table: &mut Table,
    ledger: &mut Ledger,
) -> Moved {
    let addresses = addresses(instance, "virtual_ipaddress", ledger);
    let excluded = addresses_excluded(instance, ledger);
    let group = nodes
        .iter()
        .find(|node| node.keyword() == "vrrp_sync_group");
    let mut notify = Table::new("[ha.notify]");
    let private_ip = script
        .as_ref()
        .and_then(|(_, script)| script.private_ip.clone());
    let elastic = script.and_then(|(file, script)| elastic_ip(instance, file, &script, ledger));
    let replaced: Vec<Id> = elastic
        .iter()
        .flat_map(|table| table.origins.clone())
        .collect();
    commands(instance, group, &replaced, &mut notify, ledger);
    let has_elastic = elastic.is_some();
    if let Some(elastic) = elastic {
        table.tables.push(elastic);
        if !addresses.is_empty() {
            let ids: Vec<_> = addresses
                .iter()
                .map(|(.., id)| *id)
                .chain(block(instance))
                .collect();
            let list: Vec<_> = addresses
                .iter()
                .map(|(address, ..)| address.to_string())
                .collect();
            table.list("advertised_addresses", &list, &ids);
        }
        for (.., id) in &excluded {
            ledger.lose(
                *id,
                "an Elastic IP moves, and lb moves either an Elastic IP or virtual addresses",
            );
        }
    } else if !addresses.is_empty() || !excluded.is_empty() {
        let mut virtual_ip = Table::new("[ha.virtual_ip]");
        virtual_ip.origins.extend(block(instance));
        let all: Vec<_> = addresses.iter().chain(&excluded).collect();
        let list: Vec<_> = all
            .iter()
            .map(|(address, prefix, _)| format!("{address}/{prefix}"))
            .collect();
        let ids: Vec<_> = all.iter().map(|(.., id)| *id).collect();
        virtual_ip.list("addresses", &list, &ids);
        if !excluded.is_empty() {
            let list: Vec<_> = addresses
                .iter()
                .map(|(address, ..)| address.to_string())
                .collect();
            table.list("advertised_addresses", &list, &[]);
        }
        table.tables.push(virtual_ip);
    } else if notify
        .settings
        .iter()
        .all(|setting| setting.key != "master")
    {
        notify
            .list("master", &["/bin/true"], &[])
            .remark("fill in: nothing in the input moves an address");
        ledger.decide("[ha]: nothing in the input moves an address; write [ha.elastic_ip], [ha.virtual_ip], or the command that does it in place of /bin/true");
    }
    table.tables.extend((!notify.is_empty()).then_some(notify));
    let first = addresses.first().filter(|_| !has_elastic);
    let first = first.map(|(address, _, id)| (*address, *id));
    let arrives_at = match (has_elastic, private_ip, first) {
        (true, Some((address, id)), _) => address
            .parse()
            .map_or(Arrival::Unknown, |address| Arrival::At(address, id)),
        (true, None, _) => Arrival::AtOwn,
        (false, _, Some((address, id))) if addresses.len() + excluded.len() == 1 => {
            Arrival::At(address, id)
        }
        _ => Arrival::Unknown,
    };
    Moved { first, arrives_at }
}

fn block(instance: &Node) -> Option<Id> {
    instance.find("virtual_ipaddress").map(|node| node.id)
}

/// Records as not carried over what a script says about an Elastic IP: keepalived.conf has no
/// `vrrp_instance` whose change of role would move the Elastic IP.
pub(crate) fn unused(script: &Script, ledger: &mut Ledger) {
    let found = [
        &script.allocation_id,
        &script.public_ip,
        &script.region,
        &script.network_interface_id,
        &script.private_ip,
    ];
    for id in found
        .into_iter()
        .flatten()
        .map(|(_, id)| *id)
        .chain(script.associates)
    {
        ledger.lose(id, "there is no vrrp_instance whose role moves the address");
    }
}

fn addresses_excluded(instance: &Node, ledger: &mut Ledger) -> Vec<(IpAddr, u8, Id)> {
    let found = addresses(instance, "virtual_ipaddress_excluded", ledger);
    if let Some(node) = instance.find("virtual_ipaddress_excluded") {
        ledger.needless(
            node.id,
            "its addresses are in [ha.virtual_ip], and not in advertised_addresses",
        );
    }
    found
}

/// Returns the addresses in the blocks of a keyword, with their prefix lengths and directives.
fn addresses(instance: &Node, keyword: &str, ledger: &mut Ledger) -> Vec<(IpAddr, u8, Id)> {
    let mut all: Vec<(IpAddr, u8, Id)> = Vec::new();
    for node in instance
        .inner
        .iter()
        .filter(|node| node.keyword() == keyword)
        .flat_map(|node| &node.inner)
    {
        if !is_read(node) {
            continue;
        }
        let word = node.word(0);
        let (address, prefix) = word.split_once('/').unwrap_or((word, ""));
        let Ok(address) = address.parse::<IpAddr>() else {
            ledger.lose(node.id, "it is not a valid address");
            continue;
        };
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if prefix.is_empty() {
            Some(widest)
        } else {
            prefix.parse().ok()
        };
        let Some(prefix) = prefix.filter(|prefix| (1..=widest).contains(prefix)) else {
            ledger.lose(node.id, "lb does not support its prefix");
            continue;
        };
        if all.iter().any(|(other, ..)| *other == address) {
            ledger.needless(node.id, "the address is there already");
            continue;
        }
        for pair in node.words.windows(2).skip(1) {
            match &*pair[0] {
                "dev"
                    if instance
                        .find("interface")
                        .is_some_and(|own| own.word(1) == pair[1]) => {}
                "dev" => ledger.lose(
                    node.id,
                    format!(
                        "lb puts addresses on the interface of [node], not on {}",
                        pair[1]
                    ),
                ),
                "label" | "scope" | "brd" | "broadcast" | "peer" => {
                    ledger.needless(node.id, format!("lb gives addresses no {}", pair[0]));
                }
                _ => {}
            }
        }
        for word in node.words.iter().skip(1).step_by(2) {
            if !matches!(
                &**word,
                "dev" | "label" | "scope" | "brd" | "broadcast" | "peer"
            ) {
                let why = format!("the import does not support \"{word}\" here");
                ledger.unknown(node.id, why);
            }
        }
        all.push((address, prefix, node.id));
    }
    all
}

/// Returns `[ha.elastic_ip]`, if the script moves an Elastic IP.
fn elastic_ip(instance: &Node, file: &str, script: &Script, ledger: &mut Ledger) -> Option<Table> {
    let call = script.associates?;
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let notifies: Vec<&Node> = instance
        .inner
        .iter()
        .filter(|node| matches!(node.keyword(), "notify_master" | "notify"))
        .collect();
    let runs = |node: &&&Node| {
        node.words
            .iter()
            .any(|word| word.split_whitespace().any(|word| base(word) == base(file)))
    };
    let runs_it = notifies.iter().find(runs).or(notifies.first()).copied();
    for user in runs_it.iter().flat_map(|node| node.words.iter().skip(2)) {
        let id = runs_it.map_or(call, |node| node.id);
        let why = format!("lb calls the API itself, not as {user}");
        ledger.partly(id, crate::Loss::NotNeeded, why);
    }
    let mut table = Table::new("[ha.elastic_ip]");
    table.origins.extend(runs_it.map(|node| node.id));
    table.origins.push(call);
    match &script.allocation_id {
        Some((value, id)) => {
            table.text("allocation_id", value, &[*id]);
        }
        None => {
            let address = script.public_ip.as_ref();
            let origins: Vec<_> = address.map(|(_, id)| *id).into_iter().collect();
            let named = address.map_or("ADDRESS", |(address, _)| address);
            let how = format!(
                "aws ec2 describe-addresses --public-ips {named} --query Addresses[0].AllocationId"
            );
            table
                .text("allocation_id", "eipalloc-00000000000000000", &origins)
                .remark(format!("fill in: {how}"));
            ledger.decide(format!("[ha.elastic_ip] allocation_id: write the allocation of {named} in place of the zeros: {how}"));
        }
    }
    for (key, found) in [
        ("region", &script.region),
        ("network_interface_id", &script.network_interface_id),
        ("private_ip", &script.private_ip),
    ] {
        if let Some((value, id)) = found {
            table.text(key, value, &[*id]);
        }
    }
    if let (Some((_, id)), true) = (&script.public_ip, script.allocation_id.is_some()) {
        ledger.needless(*id, "the allocation names the address");
    }
    Some(table)
}

/// Adds the notify commands to `[ha.notify]`: first those of the instance, then those of its sync
/// group.
fn commands(
    instance: &Node,
    group: Option<&Node>,
    replaced: &[Id],
    notify: &mut Table,
    ledger: &mut Ledger,
) {
    let of_group = group.into_iter().flat_map(|group| &group.inner);
    for node in instance.inner.iter().chain(of_group) {
        let keys: &[&str] = match node.keyword() {
            "notify_master" => &["master"],
            "notify_backup" => &["backup"],
            "notify_fault" => &["fault"],
            "notify_stop" => &["stop"],
            "notify" => &["master", "backup", "fault", "stop"],
            _ => continue,
        };
        if replaced.contains(&node.id) || !is_read(node) {
            continue;
        }
        let Some(command) = command(node.words.get(1..2).unwrap_or_default()) else {
            ledger.lose(node.id, "it does not name a program");
            continue;
        };
        for user in node.words.iter().skip(2) {
            let why = format!("lb runs commands as the agent's user, not as {user}");
            ledger.lose(node.id, why);
        }
        for key in keys {
            if notify.settings.iter().all(|setting| setting.key != *key) {
                notify.list(key, &command, &[node.id]);
            } else {
                ledger.lose(
                    node.id,
                    format!(
                        "lb runs only one command for a change of role, and {key} already has one"
                    ),
                );
            }
        }
    }
}

/// Splits a command line into a program and its arguments, or wraps it in `/bin/sh -c` if it needs
/// a shell.
pub(crate) fn command(words: &[String]) -> Option<Vec<String>> {
    let line = match words {
        [] => return None,
        [line, ..] if line.contains(' ') => line.clone(),
        words => words.join(" "),
    };
    let shell = line
        .chars()
        .any(|character| "|&;<>()$`\\\"'*?[]~".contains(character));
    let split: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let program = split.first()?;
    Some(if shell || !program.starts_with('/') {
        vec!["/bin/sh".to_owned(), "-c".to_owned(), line]
    } else {
        split
    })
}
