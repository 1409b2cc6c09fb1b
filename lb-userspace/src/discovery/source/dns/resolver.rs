//! Asks name servers for the records of a name.
//!
//! This uses hickory-resolver's `NameServerPool` instead of its `Resolver`, which does not ask the
//! next name server when one answers SERVFAIL or REFUSED, does not say which name server failed,
//! and does not follow an alias to records of type SRV.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hickory_resolver::{
    NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ResolverOpts},
    net::xfer::FirstAnswer as _,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider, xfer::DnsHandle as _},
    proto::{
        op::{DnsRequestOptions, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
};
use tokio::time::Instant;

use crate::discovery::SourceError;

/// Time limit for one question to one name server, by UDP or TCP.
const TRY_LIMIT: Duration = Duration::from_secs(2);

/// How many times a name server that does not answer is asked.
const ROUNDS: u32 = 2;

/// The most aliases (records of type CNAME) that are followed from one answer to the next.
const MOST_ALIASES: usize = 8;

/// Asks name servers until a deadline.
#[derive(Debug)]
pub(super) struct Resolver {
    /// The name servers, in the order in which they are asked.
    servers: Vec<SocketAddr>,
    deadline: Instant,
    /// The first name server that answered, which is asked first from then on.
    answered: OnceLock<SocketAddr>,
}

/// The records of a name.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records of the type that was asked for. Empty if the name does not exist, or has no
    /// records of the type.
    pub(super) records: Vec<Record>,
    /// The smallest TTL of the records, and of the aliases that led to them; `None` if there are no
    /// records.
    pub(super) valid_for: Option<Duration>,
}

impl Resolver {
    pub(super) fn new(servers: Vec<SocketAddr>, deadline: Instant) -> Self {
        Self {
            servers,
            deadline,
            answered: OnceLock::new(),
        }
    }

    /// Returns the first name server that answered; `None` if none did.
    pub(super) fn answered(&self) -> Option<SocketAddr> {
        self.answered.get().copied()
    }

    /// Looks up the records of a name, and follows its aliases.
    pub(super) async fn look_up(
        &self,
        name: &Name,
        kind: RecordType,
    ) -> Result<Found, SourceError> {
        let mut ttl = u32::MAX;
        let mut asked = name.clone();
        for _ in 0..=MOST_ALIASES {
            let answers = self.ask(&asked, kind).await?;
            let last = follow_aliases(&asked, &answers, &mut ttl);
            let is_wanted = |record: &Record| record.name == last && record.record_type() == kind;
            let records: Vec<_> = answers.into_iter().filter(is_wanted).collect();
            if !records.is_empty() || last == asked {
                let ttl = records
                    .iter()
                    .map(|record| record.ttl)
                    .min()
                    .map(|own| own.min(ttl));
                return Ok(Found {
                    records,
                    valid_for: ttl.map(|ttl| Duration::from_secs(ttl.into())),
                });
            }
            asked = last;
        }
        Err(SourceError(format!(
            "could not look up the {kind} records of {}: more than {MOST_ALIASES} aliases (CNAME) \
             lead from it to {}; correct the records",
            shown(name),
            shown(&asked)
        )))
    }

    /// Asks the name servers one after another, and those that do not answer once more. Returns the
    /// records in the answer; none if the name does not exist, or has none of this type.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, SourceError> {
        let mut failures: BTreeMap<SocketAddr, Failure> = BTreeMap::new();
        let mut servers = self.servers.clone();
        servers.sort_by_key(|server| Some(*server) != self.answered());
        let mut tries = ROUNDS * u32::try_from(servers.len()).unwrap_or(u32::MAX / ROUNDS);
        for _ in 0..ROUNDS {
            for server in &servers {
                let left = self.deadline.saturating_duration_since(Instant::now());
                let limit = TRY_LIMIT.min(left / tries.max(1));
                tries = tries.saturating_sub(1);
                if failures
                    .get(server)
                    .is_some_and(|failure| failure.is_answer)
                {
                    continue;
                }
                match ask_server(*server, name, kind, limit).await {
                    Ok(records) => {
                        self.answered.get_or_init(|| *server);
                        return Ok(records);
                    }
                    Err(failure) => drop(failures.insert(*server, failure)),
                }
            }
        }
        let failures: Vec<_> = failures
            .iter()
            .map(|(server, failure)| format!("{server} {}", failure.found))
            .collect();
        Err(SourceError(format!(
            "could not look up the {kind} records of {}: {}; check these name servers, or name \
             others in nameservers of [pool.discover]",
            shown(name),
            failures.join(", ")
        )))
    }
}

/// Why a name server did not answer a question.
struct Failure {
    /// The rest of a sentence that begins with the name server.
    found: String,
    /// Whether the name server answered, so that asking it again at once would not help.
    is_answer: bool,
}

impl Failure {
    fn answered(found: String) -> Self {
        Self {
            found,
            is_answer: true,
        }
    }

    fn silent(found: String) -> Self {
        Self {
            found,
            is_answer: false,
        }
    }
}

/// Asks one name server by UDP, and by TCP if the answer does not fit into UDP.
async fn ask_server(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    limit: Duration,
) -> Result<Vec<Record>, Failure> {
    match ask_over(ConnectionConfig::udp(), server, name, kind, limit).await {
        Err(NetError::Truncated) => {
            let answer = ask_over(ConnectionConfig::tcp(), server, name, kind, limit).await;
            answer.map_err(|error| {
                let Failure { found, is_answer } = failure(&error, limit);
                Failure {
                    found: format!("has an answer that is too long for UDP, and over TCP {found}"),
                    is_answer,
                }
            })
        }
        answer => answer.map_err(|error| failure(&error, limit)),
    }
}

async fn ask_over(
    mut connection: ConnectionConfig,
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    limit: Duration,
) -> Result<Vec<Record>, NetError> {
    connection.port = server.port();
    let config = NameServerConfig::new(server.ip(), true, vec![connection]);
    let mut options = ResolverOpts::default();
    options.timeout = limit;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
    let question = Query::query(name.clone(), kind);
    let asked = pool.lookup(question, DnsRequestOptions::default());
    let answer = tokio::time::timeout(limit, asked.first_answer()).await;
    match answer.unwrap_or(Err(NetError::Timeout)) {
        Ok(response) => match response.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(response.into_message().answers),
            code => Err(NetError::Dns(DnsError::ResponseCode(code))),
        },
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn failure(error: &NetError, limit: Duration) -> Failure {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => {
            // Name servers and their tools write the codes in capitals: SERVFAIL, REFUSED.
            Failure::answered(format!("answered {}", format!("{code:?}").to_uppercase()))
        }
        NetError::Timeout => Failure::silent(format!(
            "did not answer within {:.1} s",
            limit.as_secs_f32()
        )),
        NetError::Io(error) => Failure::silent(format!("could not be asked ({error})")),
        error => Failure::answered(format!("gave no valid answer ({error})")),
    }
}

/// Follows the aliases in an answer, beginning at the name `from`. Returns the name that the last
/// alias leads to, and lowers `ttl` to the smallest TTL of the aliases.
fn follow_aliases(from: &Name, answers: &[Record], ttl: &mut u32) -> Name {
    let mut name = from;
    // There are at most as many aliases as records, so that a loop of aliases ends.
    for _ in answers {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, own)) = alias else { break };
        name = target;
        *ttl = (*ttl).min(own);
    }
    name.clone()
}

/// Formats a name for messages: without the final dot.
fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}
