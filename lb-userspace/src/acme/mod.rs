//! Certificates that the agent obtains by ACME (RFC 8555).
//!
//! [`Renewal`] decides when to order. `keeper` is the task of one certificate, which does it;
//! `session` speaks with the directory, one order at a time; `store` is the disk. [`Challenges`] is
//! what the front answers while names are validated. A certificate that was obtained is a file like
//! any other: the agent loads it when [`Acme`] says that it is new.

#![forbid(unsafe_code)]

mod board;
mod challenges;
mod client;
mod keeper;
mod renewal;
mod session;
mod store;

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinHandle,
};

pub use board::{Board, Progress};
pub use challenges::{ACME_TLS, Challenges, Offer, Unmade, placeholder};
pub use keeper::{Answer, Facts, Inspect};
pub use renewal::{MOST_ORDERS_AN_HOUR, Outcome, Record, Renewal, Step, Validity, Window};
pub use store::StoreError;

use crate::config::{self, Config, Mode, Name};
use keeper::{Keeper, Plan};
use session::Session;

/// The certificates that the agent obtains. Dropped, it ends its tasks.
#[derive(Debug)]
pub struct Acme {
    challenges: Challenges,
    inspect: Inspect,
    renewed: mpsc::UnboundedSender<Name>,
    session: Option<(config::Acme, Arc<AsyncMutex<Session>>)>,
    kept: BTreeMap<Name, Kept>,
    board: Board,
}

/// A certificate that is kept.
#[derive(Debug)]
struct Kept {
    plan: Plan,
    wishes: mpsc::UnboundedSender<Answer>,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acme {
    /// Obtains nothing yet. The receiver gives the services whose certificate file is new.
    #[must_use]
    pub fn new(challenges: Challenges, inspect: Inspect) -> (Self, mpsc::UnboundedReceiver<Name>) {
        let (renewed, news) = mpsc::unbounded_channel();
        let acme = Self {
            challenges,
            inspect,
            renewed,
            session: None,
            kept: BTreeMap::new(),
            board: Board::default(),
        };
        (acme, news)
    }

    /// Keeps the certificates of this configuration from now on, and no others. One that stays as it
    /// was is not disturbed. Must be called within a tokio runtime.
    pub fn apply(&mut self, config: &Config) {
        let plans = plans(config);
        self.kept
            .retain(|service, kept| plans.get(service) == Some(&kept.plan));
        for (service, plan) in plans {
            if !self.kept.contains_key(&service) {
                let kept = self.keep(plan);
                self.kept.insert(service, kept);
            }
        }
        self.board.keep(&self.kept.keys().collect());
    }

    /// Renews the certificate of a service now. The answer comes when the order has ended.
    pub fn renew(&self, service: &str, answer: Answer) {
        let kept = self.kept.iter().find(|(name, _)| name.as_str() == service);
        let refused = match kept {
            Some((_, kept)) => match kept.wishes.send(answer) {
                Ok(()) => return,
                Err(unsent) => (unsent.0, "its task has ended: restart lb".to_owned()),
            },
            None => (answer, self.unknown(service)),
        };
        let (answer, sentence) = refused;
        // An operator who did not wait asks again.
        let _gone = answer.send(Err(sentence));
    }

    /// Where what is known of the certificates is shown.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    fn unknown(&self, service: &str) -> String {
        let names: Vec<_> = self.kept.keys().map(Name::as_str).collect();
        if names.is_empty() {
            return "no service has domains, so that no certificate is obtained".to_owned();
        }
        format!(
            "no certificate is obtained for a service {service:?}; there is {}",
            names.join(", ")
        )
    }

    fn keep(&mut self, plan: Plan) -> Kept {
        let (wishes, received) = mpsc::unbounded_channel();
        // Its counters are there from the start, whether or not the directory answers.
        self.board.change(&plan.service, |_| {});
        let keeper = Keeper {
            session: self.session(&plan.settings),
            plan: plan.clone(),
            inspect: self.inspect,
            board: self.board.clone(),
            renewed: self.renewed.clone(),
        };
        Kept {
            plan,
            wishes,
            task: tokio::spawn(keeper.run(received)),
        }
    }

    /// The session of these settings: one for all certificates, which order one after another.
    fn session(&mut self, settings: &config::Acme) -> Arc<AsyncMutex<Session>> {
        match &self.session {
            Some((known, session)) if known == settings => Arc::clone(session),
            _ => {
                let session = Session::new(settings.clone(), self.challenges.clone());
                let session = Arc::new(AsyncMutex::new(session));
                self.session = Some((settings.clone(), Arc::clone(&session)));
                session
            }
        }
    }
}

fn plans(config: &Config) -> BTreeMap<Name, Plan> {
    let Some(settings) = &config.acme else {
        return BTreeMap::new();
    };
    let plans = config.services.iter().filter_map(|service| {
        let Mode::Https {
            obtained: Some(obtained),
            ..
        } = &service.mode
        else {
            return None;
        };
        let plan = Plan {
            host: config.node.name.clone(),
            service: service.name.clone(),
            settings: settings.clone(),
            obtained: obtained.clone(),
        };
        Some((service.name.clone(), plan))
    });
    plans.collect()
}
