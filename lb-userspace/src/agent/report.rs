//! Builds the reports of the agent's state from the current state of the other modules: the status
//! in this file, the metrics in `metrics`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    kernel::Kernel,
    shared::{Shared, State, indices},
};
use crate::{
    access_log, acme,
    admin::{
        BackendStatus, CertificateStatus, CheckStatus, DropStatus, EndedEarlyStatus, HaStatus,
        InterfaceStatus, LimitStatus, Moment, PoolStatus, Source, Status, XdpStatus,
    },
    config::{Balance, Check, CheckKind, Name},
    dataplane::{self, Attachment, SourcePorts},
    events,
    health::LastCheck,
    metrics::{Format, render},
    pool::{BackendKey, PoolView},
    proxy::{self, BackendUsage, PoolUsage, Proxy},
};

mod discovery;
mod ended_early;
mod ha;
mod metrics;
mod obtained;
mod work;

pub use metrics::metric_families;
use work::Works;

impl<K: Kernel> Source for Shared<K> {
    fn status(&self) -> Status {
        let observed = self.observe();
        let state = self.read();
        let now = Moment(SystemTime::now());
        let work = Works::of(&observed, &state);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: state.config.node.name.to_string(),
            started: Moment(self.started),
            now,
            problems: [
                observed.problems(&state),
                obtained::problems(&self.board.snapshot()),
            ]
            .concat(),
            xdp: observed.xdp(),
            services: state
                .config
                .services
                .iter()
                .map(|service| work.service(service))
                .collect(),
            pools: state
                .registry
                .views()
                .map(|view| pool(view, &state, (&work, observed.usage.get(&view.pool.name))))
                .collect(),
            certificates: observed.certificates(),
            obtained: obtained::status(&state.config, &self.board.snapshot()),
            ha: self.ha_status(&state),
        }
    }

    fn explain(&self, question: &proxy::Question) -> Result<String, String> {
        proxy::explain(&self.read().config.services, question)
    }

    fn ended_early(&self) -> Vec<EndedEarlyStatus> {
        let proxy = self.proxy();
        let entries = proxy.as_ref().map(Proxy::ended_early).unwrap_or_default();
        drop(proxy);
        entries.into_iter().map(ended_early::status).collect()
    }

    fn events(&self, filter: &events::Filter) -> events::Answer {
        self.journal.select(filter)
    }

    fn metrics(&self, format: Format) -> String {
        let observed = self.observe();
        let source_ports = self.source_ports();
        let registry = {
            let state = self.read();
            let pair = self.pair.as_ref().and_then(|pair| pair.latest());
            let pair = state.config.ha.as_ref().zip(pair);
            let orders = acme::OrderMetrics(self.board.snapshot());
            metrics::registry(observed, source_ports, orders, &state, pair, self.started)
        };
        render(&registry, format)
    }
}

/// The state of the packet path and the HTTP front. It is read once for a whole report.
struct Observed {
    attachments: Vec<Attachment>,
    adopted: bool,
    kernel: Result<dataplane::Counters, String>,
    http: proxy::Counters,
    /// For each pool, how many requests are queued, and how many are in flight at each backend.
    usage: HashMap<Name, PoolUsage>,
    log: access_log::Counted,
    certificates: Vec<proxy::CertificateInfo>,
    /// Whether all workers of the HTTP front run; `None` if the agent is stopping.
    is_serving: Option<bool>,
}

impl<K: Kernel> Shared<K> {
    fn ha_status(&self, state: &State) -> Option<HaStatus> {
        let known = self.pair.as_ref()?.latest()?;
        Some(ha::status(
            state.config.ha.as_ref()?,
            &known,
            &state.differences,
        ))
    }

    fn source_ports(&self) -> Arc<[SourcePorts]> {
        // The lock on the packet path is released before the source ports are counted, because
        // counting takes some milliseconds.
        let occupancy = self.kernel().occupancy();
        let counted = occupancy.map(|occupancy| occupancy.count());
        counted.transpose().map_or_else(
            |error| {
                tracing::error!(error = %error, "cannot count source ports in use; this scrape omits them");
                Arc::default()
            },
            Option::unwrap_or_default,
        )
    }

    fn observe(&self) -> Observed {
        let (attachments, adopted, kernel) = {
            let kernel = self.kernel();
            (kernel.attachments(), kernel.adopted(), kernel.counters())
        };
        let pools = self.read().config.pools.clone();
        let (http, usage, log, certificates, is_serving) = match self.proxy().as_ref() {
            Some(proxy) => {
                let is_serving = Some(proxy.is_serving());
                let (http, log) = (proxy.counters(), proxy.log_counts());
                let usage = pools
                    .iter()
                    .map(|pool| (pool.name.clone(), proxy.usage(pool)));
                (http, usage.collect(), log, proxy.certificates(), is_serving)
            }
            None => Default::default(),
        };
        Observed {
            attachments,
            adopted,
            kernel: kernel.map_err(|error| error.to_string()),
            http,
            usage,
            log,
            certificates,
            is_serving,
        }
    }
}

impl Observed {
    fn problems(&self, state: &State) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = &self.kernel {
            problems.push(format!("the kernel's counters cannot be read: {error}"));
        }
        match self.is_serving {
            Some(true) => {}
            Some(false) => problems.push(
                "a worker of the HTTP front has ended: restart lb, and report the last lines of its log"
                    .to_owned(),
            ),
            None => {
                problems
                    .push("the agent is stopping: it accepts no new HTTP connections".to_owned());
            }
        }
        let now = indices(&state.config.node.interfaces);
        for ((name, index), (_, before)) in now.iter().zip(&state.interfaces) {
            if index.is_none() || index != before {
                problems.push(format!(
                    "the interface {name} was removed or recreated, and has no XDP program: \
                     restart lb"
                ));
            }
        }
        for pool in &state.unsettled {
            problems.push(format!(
                "the kernel refused the last change of pool {pool}; it is retried"
            ));
        }
        for error in &state.unusable {
            problems.push(format!("{error}; its previous content stays in use"));
        }
        problems
    }

    fn xdp(&self) -> XdpStatus {
        let verdicts = self
            .kernel
            .as_ref()
            .map(|counters| counters.verdicts.as_slice());
        let verdicts = verdicts.unwrap_or_default();
        let dropped = verdicts.iter().filter(|count| count.verdict == "drop");
        XdpStatus {
            interfaces: self.attachments.iter().map(interface_status).collect(),
            adopted: self.adopted,
            packets: verdicts.iter().map(|count| count.packets).sum(),
            dropped: dropped.clone().map(|count| count.packets).sum(),
            drops: dropped
                .filter(|count| count.packets > 0)
                .map(|count| DropStatus {
                    reason: count.reason.to_owned(),
                    packets: count.packets,
                })
                .collect(),
        }
    }

    fn traffic(&self) -> &[dataplane::Traffic] {
        let traffic = self
            .kernel
            .as_ref()
            .map(|counters| counters.traffic.as_slice());
        traffic.unwrap_or_default()
    }

    fn certificates(&self) -> Vec<CertificateStatus> {
        // Several services may serve the certificate of one file, which is listed once.
        let files: BTreeMap<_, _> = self
            .certificates
            .iter()
            .map(|one| (&one.path, one))
            .collect();
        let certificates = files.into_values().map(|one| CertificateStatus {
            file: one.path.clone(),
            names: one.names.clone(),
            expires: Moment(one.not_after),
        });
        certificates.collect()
    }
}

fn pool(
    view: &PoolView,
    state: &State,
    (work, usage): (&Works<'_>, Option<&PoolUsage>),
) -> PoolStatus {
    let pool = &view.pool;
    let limit = pool.per_request.limit;
    let backends = pool
        .backends
        .iter()
        .zip(&view.states)
        .map(|(backend, now)| {
            let id = BackendKey::of(pool, backend);
            let member = state.registry.status(&id);
            let work = work.backend(&pool.name, &backend.name);
            let usage = usage.and_then(|usage| usage.backends.get(&backend.address));
            let BackendUsage {
                in_use,
                ejected_for,
            } = usage.copied().unwrap_or_default();
            BackendStatus {
                name: backend.name.to_string(),
                address: backend.address,
                weight: backend.weight.get(),
                state: (*now).into(),
                since: Moment(member.map_or(SystemTime::UNIX_EPOCH, |member| member.since)),
                order: member.map(|member| member.order).unwrap_or_default(),
                backup: backend.backup,
                leaving: backend.leaving,
                ejected_until: ejected_for.map(|left| Moment(SystemTime::now() + left)),
                in_use: limit.map(|_limit| in_use),
                last_check: state.records.last(&id).map(check_status),
                recent_checks: state
                    .records
                    .recent(&id)
                    .map(|duration| duration.map(|duration| duration.as_secs_f64()))
                    .collect(),
                connections: work.connections,
                packets: work.packets,
                bytes: work.bytes,
                open_connections: work.open_connections,
                requests: work.requests,
            }
        });
    let sticky = pool.per_request.sticky.as_ref();
    PoolStatus {
        name: pool.name.to_string(),
        balance: word_of_balance(pool.balance).to_owned(),
        check: pool.check.as_ref().map(check_in_words),
        all_down: view.all_down(),
        sticky: sticky.map(|sticky| sticky.cookie.clone()),
        limit: limit.map(|limit| LimitStatus {
            per_backend: limit.per_backend,
            queued: usage.map_or(0, |usage| usage.queued),
            queue_size: limit.queue_size,
        }),
        discovery: state.discovered.status(&pool.name).map(discovery::status),
        backends: backends.collect(),
    }
}

fn interface_status(attachment: &Attachment) -> InterfaceStatus {
    InterfaceStatus {
        name: attachment.interface.clone(),
        mode: attachment.mode.as_str().to_owned(),
    }
}

fn check_status(last: &LastCheck) -> CheckStatus {
    CheckStatus {
        at: Moment(last.at),
        seconds: last.duration.as_secs_f64(),
        error: last.failure.as_ref().map(ToString::to_string),
    }
}

fn check_in_words(check: &Check) -> String {
    let every = |interval: Duration| humantime::format_duration(interval).to_string();
    let kind = match &check.kind {
        CheckKind::Tcp => "tcp".to_owned(),
        CheckKind::Http { path, .. } => format!("http {path}"),
    };
    let Check { rise, fall, .. } = check;
    format!(
        "{kind} every {}, rise {rise}, fall {fall}",
        every(check.interval)
    )
}

fn word_of_balance(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastConnections => "least_connections",
        Balance::RandomTwo => "random_two",
        Balance::Source => "source",
        Balance::Maglev => "maglev",
        Balance::Hash => "hash",
    }
}
