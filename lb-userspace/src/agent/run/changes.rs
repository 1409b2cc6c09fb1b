//! Tells what a new configuration changes.

use std::{fmt::Display, sync::Arc};

use crate::config::{Backend, Config, Pool, Service};

/// Returns, in one line, the sections, services, pools and backends that differ between two
/// configurations.
pub(super) fn changes(old: &Config, new: &Config) -> String {
    let mut changes = sections(old, new);
    let name = |service: &Service| service.name.clone();
    changes.extend(compared(
        "service",
        (&old.services, &new.services),
        name,
        |old, new| {
            // A service contains its pools. If its pools differ, the change is listed below, with
            // the pools, and not as a change of the service.
            old != new && old.pools() == new.pools()
        },
    ));
    let name = |pool: &Arc<Pool>| pool.name.clone();
    changes.extend(compared(
        "pool",
        (&old.pools, &new.pools),
        name,
        |old, new| {
            let backends = old.backends.clone();
            **old
                != Pool {
                    backends,
                    ..Pool::clone(new)
                }
        },
    ));
    for pool in &new.pools {
        if let Some(before) = old.pools.iter().find(|before| before.name == pool.name) {
            changes.extend(backends(before, pool));
        }
    }
    if changes.is_empty() {
        return "nothing changed".to_owned();
    }
    changes.join(", ")
}

fn sections(old: &Config, new: &Config) -> Vec<String> {
    let sections = [
        ("[http]", old.http != new.http),
        ("[log]", old.log != new.log),
        ("[acme]", old.acme != new.acme),
        ("[ha]", old.ha != new.ha),
    ];
    let changed = sections.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| format!("{name} changed")).collect()
}

fn backends(old: &Pool, new: &Pool) -> Vec<String> {
    let noun = format!("backend of {}", new.name);
    let name = |backend: &Backend| backend.name.clone();
    compared(&noun, (&old.backends, &new.backends), name, |old, new| {
        old != new
    })
}

/// Compares two lists, whose elements are identified by their names. Returns a text for each
/// element that was added, removed or changed.
fn compared<T, N: PartialEq + Display>(
    noun: &str,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> N,
    differs: impl Fn(&T, &T) -> bool,
) -> Vec<String> {
    let find = |list: &[T], wanted: &N| list.iter().position(|one| name(one) == *wanted);
    let mut changes = Vec::new();
    for one in new {
        let named = name(one);
        match find(old, &named) {
            None => changes.push(format!("{noun} {named} added")),
            Some(place) if differs(&old[place], one) => {
                changes.push(format!("{noun} {named} changed"));
            }
            Some(_) => {}
        }
    }
    let removed = old
        .iter()
        .map(&name)
        .filter(|named| find(new, named).is_none());
    changes.extend(removed.map(|named| format!("{noun} {named} removed")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        [node]
        name = "lb-a"
        interface = "lo"
        [[pool]]
        name = "web"
        [[pool.backend]]
        name = "web1"
        address = "127.0.0.2:80"
        [[pool.backend]]
        name = "web2"
        address = "127.0.0.3:80"
        [[service]]
        name = "site"
        listen = "127.0.0.1:8080"
        mode = "http"
        pool = "web"
    "#;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lb.toml");
        std::fs::write(&file, text).expect("written");
        let parsed = Config::load(&file);
        parsed.unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn changed(to: &str) -> String {
        changes(&config(BASE), &config(to))
    }

    #[test]
    fn what_changed_is_named() {
        assert_eq!(changed(BASE), "nothing changed");
        assert_eq!(
            changed(&BASE.replace("127.0.0.3:80", "127.0.0.3:81")),
            "backend of web web2 changed"
        );
        assert_eq!(
            changed(&BASE.replace("web2", "web3")),
            "backend of web web3 added, backend of web web2 removed"
        );
        let balanced = BASE.replace("name = \"web\"", "name = \"web\"\nbalance = \"random_two\"");
        assert_eq!(changed(&balanced), "pool web changed");
        let listens = BASE.replace(":8080", ":8081");
        assert_eq!(changed(&listens), "service site changed");
        let renamed = BASE.replace("\"site\"", "\"shop\"");
        assert_eq!(
            changed(&renamed),
            "service shop added, service site removed"
        );
        let logged = format!("{BASE}\n[log]\nerrors = 7");
        assert_eq!(changed(&logged), "[log] changed");
    }
}
