//! `lb doctor`: examines the host, its peer, AWS, names and backends, and says what is wrong and
//! how to fix it.
//!
//! A check has an entry in the [catalogue](Check) and returns [findings](Finding). Each module is
//! about one subject: it has functions that read facts of the host, and pure functions that check
//! these facts. `lb doctor` changes nothing, and asks for nothing twice: the checks that wait for
//! the network have time limits and run at the same time.

#![forbid(unsafe_code)]

mod agent;
mod aws;
mod backends;
mod catalogue;
mod certificates;
mod check;
mod checksums;
mod client_authorities;
mod clock;
mod configuration;
mod discovery;
mod files;
mod finding;
mod host;
mod interface;
mod kernel;
mod names;
mod pair;
mod ports;
mod report;

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use tokio::{
    runtime,
    time::{Instant, timeout},
};

use self::{
    agent::{Account, RunningAgent},
    checksums::Tap,
};
pub use self::{
    catalogue::all,
    check::{Check, Group},
    finding::{Finding, State},
    report::{Counts, Report},
};
use crate::config::{Config, Mode};

/// Time limit of one request over the network, to a backend, the peer or the DNS resolver.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// Time limit for one query of the source of a pool.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(5);
/// Time limit of all requests to AWS together, some of which need the answers to earlier ones.
const AWS_LIMIT: Duration = Duration::from_secs(8);

/// Examines this host, with the configuration in a file. Takes at most about fifteen seconds.
///
/// # Errors
/// The process can start no thread.
pub fn examine(file: &Path) -> io::Result<Report> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let report = runtime.block_on(report(file));
    // A thread may still wait for an answer of the DNS resolver; that thread is not waited for.
    runtime.shutdown_background();
    Ok(report)
}

async fn report(file: &Path) -> Report {
    let (config, mut findings) = configuration::read(file);
    let Some(config) = config else {
        return Report::of(findings);
    };
    let (agent, found) = agent::find(&config.admin.socket).await;
    findings.extend(found);
    let agent = agent.as_ref();
    let (config, found) = discovery::check(config, DISCOVERY_LIMIT).await;
    findings.extend(found);
    let (found, names) = certificates::check(&config, Account::of(agent));
    findings.extend(found);
    findings.extend(client_authorities::check(&config, Account::of(agent)));
    findings.extend(on_this_host(&config, agent));
    let (found, checksums, answers, resolved) = tokio::join!(
        probes(&config, agent),
        opened_connections(&config),
        timeout(AWS_LIMIT, aws::check(&config)),
        names::resolve(names, REQUEST_LIMIT),
    );
    findings.extend(found);
    findings.extend(checksums);
    let answers = answers.unwrap_or_else(|_elapsed| aws::Answers::overdue(AWS_LIMIT));
    findings.extend(names::judge(resolved, answers.public_ip));
    findings.extend(answers.findings);
    Report::of(findings)
}

/// Makes the checks that do not wait for the network.
fn on_this_host(config: &Config, agent: Option<&RunningAgent>) -> Vec<Finding> {
    let pins = &config.dataplane.pin_path;
    let mut findings = kernel::check(&config.dataplane, agent.is_some());
    for name in config.node.interfaces.names() {
        let facts = interface::read(name, pins);
        findings.extend(interface::judge(
            &facts,
            config.dataplane.xdp_mode,
            agent.is_some(),
        ));
    }
    findings.extend(host::check(config, agent));
    findings.extend(ports::check(config, agent.map(|agent| agent.pid)));
    findings.extend(backends::routes(config));
    findings.extend(files::check(config, agent));
    findings
}

/// Makes the checks that ask the backends and the peer over the network.
async fn probes(config: &Config, agent: Option<&RunningAgent>) -> Vec<Finding> {
    let (backends, pair, clock) = tokio::join!(
        backends::answers(config, REQUEST_LIMIT),
        pair::check(config, agent, REQUEST_LIMIT),
        clock::check(config, Duration::from_secs(1)),
    );
    [backends, pair, clock].concat()
}

/// Checks the checksums of the packets that arrive while the backends and the peer are probed.
async fn opened_connections(config: &Config) -> Vec<Finding> {
    /// How long packets are watched: only senders on the same machine leave checksums incomplete,
    /// and backends there answer the probes within this time.
    const SPAN: Duration = Duration::from_secs(1);
    let steers = config
        .services
        .iter()
        .any(|service| matches!(service.mode, Mode::Tcp { .. }));
    match Tap::open(&config.node.interfaces) {
        Ok(tap) => {
            let end = Instant::now() + SPAN;
            let seen: BTreeMap<String, _> = tap.watch(tokio::time::sleep_until(end)).await;
            let judged = seen
                .iter()
                .map(|(name, senders)| checksums::judge(name, senders, steers));
            judged.collect()
        }
        Err(error) => {
            let found = format!("cannot watch packets: {error}; CAP_NET_RAW is needed");
            vec![checksums::CHECKSUMS.skipped("", found)]
        }
    }
}
