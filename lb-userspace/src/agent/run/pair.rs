//! The loop's part in the pair: what it tells the pair, and what it does for it.

use std::time::{Duration, Instant, SystemTime};

use lb_ha::pair::{Reason, Refusal};
use tokio::{sync::oneshot, time::Interval};

use super::Agent;
use crate::{
    agent::{
        kernel::Kernel,
        pair::{BoundPair, Effect, PairCommand},
        shared::State,
    },
    config::Mode,
    dataplane::flows::Flows,
    ha::track::Watched,
    peer::{CertificateFacts, CertificateWord, Message},
    pool::{BackendKey, OverridesMessage},
    proxy::{self, Proxy},
};

/// How often it is looked whether requests have ended.
pub(in crate::agent) const LOOK: Duration = Duration::from_millis(10);
/// How long a host that hands over waits at least: short connections through the kernel, which
/// nobody counts, have this long to end.
const LEAST: Duration = Duration::from_millis(250);
/// Looks in a row that must find no connection: one may have been accepted between two counts.
const QUIET_LOOKS: u32 = 3;

/// Where an operator's order waits for its end.
pub(in crate::agent) type Waiting = oneshot::Sender<Result<String, String>>;

/// This host hands over: no new connection begins, requests end.
#[derive(Debug)]
pub(in crate::agent) struct Holding {
    since: Instant,
    quiet_looks: u32,
    told: bool,
}

impl<K: Kernel> Agent<K> {
    /// Takes in what the pair wants. When it was the end of a hand-over: what came of it.
    pub(super) fn effect(&mut self, effect: Effect) -> Option<Result<(), Refusal>> {
        match effect {
            Effect::Hold(hold) => self.hold(hold),
            Effect::HandedOver(outcome) => {
                self.handed_over(outcome);
                return Some(outcome);
            }
            Effect::Active(active) => {
                self.acme.set_active(active);
                let offer = self.tickets.set_active(active);
                self.tell_peer(offer.map(Message::Tickets));
            }
            Effect::Linked(true) => self.linked(),
            Effect::Linked(false) => {
                self.certificates.link_down();
                self.acme.set_linked(false);
                self.show_differences();
            }
            Effect::Told(message) => self.told(message),
        }
        None
    }

    /// Takes part in the pair, where there is one.
    pub(in crate::agent) fn start_pair(&mut self, bound: Option<BoundPair>, flows: Option<Flows>) {
        let watched = self.watched().unwrap_or_default();
        self.pair = bound.map(|bound| bound.start(flows, watched));
    }

    /// The thread of the pair is gone, which it never is while there is somebody to give it orders.
    /// Fatal: systemd restarts the agent.
    pub(super) fn pair_ended(&mut self) -> bool {
        tracing::error!("the thread that keeps up the pair ended: the agent ends, too");
        self.lost_pair = true;
        false
    }

    /// Whether the agents of the pair have a link.
    pub(super) fn has_link(&self) -> bool {
        let state = self.shared.read();
        state.config.ha.as_ref().is_some_and(|ha| ha.link.is_some())
    }

    /// An operator wants this host to hand over.
    pub(super) fn failover(&mut self, answer: Waiting) {
        let refused = match (&self.pair, &self.waiting) {
            (None, _) => "this host has no [ha]: it has nobody to hand over to",
            (Some(_), _) if self.leaving => "the agent ends, and hands over before that",
            (Some(_), Some(_)) => "a hand-over is under way",
            (Some(pair), None) => {
                tracing::info!("the operator wants this host to hand over");
                pair.order(PairCommand::HandOver(Reason::Operator));
                self.waiting = Some(answer);
                return;
            }
        };
        // An operator who did not wait for the answer does not need it.
        let _gone = answer.send(Err(refused.to_owned()));
    }

    /// Looks whether requests have ended, while this host hands over.
    pub(super) fn look_for_quiet(&mut self) {
        let open = self
            .shared
            .proxy()
            .as_ref()
            .map_or(0, Proxy::open_connections);
        let (Some(holding), Some(pair)) = (&mut self.holding, &self.pair) else {
            return;
        };
        holding.quiet_looks = if open == 0 {
            holding.quiet_looks + 1
        } else {
            0
        };
        let quiet = holding.quiet_looks >= QUIET_LOOKS && holding.since.elapsed() >= LEAST;
        if quiet && !holding.told {
            holding.told = true;
            pair.order(PairCommand::Quiet);
        }
    }

    /// Tells the pair once when every backend was checked.
    pub(super) fn tell_pair(&mut self) {
        let Some(pair) = &self.pair else {
            return;
        };
        if !self.all_checked && is_checked(&self.shared.read()) {
            self.all_checked = true;
            pair.order(PairCommand::Checked);
        }
    }

    /// Once a second: what runs out is renewed.
    pub(super) fn keep_up_pair(&mut self) {
        let offer = self.tickets.tick();
        self.tell_peer(offer.map(Message::Tickets));
        if self.holding.is_some() {
            self.hold_kernel(true);
        }
        self.tell_pair();
    }

    /// What is tracked, by the configuration in force.
    pub(in crate::agent) fn watched(&self) -> Option<Watched> {
        let state = self.shared.read();
        let ha = state.config.ha.as_ref()?;
        let services = &state.config.services;
        let listeners = services
            .iter()
            .filter(|service| !matches!(service.mode, Mode::Tcp { .. }))
            .map(|service| (service.name.clone(), service.listen));
        let used = services.iter().flat_map(|service| service.pools());
        let mut names: Vec<_> = used.map(|pool| &pool.name).collect();
        names.sort_unstable();
        names.dedup();
        Some(Watched {
            interfaces: state
                .config
                .node
                .interfaces
                .names()
                .map(str::to_owned)
                .collect(),
            program: self.shared.kernel().program_pin(),
            listeners: listeners.collect(),
            pools: names
                .into_iter()
                .filter_map(|name| self.feeds.subscribe(name))
                .collect(),
            min_backends: ha.min_backends,
            backends_weight: ha.backends_weight,
            scripts: ha.track.clone(),
        })
    }

    /// A new configuration is in force.
    pub(super) fn reconfigure_pair(&self) {
        let ha = self.shared.read().config.ha.clone();
        if let (Some(pair), Some(ha), Some(watched)) = (&self.pair, ha, self.watched()) {
            pair.order(PairCommand::Reconfigure(Box::new((ha, watched))));
        }
    }

    /// Tells the other agent, where there is one.
    pub(super) fn tell_peer(&self, message: Option<Message>) {
        if let (Some(pair), Some(message)) = (&self.pair, message) {
            pair.order(PairCommand::Tell(message));
        }
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::Tickets(offer) => self.tickets.heard(offer),
            Message::Drains(orders) => self.peer_ordered(&orders),
            Message::Certificates(word) => self.peer_has(word),
            Message::Acme(word) => self.acme.receive(word),
        }
    }

    /// Says all that the other agent should know.
    fn linked(&mut self) {
        let offer = self.tickets.link_up();
        self.tell_peer(offer.map(Message::Tickets));
        self.tell_orders();
        let word = self.certificates.link_up();
        self.tell_peer(Some(Message::Certificates(word)));
        self.acme.set_linked(true);
    }

    /// Tells the other agent the operator's orders.
    pub(super) fn tell_orders(&self) {
        if self.pair.is_some() {
            let orders = self.shared.read().registry.overrides_message();
            self.tell_peer(Some(Message::Drains(orders)));
        }
    }

    fn peer_ordered(&mut self, orders: &OverridesMessage) {
        let heard = {
            let mut state = self.shared.write();
            state.registry.merge_overrides(orders, SystemTime::now())
        };
        for ordered in &heard.taken {
            tracing::info!(
                backend = ordered.name,
                "operator override received from the peer"
            );
        }
        let changes: Vec<_> = heard
            .taken
            .iter()
            .filter_map(|ordered| ordered.change.clone())
            .map(|change| (change, "operator override set at the peer".to_owned()))
            .collect();
        self.publish(&changes);
        if !heard.taken.is_empty() {
            self.remember();
        }
        self.tell_peer(heard.answer.map(Message::Drains));
    }

    /// The certificates in use, told to the other agent when they have changed.
    pub(in crate::agent) fn look_at_certificates(&mut self) {
        let infos = self.shared.proxy().as_ref().map(Proxy::certificates);
        let ours = infos.unwrap_or_default().into_iter().map(|info| {
            let facts = CertificateFacts {
                names: info.names.into_iter().collect(),
                not_before: unix_seconds(info.not_before),
                not_after: unix_seconds(info.not_after),
                fingerprint: info.fingerprint,
            };
            (info.path, facts)
        });
        {
            let state = self.shared.read();
            let obtained = state.config.services.iter();
            let obtained = obtained.filter_map(|service| service.obtained());
            let files: Vec<_> = obtained.map(|obtained| obtained.file.as_path()).collect();
            self.certificates.set_obtained(&files);
        }
        let word = self.certificates.have(ours);
        self.tell_peer(word.map(Message::Certificates));
        self.show_differences();
    }

    fn peer_has(&mut self, word: CertificateWord) {
        let heard = self.certificates.heard(word, SystemTime::now());
        for word in heard.say {
            self.tell_peer(Some(Message::Certificates(word)));
        }
        if !heard.replaced.is_empty() {
            tracing::info!(files = ?heard.replaced, "certificates of the peer");
            self.reload_tls_files();
        }
        self.show_differences();
    }

    fn show_differences(&self) {
        let differences = self.certificates.differences();
        self.shared.write().differences = differences;
    }

    pub(super) fn hold(&mut self, hold: bool) {
        if hold == self.holding.is_some() {
            return;
        }
        self.holding = hold.then(|| Holding {
            since: Instant::now(),
            quiet_looks: 0,
            told: false,
        });
        tracing::info!(
            "{}",
            if hold {
                "handing over: no new connections, requests end"
            } else {
                "new connections again"
            }
        );
        self.hold_kernel(hold);
        if let Some(proxy) = self.shared.proxy().as_ref() {
            proxy.let_connections_end(hold);
        }
    }

    fn hold_kernel(&self, hold: bool) {
        if let Err(error) = self.shared.kernel().hold(hold) {
            tracing::error!("{error}");
        }
    }

    fn handed_over(&mut self, outcome: Result<(), Refusal>) {
        let said = match outcome {
            Ok(()) => {
                tracing::info!("handed over: the peer is active and has the address");
                Ok("handed over: the peer is active and has the address".to_owned())
            }
            Err(refusal) => {
                tracing::warn!("not handed over: {refusal}");
                Err(format!("not handed over: {refusal}"))
            }
        };
        if let Some(waiting) = self.waiting.take() {
            let _gone = waiting.send(said);
        }
    }
}

/// What is served from a certificate file, or why it cannot be.
pub(in crate::agent) fn inspect(text: &[u8]) -> Result<CertificateFacts, String> {
    let inspected = proxy::inspect_certificate(text).map_err(|problem| problem.to_string())?;
    Ok(CertificateFacts {
        names: inspected.names.into_iter().collect(),
        not_before: unix_seconds(inspected.not_before),
        not_after: unix_seconds(inspected.not_after),
        fingerprint: inspected.fingerprint,
    })
}

fn unix_seconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A timer for [`LOOK`].
pub(in crate::agent) fn look() -> Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
}

/// Whether every backend that is checked was checked since the agent started.
fn is_checked(state: &State) -> bool {
    state.registry.views().all(|view| {
        view.pool.check.is_none()
            || view.pool.backends.iter().all(|backend| {
                let id = BackendKey::of(&view.pool, backend);
                state.records.last(&id).is_some()
            })
    })
}
