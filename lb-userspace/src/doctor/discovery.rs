//! Checks of `lb doctor` about discovery: whether the sources of pools answer, and whether the
//! backends in their answers can be used.

use std::{collections::BTreeMap, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    admin::wording::counted,
    config::{Backend, Config, DiscoveredPools, DiscoverySource, Effective, Excluded, Name},
    discovery::{Answer, Source, SourceError},
};

pub(super) static SOURCE: Check = Check {
    name: "discovery",
    group: Group::Backends,
    looks_at: "The source of each pool that discovers its backends, once, and whether the backends in \
               its answer can be used. The checks of routes and backends look at these backends, too.",
    why: "A source that fails changes nothing, so new backends get no traffic, and hosts that are gone \
          stay in the pool. A host that starts without an answer has no backends.",
    fix: "Correct `[pool.discover]`, the records, tags or lines of the source, or this host's access to it.",
};

pub(super) static CHECKS: [&Check; 1] = [&SOURCE];

/// Asks the source of each pool once. Returns the findings, and the configuration with the backends
/// that were found. No query takes longer than `limit`.
pub(super) async fn check(config: Config, limit: Duration) -> (Config, Vec<Finding>) {
    let mut queries = JoinSet::new();
    for pool in &config.pools {
        let Some(settings) = &pool.discover else {
            continue;
        };
        let (name, settings) = (pool.name.clone(), settings.source.clone());
        queries.spawn(async move {
            let outcome = timeout(limit, Source::new(&settings).query()).await;
            let outcome = outcome.unwrap_or_else(|_elapsed| {
                let limit = limit.as_secs();
                Err(SourceError(format!(
                    "{settings} did not answer within {limit} s"
                )))
            });
            (name, (settings, outcome))
        });
    }
    let outcomes: BTreeMap<_, _> = queries.join_all().await.into_iter().collect();
    judge(config, outcomes)
}

/// The outcome of asking the source of each pool.
type Outcomes = BTreeMap<Name, (DiscoverySource, Result<Answer, SourceError>)>;

fn judge(config: Config, outcomes: Outcomes) -> (Config, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut found = DiscoveredPools::new();
    for (pool, (source, outcome)) in outcomes {
        findings.push(finding(&pool, &source, &outcome));
        let answer = outcome.unwrap_or_default();
        let backends = answer.backends.into_iter().map(Backend::from).collect();
        found.insert(pool, backends);
    }
    if findings.is_empty() {
        return (config, findings);
    }
    let Effective { config, excluded } = config.with_discovered(&found);
    findings.extend(excluded.iter().map(unusable));
    (config, findings)
}

fn finding(
    pool: &Name,
    source: &DiscoverySource,
    outcome: &Result<Answer, SourceError>,
) -> Finding {
    let subject = format!("pool {pool}");
    match outcome {
        Ok(answer) if answer.backends.is_empty() => SOURCE.fail(
            subject,
            format!("{source} has no backends"),
            in_source(source),
        ),
        Ok(answer) => {
            let backends = counted(answer.backends.len() as u64, "backend");
            SOURCE.ok(subject, format!("{source} has {backends}"))
        }
        Err(error) => SOURCE.fail(subject, error, reached(source)),
    }
}

fn unusable(one: &Excluded) -> Finding {
    SOURCE.warn(
        format!("pool {}", one.pool),
        format!("{} is not used: {}", one.address, one.reason),
        "remove it from the source, or change the service or pool that cannot use it",
    )
}

/// Returns what to do so that a source has backends.
fn in_source(source: &DiscoverySource) -> String {
    match source {
        DiscoverySource::Dns { names, family, .. } => {
            let kind = match family {
                crate::config::AddressFamily::Ipv4 => "A",
                crate::config::AddressFamily::Ipv6 => "AAAA",
            };
            let names = names.join(" or ");
            format!("add records of type {kind} to {names}, or correct `dns`")
        }
        DiscoverySource::Srv { name, .. } => {
            format!(
                "add records of type SRV to {name} whose targets have addresses, or correct `srv`"
            )
        }
        DiscoverySource::File(file) => {
            format!(
                "write a line for each backend, such as `10.0.0.6:80`, to {}",
                file.display()
            )
        }
        DiscoverySource::Ec2 { .. } => {
            "start instances, or correct `ec2_tags`, `auto_scaling_group` or `region`".to_owned()
        }
    }
}

/// Returns what to do so that a source answers.
fn reached(source: &DiscoverySource) -> String {
    match source {
        DiscoverySource::Dns { nameservers, .. } | DiscoverySource::Srv { nameservers, .. } => {
            match nameservers.is_empty() {
                true => "correct the name servers in /etc/resolv.conf, or set `nameservers`",
                false => "correct `nameservers`, or allow UDP and TCP packets to their ports",
            }
        }
        DiscoverySource::File(_) => {
            "correct the file, let the agent's user read it, or correct `file`"
        }
        DiscoverySource::Ec2 { .. } => {
            "allow the calls in the instance's role (docs/aws.md), or restore this host's access to the API"
        }
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{discovery::ListedBackend, doctor::State};

    const FILE: &str = r#"
        [node]
        name = "lb-a"
        interface = "lo"
        [[pool]]
        name = "web"
        [pool.discover]
        dns = "web.internal"
        port = 80
        [[service]]
        name = "web"
        listen = "10.0.0.1:80"
        mode = "tcp"
        pool = "web"
    "#;

    fn judged(outcome: Result<Answer, SourceError>) -> (Config, Vec<Finding>) {
        let parsed = Config::parse(Path::new("lb.toml"), FILE);
        let config = parsed.unwrap_or_else(|errors| panic!("{errors}")).config;
        let pool = &config.pools[0];
        let source = pool.discover.as_ref().expect("it discovers").source.clone();
        let outcomes = BTreeMap::from([(pool.name.clone(), (source, outcome))]);
        judge(config, outcomes)
    }

    fn answer(addresses: &[&str]) -> Answer {
        let addresses = addresses
            .iter()
            .map(|address| address.parse().expect("an address"));
        Answer {
            backends: addresses.map(ListedBackend::at).collect(),
            valid_for: None,
        }
    }

    #[test]
    fn the_backends_that_are_found_are_checked_as_listed_ones_are() {
        let (config, findings) = judged(Ok(answer(&["10.0.0.6:80", "10.0.0.7:80"])));
        assert_eq!(config.pools[0].backends.len(), 2);
        let [finding] = findings.as_slice() else {
            panic!("{findings:?}");
        };
        assert_eq!(finding.state, State::Ok);
        assert_eq!(finding.found, "DNS name web.internal has 2 backends");
    }

    #[test]
    fn a_source_without_backends_and_one_that_fails_are_failures_with_a_fix() {
        let (_, findings) = judged(Ok(answer(&[])));
        assert_eq!(findings[0].state, State::Fail);
        let fix = findings[0].fix.as_deref().expect("a fix");
        assert!(fix.contains("records of type A to web.internal"), "{fix}");
        let (config, findings) = judged(Err(SourceError("10.0.0.2 refused".to_owned())));
        assert_eq!(findings[0].state, State::Fail);
        assert_eq!(findings[0].found, "10.0.0.2 refused");
        let fix = findings[0].fix.as_deref().expect("a fix");
        assert!(fix.contains("/etc/resolv.conf"), "{fix}");
        assert!(config.pools[0].backends.is_empty());
    }

    #[test]
    fn a_backend_that_cannot_be_used_is_a_warning() {
        let (_, findings) = judged(Ok(answer(&["10.0.0.6:80", "10.0.0.1:80"])));
        let states: Vec<_> = findings.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Ok, State::Warn]);
        assert!(
            findings[1].found.starts_with("10.0.0.1:80 is not used"),
            "{findings:?}"
        );
    }
}
