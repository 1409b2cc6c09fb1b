//! Check of `lb doctor` about the DNS names that clients use.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    check::{Check, Group},
    finding::Finding,
};

pub(super) static NAME: Check = Check {
    name: "dns_name",
    group: Group::Certificates,
    looks_at: "The addresses of each name of the certificates and of `domains`, as this host's resolver knows \
               them (not of wildcards), compared with the Elastic IP.",
    why: "Clients connect to the address that the name resolves to, and certificates are issued only if the name resolves to this pair.",
    fix: "Set the A record of the name to the Elastic IP, and wait for the TTL of the old one. If this host \
          resolves no name at all, enter a name server that answers in /etc/resolv.conf.",
};

pub(super) static CHECKS: [&Check; 1] = [&NAME];

/// DNS names, each with its IP addresses, or with the reason why it was not resolved.
pub(super) type Resolved = Vec<(String, Result<BTreeSet<IpAddr>, String>)>;

/// Resolves DNS names, all at the same time. No look-up takes longer than `limit`.
pub(super) async fn resolve(names: BTreeSet<String>, limit: Duration) -> Resolved {
    let mut lookups = JoinSet::new();
    for name in names {
        lookups.spawn(async move {
            let found = tokio::time::timeout(limit, lookup(&name)).await;
            let found = found.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
            (name, found)
        });
    }
    let mut resolved = lookups.join_all().await;
    resolved.sort();
    resolved
}

async fn lookup(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let found: io::Result<BTreeSet<IpAddr>> = tokio::net::lookup_host((name, 443))
        .await
        .map(|addresses| addresses.map(|address| address.ip()).collect());
    found.map_err(|error| error.to_string())
}

/// Checks the IP addresses of DNS names. `expected` is the public address of the Elastic IP, which
/// the names should have; `None` if it is not known.
pub(super) fn judge(resolved: Resolved, expected: Option<Ipv4Addr>) -> Vec<Finding> {
    resolved
        .into_iter()
        .map(|(name, found)| judge_one(&name, found, expected))
        .collect()
}

fn judge_one(
    name: &str,
    found: Result<BTreeSet<IpAddr>, String>,
    expected: Option<Ipv4Addr>,
) -> Finding {
    let record = expected.map_or(
        "the address that clients connect to".to_owned(),
        |address| address.to_string(),
    );
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => {
            return NAME.fail(
                name,
                format!("does not resolve: {error}"),
                format!(
                    "look whether this host resolves other names (`getent ahosts example.org`); if it does, \
                     add an A record for {name} with {record}; if it does not, enter a name server that \
                     answers in /etc/resolv.conf"
                ),
            );
        }
    };
    let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let list = list.join(", ");
    let Some(expected) = expected else {
        return NAME.ok(name, list);
    };
    let v4: Vec<_> = addresses
        .iter()
        .filter(|address| address.is_ipv4())
        .collect();
    if v4.iter().all(|address| **address == IpAddr::V4(expected)) && !v4.is_empty() {
        return NAME.ok(name, format!("{list}, the Elastic IP"));
    }
    NAME.fail(
        name,
        format!("resolves to {list}, but the Elastic IP is {expected}"),
        format!(
            "set the A record of {name} to {expected} alone, and wait for the TTL of the old one"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const ELASTIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 74);

    fn state(addresses: &[&str], expected: Option<Ipv4Addr>) -> State {
        let addresses = addresses.iter().map(|one| one.parse().expect("an address"));
        judge_one("www.example.org", Ok(addresses.collect()), expected).state
    }

    #[test]
    fn a_name_points_to_the_elastic_ip_and_nowhere_else() {
        assert_eq!(state(&["203.0.113.74"], Some(ELASTIC)), State::Ok);
        assert_eq!(
            state(&["203.0.113.74", "203.0.113.75"], Some(ELASTIC)),
            State::Fail
        );
        assert_eq!(state(&["203.0.113.75"], Some(ELASTIC)), State::Fail);
        assert_eq!(state(&["2001:db8::1"], Some(ELASTIC)), State::Fail);
        assert_eq!(
            state(&["203.0.113.75"], None),
            State::Ok,
            "nothing to compare with"
        );
    }

    #[test]
    fn a_name_that_does_not_exist_has_the_record_to_add() {
        let finding = judge_one(
            "www.example.org",
            Err("no such name".to_owned()),
            Some(ELASTIC),
        );
        assert_eq!(finding.state, State::Fail);
        let fix = finding.fix.expect("a fix");
        assert!(fix.contains("A record for www.example.org with 203.0.113.74"));
    }

    #[test]
    fn without_a_resolver_the_fix_says_how_to_notice_that_and_what_to_enter() {
        let error = "failed to lookup address information: Temporary failure in name resolution";
        let finding = judge_one("www.example.org", Err(error.to_owned()), None);
        assert!(finding.found.contains(error), "{finding:?}");
        let fix = finding.fix.expect("a fix");
        assert!(fix.contains("`getent ahosts example.org`"), "{fix}");
        assert!(
            fix.contains("enter a name server that answers in /etc/resolv.conf"),
            "{fix}"
        );
    }

    #[tokio::test]
    async fn names_of_this_host_are_resolved() {
        let names = BTreeSet::from(["127.0.0.1".to_owned()]);
        let resolved = resolve(names, Duration::from_secs(5)).await;
        let address = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(
            resolved,
            [("127.0.0.1".to_owned(), Ok(BTreeSet::from([address])))]
        );
    }
}
