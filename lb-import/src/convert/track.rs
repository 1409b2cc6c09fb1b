//! Converts `vrrp_script` and `track_script` into `[[ha.track]]`.

use super::{moves::command, timeouts};
use crate::{
    Loss,
    document::{Table, quoted},
    haproxy::words,
    keepalived::model::{Node, is_read},
    ledger::{Id, Ledger},
};

const CHECKS_HAPROXY: &str = "it checks HAProxy, which lb replaces; the agent monitors itself";

/// The word by which a check of HAProxy is recognised: it is in the name of the check, in the command
/// of its script, or in the name of its process.
const HAPROXY: &str = "haproxy";

/// What Keepalived adds to the priority of an instance while HAProxy runs.
pub(crate) struct Addition<'n> {
    /// The name of the `vrrp_script` or `vrrp_track_process` that checks HAProxy.
    pub(crate) check: &'n str,
    /// The number that is added: below 0 for a positive weight with `reverse`.
    pub(crate) amount: i32,
    /// The directive that has the weight.
    pub(crate) origin: Id,
}

/// Returns what the scripts and processes that check HAProxy, and that are not carried over, add to
/// the priority of an instance while HAProxy runs. A weight of 0 or below adds nothing then: it is
/// for the time when HAProxy does not run.
pub(crate) fn additions<'n>(nodes: &'n [Node], instance: &Node) -> Vec<Addition<'n>> {
    let mut all = Vec::new();
    for (block, list) in [
        ("vrrp_script", "track_script"),
        ("vrrp_track_process", "track_process"),
    ] {
        let references = references(nodes, instance, list);
        let checks = nodes.iter().filter(|node| node.keyword() == block);
        for check in checks.filter(|check| checks_haproxy(check)) {
            let reference = references.iter().find(|node| node.word(0) == check.word(1));
            let weight = reference.and_then(|reference| Weight::of(check, reference));
            if let Some(weight) = weight.filter(|weight| weight.value > 0) {
                let sign = if weight.is_reversed { -1 } else { 1 };
                all.push(Addition {
                    check: check.word(1),
                    amount: sign * weight.value,
                    origin: weight.origin,
                });
            }
        }
    }
    all
}

/// Whether a `vrrp_script` or `vrrp_track_process` checks HAProxy.
fn checks_haproxy(check: &Node) -> bool {
    let subject = check.find("script").or(check.find("process"));
    let subject = subject.into_iter().flat_map(|node| &node.words[1..]);
    let mut names = std::iter::once(check.word(1)).chain(subject.map(String::as_str));
    names.any(|name| name.to_ascii_lowercase().contains(HAPROXY))
}

/// Returns the directives in the blocks of a keyword, such as `track_script`, in an instance and in
/// the sync groups that the instance is in.
fn references<'n>(nodes: &'n [Node], instance: &'n Node, keyword: &str) -> Vec<&'n Node> {
    let is_member = |group: &&Node| {
        let members = group.find("group");
        let mut members = members.into_iter().flat_map(|members| &members.inner);
        members.any(|member| member.words.iter().any(|word| word == instance.word(1)))
    };
    let groups = nodes
        .iter()
        .filter(|node| node.keyword() == "vrrp_sync_group");
    std::iter::once(instance)
        .chain(groups.filter(is_member))
        .flat_map(|block| &block.inner)
        .filter(|node| node.keyword() == keyword)
        .flat_map(|node| &node.inner)
        .collect()
}

/// The effect of a script or process on the priority of an instance that tracks it.
struct Weight {
    /// The number that is added to the priority while the check succeeds, if it is above 0, and
    /// while it fails, if it is below 0.
    value: i32,
    /// Whether the number is subtracted in place of added.
    is_reversed: bool,
    /// The directive that has the number.
    origin: Id,
}

impl Weight {
    /// Returns the weight in a reference in `track_script` or `track_process`, or else that of the
    /// block which the reference names, as keepalived's vrrp_track.c reads them.
    fn of(check: &Node, reference: &Node) -> Option<Self> {
        let number = |word: &str| {
            let value = word.parse::<i32>().ok()?;
            (-254..=254)
                .contains(&value)
                .then(|| value.clamp(-253, 253))
        };
        let own = check.find("weight").filter(|node| is_read(node));
        let of_own = own.and_then(|node| Some((number(node.word(1))?, node.id)));
        let given = (reference.word(1) == "weight").then(|| number(reference.word(2)));
        let given = given.flatten().map(|value| (value, reference.id));
        let (value, origin) = given.or(of_own)?;
        let is_reversed = match reference.word(3) {
            "reverse" => true,
            "noreverse" => false,
            _ => own.is_some_and(|node| node.word(2) == "reverse"),
        };
        Some(Self {
            value,
            is_reversed,
            origin,
        })
    }
}

/// Adds to `[ha]` the scripts that the `vrrp_instance` tracks.
pub(crate) fn convert(nodes: &[Node], instance: &Node, ha: &mut Table, ledger: &mut Ledger) {
    let used = references(nodes, instance, "track_script");
    let processes = references(nodes, instance, "track_process");
    let mut names = Vec::new();
    for check in nodes {
        let references = match check.keyword() {
            "vrrp_script" => &used,
            "vrrp_track_process" if checks_haproxy(check) => &processes,
            _ => continue,
        };
        let reference = references.iter().find(|node| node.word(0) == check.word(1));
        if checks_haproxy(check) {
            let ids = check.ids().into_iter();
            let ids = ids.chain(reference.map(|node| node.id));
            // The directive with the weight is in the output if the weight is in the priority.
            ids.for_each(|id| ledger.otherwise(id, Loss::NotNeeded, CHECKS_HAPROXY));
            continue;
        }
        let Some(reference) = reference else {
            check
                .ids()
                .into_iter()
                .for_each(|id| ledger.needless(id, "no instance tracks it"));
            continue;
        };
        let table = track(check, reference, &mut names, ledger);
        ha.tables.extend(table);
    }
    let lists = instance.inner.iter();
    for list in lists.filter(|node| node.keyword() == "track_process") {
        let is_dropped = |node: &Node| {
            let mut checks = nodes.iter().filter(|check| checks_haproxy(check));
            checks.any(|check| check.word(1) == node.word(0))
        };
        if list.inner.iter().all(is_dropped) {
            ledger.otherwise(list.id, Loss::NotNeeded, CHECKS_HAPROXY);
        }
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
            .for_each(|id| ledger.lose(id, "it does not name a program"));
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
    timeouts::shorten(&mut table, "1s", ledger);
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
    set_weight(script, reference, &mut table, ledger);
    Some(table)
}

/// Sets the weight of a tracked script: the one given in `track_script`, or else that of its
/// `vrrp_script`.
fn set_weight(script: &Node, reference: &Node, table: &mut Table, ledger: &mut Ledger) {
    let Some(weight) = Weight::of(script, reference) else {
        if let Some(own) = script.find("weight").filter(|own| is_read(own)) {
            ledger.lose(own.id, "a weight is a number from -253 to 253");
        }
        return;
    };
    if let Some(own) = script.find("weight").filter(|own| own.id != weight.origin) {
        ledger.needless(own.id, "the script has another weight where it is tracked");
    }
    if weight.is_reversed {
        let why = "reverse: lb adds a weight below 0 while the script fails, and one above 0 while it \
                   succeeds; it cannot reverse this";
        return ledger.lose(weight.origin, why);
    }
    table.set("weight", weight.value.to_string(), &[weight.origin]);
}
