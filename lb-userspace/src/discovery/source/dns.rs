//! A source of backends that is DNS: the addresses of names (records of type A or AAAA), or a
//! service (records of type SRV, RFC 2782).
//!
//! - Names are absolute: search domains are not tried. The hosts file is not used, because its
//!   entries have no TTL, and would hide what the name servers say.
//! - `/etc/resolv.conf` is read for each query, because it changes when the network does. Only its
//!   name servers are used.
//! - A name that does not exist, and one without records of the type, have no backends, which is
//!   not an error. If no name server gives a valid answer, the query fails.

mod resolver;
mod service;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::{task::JoinSet, time::Instant};

use self::resolver::{Found, Resolver};
use crate::{
    config::AddressFamily,
    discovery::{Answer, ListedBackend, SourceError},
};

/// Time limit for a query of a source, including the lookups of all targets of a service.
const QUERY_LIMIT: Duration = Duration::from_secs(8);

/// How many names are looked up at the same time.
const CONCURRENT: usize = 16;

/// The name servers of this host (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Names in DNS whose records list the backends.
#[derive(Debug)]
pub(super) struct Dns {
    question: Question,
    family: AddressFamily,
    /// The name servers that are asked; empty for those of `resolv_conf`.
    nameservers: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    /// The name server that answered last, which is asked first: one that is down would otherwise
    /// delay every query.
    answered: Option<SocketAddr>,
}

/// What the name servers are asked for.
#[derive(Debug)]
enum Question {
    /// The addresses of names; every backend has this port.
    Addresses { names: Vec<String>, port: u16 },
    /// The addresses of the targets of a name's records of type SRV, which have ports.
    Service(String),
}

impl Dns {
    /// Returns a source whose backends are the addresses of these names, all with this port.
    pub(super) fn of_addresses(
        names: &[String],
        port: u16,
        family: AddressFamily,
        nameservers: &[SocketAddr],
    ) -> Self {
        let names = names.to_vec();
        Self::new(Question::Addresses { names, port }, family, nameservers)
    }

    /// Returns a source whose backends are the addresses of the targets of a name's records of type
    /// SRV.
    pub(super) fn of_service(
        name: &str,
        family: AddressFamily,
        nameservers: &[SocketAddr],
    ) -> Self {
        Self::new(Question::Service(name.to_owned()), family, nameservers)
    }

    fn new(question: Question, family: AddressFamily, nameservers: &[SocketAddr]) -> Self {
        Self {
            question,
            family,
            nameservers: nameservers.to_vec(),
            resolv_conf: PathBuf::from(RESOLV_CONF),
            answered: None,
        }
    }

    pub(super) async fn query(&mut self) -> Result<Answer, SourceError> {
        let mut servers = self.servers().await?;
        servers.sort_by_key(|server| Some(*server) != self.answered);
        let deadline = Instant::now() + QUERY_LIMIT;
        let resolver = Arc::new(Resolver::new(servers, deadline));
        let answer = match &self.question {
            Question::Addresses { names, port } => self.addresses(&resolver, names, *port).await,
            Question::Service(name) => self.service(&resolver, name).await,
        };
        self.answered = resolver.answered().or(self.answered);
        answer
    }

    /// Returns the name servers that are asked, at least one.
    async fn servers(&self) -> Result<Vec<SocketAddr>, SourceError> {
        if !self.nameservers.is_empty() {
            return Ok(self.nameservers.clone());
        }
        let path = self.resolv_conf.display();
        let advice = "set nameservers in [pool.discover], or let it name one: nameserver 10.0.0.2";
        let read = tokio::fs::read(&self.resolv_conf).await;
        let content = read.map_err(|error| {
            SourceError(format!(
                "could not read the name servers of this host from {path}: {error}; {advice}"
            ))
        })?;
        let servers = nameservers(&String::from_utf8_lossy(&content));
        if servers.is_empty() {
            return Err(SourceError(format!(
                "could not look up the backends: {path} has no name server; {advice}"
            )));
        }
        Ok(servers)
    }

    async fn addresses(
        &self,
        resolver: &Arc<Resolver>,
        names: &[String],
        port: u16,
    ) -> Result<Answer, SourceError> {
        let names = names.iter().map(|name| absolute(name));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let found = self.look_up_all(resolver, &names).await?;
        // Several names may have the same address.
        let distinct: BTreeSet<_> = found
            .iter()
            .flat_map(|(_, found)| addresses(found))
            .collect();
        let backends = distinct
            .into_iter()
            .map(|ip| ListedBackend::at(SocketAddr::new(ip, port)));
        Ok(Answer {
            backends: backends.collect(),
            valid_for: found.iter().filter_map(|(_, found)| found.valid_for).min(),
        })
    }

    /// Looks up the records of a service, and the addresses of all their targets.
    ///
    /// The addresses that the name server may add to its answer are not used: it may add only some
    /// of them (RFC 2181, section 9).
    async fn service(&self, resolver: &Arc<Resolver>, name: &str) -> Result<Answer, SourceError> {
        let found = resolver.look_up(&absolute(name)?, RecordType::SRV).await?;
        let records: Vec<_> = found.records.iter().filter_map(service::record).collect();
        let mut targets: Vec<Name> = records.iter().map(|srv| srv.target.clone()).collect();
        targets.sort();
        targets.dedup();
        let resolved = self.look_up_all(resolver, &targets).await;
        let resolved = resolved.map_err(|error| {
            SourceError(format!("could not look up a target of {name}: {error}"))
        })?;
        let valid_for = resolved.iter().filter_map(|(_, found)| found.valid_for);
        let valid_for = valid_for.chain(found.valid_for).min();
        let resolved = resolved
            .iter()
            .map(|(target, found)| (target.clone(), addresses(found).collect()))
            .collect();
        Ok(Answer {
            backends: service::backends(&records, &resolved),
            valid_for,
        })
    }

    /// Looks up the addresses of all these names. A name that does not exist has none, but one that
    /// could not be looked up fails the query, because an answer with the addresses of the others
    /// alone would remove its backends.
    async fn look_up_all(
        &self,
        resolver: &Arc<Resolver>,
        names: &[Name],
    ) -> Result<Vec<(Name, Found)>, SourceError> {
        let mut resolved = Vec::new();
        for some in names.chunks(CONCURRENT) {
            let mut lookups = JoinSet::new();
            for name in some.iter().cloned() {
                let (resolver, kind) = (Arc::clone(resolver), record_type(self.family));
                lookups.spawn(async move {
                    let found = resolver.look_up(&name, kind).await;
                    (name, found)
                });
            }
            while let Some(done) = lookups.join_next().await {
                let (name, found) = done.map_err(|error| SourceError(error.to_string()))?;
                resolved.push((name, found?));
            }
        }
        Ok(resolved)
    }
}

/// Returns the name as hickory has it, with the root at its end.
fn absolute(name: &str) -> Result<Name, SourceError> {
    Name::from_ascii(format!("{name}.")).map_err(|error| {
        SourceError(format!(
            "could not look up {name}: {error}; check the name in [pool.discover]"
        ))
    })
}

fn record_type(family: AddressFamily) -> RecordType {
    match family {
        AddressFamily::Ipv4 => RecordType::A,
        AddressFamily::Ipv6 => RecordType::AAAA,
    }
}

fn addresses(found: &Found) -> impl Iterator<Item = IpAddr> {
    found.records.iter().filter_map(|record| match record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    })
}

/// Returns the name servers in the content of a resolv.conf(5). Everything else in it is ignored,
/// as the C library ignores unknown lines. The parser of hickory-resolver is not used, because it
/// logs a warning about each such line at each query.
fn nameservers(content: &str) -> Vec<SocketAddr> {
    const DNS_PORT: u16 = 53;
    let lines = content.lines().map(str::split_whitespace);
    let addresses = lines.filter_map(|mut words| {
        let is_nameserver = words.next() == Some("nameserver");
        is_nameserver.then(|| words.next()?.parse().ok()).flatten()
    });
    addresses
        .map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_of_resolv_conf_are_used_and_the_rest_is_ignored() {
        let content = "# nameserver 10.0.0.1\nsearch example.org\nnameserver 10.0.0.2\n\
                       options edns0 strange:1\n\tnameserver\t2001:db8::2 # second\n\
                       ;nameserver 10.0.0.3\nnameserver\nnameserver web1\nNAMESERVER 10.0.0.4\r\n\
                       nameserver 10.0.0.5";
        let servers = ["10.0.0.2:53", "[2001:db8::2]:53", "10.0.0.5:53"];
        let servers = servers.map(|server| server.parse().expect("an address"));
        assert_eq!(nameservers(content), servers);
        assert_eq!(nameservers(""), []);
    }

    #[tokio::test]
    async fn resolv_conf_is_read_for_each_query_unless_name_servers_are_configured() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("resolv.conf");
        let mut dns = Dns::of_addresses(&["web.internal".to_owned()], 80, AddressFamily::Ipv4, &[]);
        dns.resolv_conf = file.clone();
        let error = dns.query().await.expect_err("no file");
        assert!(error.0.contains("resolv.conf: No such file"), "{error}");
        for server in ["10.0.0.2", "10.0.0.3"] {
            std::fs::write(&file, format!("nameserver {server}\n")).expect("a file");
            let expected = SocketAddr::new(server.parse().expect("an address"), 53);
            assert_eq!(dns.servers().await, Ok(vec![expected]));
        }
        std::fs::write(&file, "search example.org\n").expect("a file");
        let error = dns.query().await.expect_err("no name server");
        assert!(error.0.contains("has no name server"), "{error}");
        let configured = SocketAddr::from(([10, 0, 0, 9], 5353));
        dns.nameservers = vec![configured];
        assert_eq!(dns.servers().await, Ok(vec![configured]));
    }
}
