//! Obtains certificates by ACME (RFC 8555).
//!
//! [`Renewal`] decides when to order, and `certificate_task` carries that out; `session` talks to
//! the directory, one order at a time; `store` reads and writes files. [`Challenges`] holds the
//! responses that the front serves while names are validated. `record` is the history of a
//! certificate's orders.
//!
//! In a pair, `order_lock`, a part of [`Renewal`], decides which host may order. `exchange` gives
//! both hosts the account, the certificates, the records and the challenge responses. `managed` is
//! the state that a certificate's task shares with the exchange.
//!
//! An obtained certificate is a certificate file like any other: the agent loads the file when
//! [`Acme`] reports that it was replaced.

#![forbid(unsafe_code)]

mod certificate_task;
mod challenges;
mod client;
mod details;
mod dns;
mod exchange;
mod managed;
mod metrics;
mod order_lock;
mod peer_message;
mod record;
mod renewal;
mod session;
mod status;
mod store;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinHandle,
};

pub use certificate_task::RenewReply;
pub use challenges::{ACME_TLS, Challenges, Offer, Response, SelfSignedError, placeholder};
pub use details::{CertificateDetails, Inspect};
pub(crate) use metrics::FAMILIES as METRICS;
pub use metrics::OrderMetrics;
pub use order_lock::{HostRole, OrderLock};
pub use peer_message::{CertificateId, CertificateState, HostState, PeerMessage, Secret};
pub use record::{MOST_ORDERS_AN_HOUR, OrderRecord, Suggestion, Validity, Window};
pub use renewal::{OrderOutcome, Renewal, Step};
pub use status::{CertificateStatus, StatusRegistry};
pub use store::StoreError;

use crate::config::{self, Config, Name};
use certificate_task::CertificateTask;
use exchange::Exchange;
use managed::{CertificatePlan, ManagedCertificate};
use session::Session;

/// The certificates that the agent orders and renews. Dropping this ends their tasks.
#[derive(Debug)]
pub struct Acme {
    exchange: Exchange,
    inspect: Inspect,
    renewed: mpsc::UnboundedSender<Name>,
    session: Option<(config::Acme, Arc<AsyncMutex<Session>>)>,
    kept: BTreeMap<Name, RunningTask>,
    statuses: StatusRegistry,
}

/// The receiving ends of the channels on which [`Acme`] reports events.
#[derive(Debug)]
pub struct AcmeEvents {
    /// Receives the name of each service whose certificate file was replaced.
    pub renewed: mpsc::UnboundedReceiver<Name>,
    /// Receives the messages that are to be sent to the peer.
    pub messages: mpsc::UnboundedReceiver<PeerMessage>,
}

/// The running task of a managed certificate, and the channel to it.
#[derive(Debug)]
struct RunningTask {
    managed: Arc<ManagedCertificate>,
    renew_requests: mpsc::UnboundedSender<RenewReply>,
    task: JoinHandle<()>,
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acme {
    /// Creates the manager of certificates, which manages none yet. `in_pair` says that this host
    /// has a peer; the host then counts as not active until [`Self::set_active`] is called.
    #[must_use]
    pub fn new(challenges: Challenges, inspect: Inspect, in_pair: bool) -> (Self, AcmeEvents) {
        let (renewed, files) = mpsc::unbounded_channel();
        let (to_peer, messages) = mpsc::unbounded_channel();
        let statuses = StatusRegistry::default();
        let shown = (challenges, statuses.clone());
        let acme = Self {
            exchange: Exchange::new(in_pair, to_peer, renewed.clone(), shown),
            inspect,
            renewed,
            session: None,
            kept: BTreeMap::new(),
            statuses,
        };
        let news = AcmeEvents {
            renewed: files,
            messages,
        };
        (acme, news)
    }

    /// Replaces the managed certificates by those of a configuration. The tasks of unchanged
    /// certificates continue. Must be called within a tokio runtime.
    pub fn apply(&mut self, config: &Config) {
        let plans = plans(config);
        self.kept
            .retain(|service, kept| plans.get(service) == Some(&kept.managed.plan));
        let new = plans
            .into_iter()
            .filter(|(service, _)| !self.kept.contains_key(service));
        let role = self.exchange.role();
        let now = SystemTime::now();
        let new: Vec<_> = new
            .map(|(_, plan)| Arc::new(ManagedCertificate::open(plan, self.inspect, role, now)))
            .collect();
        let old = self.kept.values().map(|kept| Arc::clone(&kept.managed));
        let managed = old.chain(new.iter().cloned());
        let managed = managed.map(|managed| (managed.plan.service.clone(), managed));
        // The exchange with the peer must know a certificate before the certificate's task begins.
        self.exchange
            .keep(&config.node.name, config.acme.as_ref(), managed.collect());
        for managed in new {
            let service = managed.plan.service.clone();
            let kept = self.start(managed);
            self.kept.insert(service, kept);
        }
        self.statuses.keep(&self.kept.keys().collect());
    }

    /// Records that this host of a pair became the active one, or that it no longer is.
    pub fn set_active(&self, active: bool) {
        self.exchange.set_active(active);
    }

    /// Records that the link to the peer came up or went down.
    pub fn set_linked(&self, linked: bool) {
        self.exchange.set_linked(linked);
    }

    /// Handles a message of the peer. This may read and write certificate files.
    pub fn receive(&self, message: PeerMessage) {
        self.exchange.receive(message);
    }

    /// Renews the certificate of a service now, because an operator requests it. The outcome is
    /// sent to `answer`.
    pub fn renew(&self, service: &str, answer: RenewReply) {
        let kept = self.kept.iter().find(|(name, _)| name.as_str() == service);
        let refused = match kept {
            Some(_) if self.exchange.role() == HostRole::Standby => {
                let sentence = certificate_task::refuse_on_standby(service, &self.exchange.peer());
                (answer, sentence)
            }
            Some((_, kept)) => match kept.renew_requests.send(answer) {
                Ok(()) => return,
                Err(unsent) => (unsent.0, "its task has ended: restart lb".to_owned()),
            },
            None => (answer, self.unknown(service)),
        };
        let (answer, sentence) = refused;
        // Sending fails if the operator did not wait for this reply; the operator can repeat the
        // request.
        let _gone = answer.send(Err(sentence));
    }

    /// Returns the registry of the status of all managed certificates.
    #[must_use]
    pub fn statuses(&self) -> &StatusRegistry {
        &self.statuses
    }

    fn unknown(&self, service: &str) -> String {
        let names: Vec<_> = self.kept.keys().map(Name::as_str).collect();
        if names.is_empty() {
            return "no service has domains, so no certificate is obtained".to_owned();
        }
        format!(
            "no certificate is obtained for service {service:?}, only for {}",
            names.join(", ")
        )
    }

    fn start(&mut self, managed: Arc<ManagedCertificate>) -> RunningTask {
        let (renew_requests, received) = mpsc::unbounded_channel();
        // Creates the certificate's counters now, so that metrics show zeros before the first order
        // ends.
        self.statuses.change(&managed.plan.service, |_| {});
        let keeper = CertificateTask {
            session: self.session(&managed.plan.settings),
            managed: Arc::clone(&managed),
            exchange: self.exchange.clone(),
            statuses: self.statuses.clone(),
            renewed: self.renewed.clone(),
        };
        RunningTask {
            managed,
            renew_requests,
            task: tokio::spawn(keeper.run(received)),
        }
    }

    /// Returns the session for these ACME settings. All certificates share it, so orders are placed
    /// one after another.
    fn session(&mut self, settings: &config::Acme) -> Arc<AsyncMutex<Session>> {
        match &self.session {
            Some((known, session)) if known == settings => Arc::clone(session),
            _ => {
                let session = Session::new(settings.clone(), self.exchange.clone());
                let session = Arc::new(AsyncMutex::new(session));
                self.session = Some((settings.clone(), Arc::clone(&session)));
                session
            }
        }
    }
}

fn plans(config: &Config) -> BTreeMap<Name, CertificatePlan> {
    let Some(settings) = &config.acme else {
        return BTreeMap::new();
    };
    let plans = config.services.iter().filter_map(|service| {
        let obtained = service.obtained()?;
        let plan = CertificatePlan {
            host: config.node.name.clone(),
            service: service.name.clone(),
            settings: settings.clone(),
            obtained: obtained.clone(),
        };
        Some((service.name.clone(), plan))
    });
    plans.collect()
}
