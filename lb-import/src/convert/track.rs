//! Converts `vrrp_script` and `track_script` into `[[ha.track]]`.

use super::moves::command;
use crate::{
    document::{Table, quoted},
    haproxy::words,
    keepalived::model::{Node, is_read},
    ledger::Ledger,
};

const CHECKS_HAPROXY: &str = "it checks HAProxy, which lb replaces; the agent monitors itself";

/// Adds to `[ha]` the scripts that the `vrrp_instance` tracks.
pub(crate) fn convert(nodes: &[Node], instance: &Node, ha: &mut Table, ledger: &mut Ledger) {
    let scripts: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.keyword() == "vrrp_script")
        .collect();
    let tracked: Vec<&Node> = instance
        .inner
        .iter()
        .filter(|node| node.keyword() == "track_script")
        .collect();
    let used: Vec<&Node> = tracked.iter().flat_map(|node| &node.inner).collect();
    let mut names = Vec::new();
    for script in scripts {
        let reference = used.iter().find(|node| node.word(0) == script.word(1));
        let runs = script
            .find("script")
            .map(|node| node.words[1..].join(" "))
            .unwrap_or_default();
        if runs.contains("haproxy") {
            let ids = script
                .ids()
                .into_iter()
                .chain(reference.map(|node| node.id));
            ids.for_each(|id| ledger.needless(id, CHECKS_HAPROXY));
            continue;
        }
        let Some(reference) = reference else {
            script
                .ids()
                .into_iter()
                .for_each(|id| ledger.needless(id, "no instance tracks it"));
            continue;
        };
        let table = track(script, reference, &mut names, ledger);
        ha.tables.extend(table);
    }
    for node in used {
        let known = nodes
            .iter()
            .any(|script| script.keyword() == "vrrp_script" && script.word(1) == node.word(0));
        if !known {
            ledger.lose(node.id, "there is no vrrp_script of that name");
        }
    }
}

fn track(
    script: &Node,
    reference: &Node,
    names: &mut Vec<String>,
    ledger: &mut Ledger,
) -> Option<Table> {
    let run = script.find("script").filter(|node| is_read(node));
    let Some((node, command)) = run.and_then(|node| Some((node, command(&node.words[1..])?)))
    else {
        script
            .ids()
            .into_iter()
            .for_each(|id| ledger.lose(id, "it names no program"));
        return None;
    };
    // A user and a group may follow the command of a `script` line if the command is in quotes.
    let in_quotes = node.word(1).contains(' ');
    for user in node.words.iter().skip(2).filter(|_| in_quotes) {
        let why = format!("lb runs scripts as the agent's user, not as {user}");
        ledger.lose(node.id, why);
    }
    let mut table = Table::from("[[ha.track]]", script.id);
    table.origins.push(reference.id);
    table.text("name", &words::unique(script.word(1), names), &[]);
    let setting = table.list("command", &command, &[node.id]);
    if command.first().is_some_and(|program| program == "/bin/sh") {
        setting.remark("it runs as the agent's user in its sandbox, which hides other users' processes from pidof: see docs/high-availability.md");
    }
    for (keyword, key) in [("interval", "interval"), ("timeout", "timeout")] {
        if let Some(node) = script.find(keyword)
            && let Ok(seconds) = node.word(1).parse::<f64>()
        {
            table.set(key, quoted(&words::of_seconds(seconds)), &[node.id]);
        }
    }
    for keyword in ["rise", "fall"] {
        match script.find(keyword) {
            Some(node) => {
                if let Ok(number) = node.word(1).parse::<u32>() {
                    table.set(keyword, number.to_string(), &[node.id]);
                }
            }
            None => {
                table.set(keyword, "1", &[]).remark("Keepalived's default");
            }
        }
    }
    weight(script, reference, &mut table, ledger);
    Some(table)
}

/// Sets the weight of a tracked script: the one given in `track_script`, or else that of its
/// `vrrp_script`.
fn weight(script: &Node, reference: &Node, table: &mut Table, ledger: &mut Ledger) {
    let reversed = "reverse: lb adds a weight below 0 while the script fails, and one above 0 while it \
                    succeeds, and not the other way round";
    let own = script.find("weight");
    for (id, words) in own
        .map(|node| (node.id, &node.words))
        .into_iter()
        .chain([(reference.id, &reference.words)])
    {
        if words.iter().any(|word| word == "reverse") {
            return ledger.lose(id, reversed);
        }
    }
    let own = own.map(|node| (node.word(1).to_owned(), node.id));
    let given = reference.words.windows(2).find(|pair| pair[0] == "weight");
    let given = given.map(|pair| (pair[1].clone(), reference.id));
    if let (Some((_, id)), Some(_)) = (&own, &given) {
        ledger.needless(*id, "where the script is tracked there is another weight");
    }
    if let Some((weight, id)) = given.or(own)
        && let Ok(weight) = weight.parse::<i16>()
    {
        table.set("weight", weight.to_string(), &[id]);
    }
}
