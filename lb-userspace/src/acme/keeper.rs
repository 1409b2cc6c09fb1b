//! One task a certificate: does what [`Renewal`] says is due.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::{
    Outcome, Record, Renewal, Step, Validity,
    board::{Board, Progress},
    session::{OrderError, Session},
    store::{self, Store},
};
use crate::config::{Acme, AcmeChallenge, Name, Obtained};

/// The longest sleep: a clock that was set is noticed after that.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The names that it is for, in lower case.
    pub names: Vec<String>,
    /// From when to when it is valid.
    pub validity: Validity,
}

/// Reads a certificate file, chain and key, or says why it could not be served.
pub type Inspect = fn(&[u8]) -> Result<Facts, String>;

/// Where the sentence goes that says what came of an operator's order.
pub type Answer = oneshot::Sender<Result<String, String>>;

/// A certificate to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) host: Name,
    pub(super) service: Name,
    pub(super) settings: Acme,
    pub(super) obtained: Obtained,
}

/// The task of one certificate.
pub(super) struct Keeper {
    pub(super) plan: Plan,
    pub(super) inspect: Inspect,
    pub(super) session: Arc<AsyncMutex<Session>>,
    /// Where what is known of it is shown.
    pub(super) board: Board,
    /// Told when there is a new file.
    pub(super) renewed: mpsc::UnboundedSender<Name>,
}

impl Keeper {
    /// Keeps the certificate for ever. `wishes` are operators' orders to renew it now.
    pub(super) async fn run(self, mut wishes: mpsc::UnboundedReceiver<Answer>) {
        let store = Store::new(self.plan.settings.folder());
        let mut renewal = self.begin(&store);
        let order_at = renewal.order_at(SystemTime::now());
        self.show(|progress| progress.next_order = Some(order_at));
        let mut asking: Option<Answer> = None;
        loop {
            let now = SystemTime::now();
            match renewal.step(now) {
                Step::Order => {
                    let said = self.order(&mut renewal, &store).await;
                    if let Some(answer) = asking.take() {
                        // An operator who did not wait finds it in the log.
                        let _gone = answer.send(said);
                    }
                }
                Step::AskForWindow => self.ask_for_window(&mut renewal).await,
                Step::Wait(until) => {
                    let order_at = renewal.order_at(now);
                    self.show(|progress| progress.next_order = Some(order_at));
                    let pause = until.duration_since(now).unwrap_or_default();
                    let wish = tokio::select! {
                        wish = wishes.recv() => wish,
                        () = tokio::time::sleep(pause.min(LONGEST_SLEEP)) => continue,
                    };
                    let Some(answer) = wish else {
                        return;
                    };
                    asking = want(&mut renewal, answer);
                }
            }
        }
    }

    fn begin(&self, store: &Store) -> Renewal {
        let file = &self.plan.obtained.file;
        let service = &self.plan.service;
        let record = store.record(file).unwrap_or_else(|error| {
            tracing::warn!(%service, "when certificates were ordered is forgotten: {error}");
            Record::default()
        });
        let found = self.found();
        if let Some(facts) = &found {
            let not_after = facts.validity.not_after;
            let until = humantime::format_rfc3339_seconds(not_after);
            tracing::info!(%service, %until, "certificate from an earlier order");
        }
        Renewal::new(self.seed(), found.map(|facts| facts.validity), record)
    }

    /// The certificate that is there, if it is for all the names.
    fn found(&self) -> Option<Facts> {
        let bytes = fs::read(&self.plan.obtained.file).ok()?;
        let facts = (self.inspect)(&bytes).ok()?;
        let covers = |domain: &String| facts.names.contains(domain);
        self.plan
            .obtained
            .domains
            .iter()
            .all(covers)
            .then_some(facts)
    }

    /// The same for this host and service at every start.
    fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.plan.host.as_str(), self.plan.service.as_str()).hash(&mut hasher);
        hasher.finish()
    }

    async fn order(&self, renewal: &mut Renewal, store: &Store) -> Result<String, String> {
        let service = &self.plan.service;
        let mut session = self.session.lock().await;
        renewal.began(SystemTime::now());
        self.show(|progress| progress.next_order = None);
        let file = &self.plan.obtained.file;
        let outcome = match store.keep_record(file, renewal.record()) {
            // Without it an agent that restarts again and again would order each time.
            Err(error) => Err(OrderError::Store(error)),
            Ok(()) => self.obtain(&mut session, renewal.record().failures).await,
        };
        let retry_after = session.retry_after();
        drop(session);
        let said = self.take_in(renewal, outcome, retry_after);
        if let Err(error) = store.keep_record(file, renewal.record()) {
            tracing::warn!(%service, "{error}");
        }
        said
    }

    fn take_in(
        &self,
        renewal: &mut Renewal,
        outcome: Result<Validity, OrderError>,
        retry_after: Option<SystemTime>,
    ) -> Result<String, String> {
        let service = &self.plan.service;
        match outcome {
            Ok(validity) => {
                renewal.ended(Outcome::Issued(validity));
                self.show(|progress| {
                    progress.issued += 1;
                    progress.failure = None;
                });
                let until = humantime::format_rfc3339_seconds(validity.not_after);
                let domains = self.plan.obtained.domains.join(" ");
                tracing::info!(%service, domains, %until, "obtained a certificate");
                // The agent is stopping: the next one finds the file.
                let _gone = self.renewed.send(service.clone());
                Ok(format!(
                    "service {service} has a new certificate, valid until {until}"
                ))
            }
            Err(error) => {
                let unreachable = error.is_unreachable();
                renewal.ended(if unreachable {
                    Outcome::Unreachable { retry_after }
                } else {
                    Outcome::Refused { retry_after }
                });
                let next = renewal.order_at(SystemTime::now());
                let again = humantime::format_rfc3339_seconds(next);
                self.show(|progress| {
                    if unreachable {
                        progress.unreachable += 1;
                    } else {
                        progress.refused += 1;
                    }
                    progress.failure = Some(error.to_string());
                });
                let failures = renewal.record().failures;
                tracing::error!(%service, failures, %again, "no new certificate: {error}");
                Err(format!(
                    "service {service} has no new certificate: {error}. The one that it has stays; \
                     the next order begins at {again}"
                ))
            }
        }
    }

    /// Orders, and puts the file in place of the old one.
    async fn obtain(&self, session: &mut Session, failures: u32) -> Result<Validity, OrderError> {
        let Plan {
            settings, obtained, ..
        } = &self.plan;
        let challenge = challenge_after(&settings.challenges, failures);
        // A directory may refuse what it is to replace: after a failure it is not named any more.
        let old = leaf(&obtained.file).filter(|_| failures == 0 && self.found().is_some());
        let replaces = match &old {
            Some(old) if session.window(old).await.is_some() => Some(old),
            _ => None,
        };
        let pem = session.order(&obtained.domains, challenge, replaces);
        let pem = pem.await?;
        let facts = (self.inspect)(pem.as_bytes()).map_err(OrderError::Unfit)?;
        store::write(&obtained.file, pem.as_bytes())?;
        Ok(facts.validity)
    }

    async fn ask_for_window(&self, renewal: &mut Renewal) {
        let answer = match leaf(&self.plan.obtained.file) {
            Some(certificate) => self.session.lock().await.window(&certificate).await,
            None => None,
        };
        let (window, again) = answer.unzip();
        renewal.asked_for_window(SystemTime::now(), window, again);
    }

    fn show(&self, change: impl FnOnce(&mut Progress)) {
        self.board.change(&self.plan.service, change);
    }
}

/// The way to validate after so many failures in a row: each of the list in turn.
fn challenge_after(challenges: &[AcmeChallenge], failures: u32) -> AcmeChallenge {
    let turn = failures as usize % challenges.len().max(1);
    challenges
        .get(turn)
        .copied()
        .unwrap_or(AcmeChallenge::TlsAlpn01)
}

/// Notes the wish of an operator; keeps where to answer when the order has ended.
fn want(renewal: &mut Renewal, answer: Answer) -> Option<Answer> {
    let Err(until) = renewal.want_now(SystemTime::now()) else {
        return Some(answer);
    };
    let until = humantime::format_rfc3339_seconds(until);
    let refused = format!(
        "{} orders began within the last hour, which is the limit that keeps the directory from \
         locking this account out; the next may begin at {until}",
        super::MOST_ORDERS_AN_HOUR
    );
    // An operator who did not wait asks again.
    let _gone = answer.send(Err(refused));
    None
}

fn leaf(file: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_file(file).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_challenge_of_the_list_is_tried_in_turn() {
        let both = [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01];
        let turns: Vec<_> = (0..3)
            .map(|failures| challenge_after(&both, failures))
            .collect();
        assert_eq!(turns, [both[0], both[1], both[0]]);
        assert_eq!(challenge_after(&both[1..], 7), both[1]);
    }
}
