//! The task of one managed certificate: carries out what [`Renewal`](super::Renewal) decides.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::{
    HostRole, MOST_ORDERS_AN_HOUR, OrderOutcome, PeerMessage, Step, Validity,
    exchange::Exchange,
    managed::ManagedCertificate,
    session::{OrderError, Session},
    status::{CertificateStatus, StatusRegistry},
};
use crate::config::{AcmeChallenge, Name};

/// The longest time that the task sleeps. It is bounded because the task notices a change of the
/// system's clock only when its sleep ends.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Where to send the outcome of a renewal that an operator requested: a sentence, which is `Err` if
/// no certificate was obtained.
pub type RenewReply = oneshot::Sender<Result<String, String>>;

/// The task that orders and renews one managed certificate.
pub(super) struct CertificateTask {
    pub(super) managed: Arc<ManagedCertificate>,
    pub(super) session: Arc<AsyncMutex<Session>>,
    pub(super) exchange: Exchange,
    /// The registry in which the task publishes the certificate's status.
    pub(super) statuses: StatusRegistry,
    /// Sends the service's name when its certificate file was replaced.
    pub(super) renewed: mpsc::UnboundedSender<Name>,
}

impl CertificateTask {
    /// Runs the task until the sender of `renew_requests` is dropped. Each of these requests is an
    /// operator's command to renew the certificate now.
    pub(super) async fn run(self, mut renew_requests: mpsc::UnboundedReceiver<RenewReply>) {
        let mut asking: Option<RenewReply> = None;
        loop {
            let now = SystemTime::now();
            let step = self.managed.state().renewal.step(now);
            match step {
                Step::Order | Step::Claim => {
                    let said = self.acquire_and_order().await;
                    if let Some(answer) = asking.take() {
                        let said = said.unwrap_or_else(|| Err(self.not_begun()));
                        // Sending fails if the operator did not wait for the outcome, which is in
                        // the log, too.
                        let _gone = answer.send(said);
                    }
                }
                Step::AskForWindow => self.ask_for_window().await,
                Step::Wait(until) => {
                    self.publish_schedule(now);
                    if let Some(answer) = asking.take() {
                        let _gone = answer.send(Err(self.not_begun()));
                    }
                    let pause = until.duration_since(now).unwrap_or_default();
                    let request = tokio::select! {
                        request = renew_requests.recv() => request,
                        () = self.managed.changed.notified() => continue,
                        () = tokio::time::sleep(pause.min(LONGEST_SLEEP)) => continue,
                    };
                    let Some(answer) = request else {
                        return;
                    };
                    asking = self.request_renewal(answer);
                }
            }
        }
    }

    /// Orders a certificate once this host holds the order lock (of the two hosts of a pair, one
    /// orders at a time). Returns the outcome of the order as a sentence; `None` if no order began.
    async fn acquire_and_order(&self) -> Option<Result<String, String>> {
        let mut session = self.session.lock().await;
        if !self.begin().await {
            drop(session);
            self.exchange.publish();
            return None;
        }
        Some(self.order(&mut session).await)
    }

    /// Acquires the order lock, without which this host must not order; if a peer must agree,
    /// claims the lock from the peer first. Returns whether an order may begin.
    async fn begin(&self) -> bool {
        loop {
            let now = SystemTime::now();
            let wait = {
                let mut state = self.managed.state();
                match state.renewal.step(now) {
                    Step::Order => {
                        // The beginning of the order is recorded before the state is unlocked: once
                        // the state is unlocked, a message of the peer may claim the order lock.
                        state.renewal.began(now);
                        return true;
                    }
                    Step::Claim => {
                        let number = random();
                        state.renewal.order_lock().claimed(number, now);
                        drop(state);
                        let service = self.managed.plan.service.to_string();
                        self.exchange.send(PeerMessage::Claim { service, number });
                        continue;
                    }
                    Step::Wait(until) if state.renewal.order_lock().is_claiming() => until,
                    Step::Wait(_) | Step::AskForWindow => return false,
                }
            };
            let wait = wait.duration_since(now).unwrap_or_default();
            tokio::select! {
                () = self.managed.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn order(&self, session: &mut Session) -> Result<String, String> {
        self.update_status(|status| status.next_order = None);
        let (kept, failures) = {
            let state = self.managed.state();
            let failures = state.renewal.record().failures;
            (self.managed.keep_record(&state), failures)
        };
        self.exchange.publish();
        let outcome = match kept {
            // An order whose record cannot be written to disk fails before it begins: without the
            // record, an agent that restarts in a loop would place an order at each start.
            Err(error) => Err(OrderError::Store(error)),
            Ok(()) => self.obtain(session, failures).await,
        };
        let said = self.conclude(outcome, session.retry_after());
        self.exchange.publish();
        said
    }

    fn conclude(
        &self,
        outcome: Result<Validity, OrderError>,
        retry_after: Option<SystemTime>,
    ) -> Result<String, String> {
        let service = &self.managed.plan.service;
        let mut state = self.managed.state();
        let said = match outcome {
            Ok(validity) => {
                let is_first = state.renewal.certificate().is_none();
                state.renewal.ended(OrderOutcome::Issued(validity));
                self.update_status(|status| {
                    status.issued += 1;
                    status.failure = None;
                });
                let until = humantime::format_rfc3339_seconds(validity.not_after);
                let domains = self.managed.plan.obtained.domains.join(" ");
                if is_first {
                    tracing::info!(
                        %service, domains, %until, event = "certificate_obtained", "obtained a certificate"
                    );
                } else {
                    tracing::info!(
                        %service, domains, %until, event = "certificate_renewed", "renewed a certificate"
                    );
                }
                // If the agent is stopping and nothing receives the service's name, the agent that
                // is started next finds the new certificate file.
                let _gone = self.renewed.send(service.clone());
                Ok(format!(
                    "service {service} has a new certificate, valid until {until}"
                ))
            }
            Err(error) => {
                let unreachable = error.is_unreachable();
                state.renewal.ended(if unreachable {
                    OrderOutcome::Unreachable { retry_after }
                } else {
                    OrderOutcome::Refused { retry_after }
                });
                let next = state.renewal.order_at(SystemTime::now());
                let again = humantime::format_rfc3339_seconds(next);
                self.update_status(|status| {
                    if unreachable {
                        status.unreachable += 1;
                    } else {
                        status.refused += 1;
                    }
                    status.failure = Some(error.to_string());
                });
                let failures = state.renewal.record().failures;
                tracing::error!(
                    %service, failures, %again, %error, event = "certificate_failed",
                    "failed to obtain a certificate"
                );
                Err(format!(
                    "service {service} has no new certificate: {error}. The current one stays; \
                     the next order begins at {again}"
                ))
            }
        };
        self.managed.try_to_keep_record(&state);
        said
    }

    /// Orders a certificate and replaces the certificate file with it.
    async fn obtain(&self, session: &mut Session, failures: u32) -> Result<Validity, OrderError> {
        let obtained = &self.managed.plan.obtained;
        let challenge = challenge_after(&obtained.challenges, failures);
        // A directory may refuse an order because it names a certificate in `replaces`, so the
        // field is left out after a failed order.
        let has_one = self.managed.state().certificate.is_some();
        let old = leaf(&obtained.file).filter(|_| failures == 0 && has_one);
        let replaces = match &old {
            Some(old) if session.window(old).await.is_some() => Some(old),
            _ => None,
        };
        let pem = session.order(&obtained.domains, challenge, replaces);
        let pem = pem.await?;
        let details = (self.managed.inspect)(pem.as_bytes()).map_err(OrderError::Unfit)?;
        let mut state = self.managed.state();
        self.managed.install(&mut state, pem.as_bytes(), &details)?;
        Ok(details.validity)
    }

    async fn ask_for_window(&self) {
        let answer = match leaf(&self.managed.plan.obtained.file) {
            Some(certificate) => self.session.lock().await.window(&certificate).await,
            None => None,
        };
        let (window, again) = answer.unzip();
        let is_news = {
            let mut state = self.managed.state();
            let before = state.renewal.record().clone();
            let now = SystemTime::now();
            state.renewal.asked_for_window(now, window, again);
            let is_news = *state.renewal.record() != before;
            if is_news {
                self.managed.try_to_keep_record(&state);
            }
            is_news
        };
        if is_news {
            self.exchange.publish();
        }
    }

    /// Passes an operator's request to renew now to the state machine. Returns the channel for the
    /// reply, to be used when the order has ended; `None` if the request was refused and the
    /// operator was given the reason.
    fn request_renewal(&self, answer: RenewReply) -> Option<RenewReply> {
        let wanted = self.managed.state().renewal.request_now(SystemTime::now());
        let Err(until) = wanted else {
            return Some(answer);
        };
        let until = humantime::format_rfc3339_seconds(until);
        let refused = format!(
            "{MOST_ORDERS_AN_HOUR} orders began within the last hour, or half as many without a link \
             to the peer, which is the limit that keeps the directory from locking this account out; \
             the next may begin at {until}"
        );
        // Sending fails if the operator did not wait for this reply; the operator can repeat the
        // request.
        let _gone = answer.send(Err(refused));
        None
    }

    /// Returns a sentence that says why an order that an operator requested did not begin, and
    /// withdraws the request.
    fn not_begun(&self) -> String {
        let service = &self.managed.plan.service;
        let now = SystemTime::now();
        let mut state = self.managed.state();
        state.renewal.withdraw_request();
        let is_with_peer = state.renewal.order_lock().is_with_peer(now);
        let role = state.renewal.order_lock().role();
        drop(state);
        let peer = self.exchange.peer();
        match role {
            HostRole::Standby => refuse_on_standby(service.as_str(), &peer),
            _ if is_with_peer => format!(
                "{peer} has an order for service {service} in flight; this host gets that certificate, too"
            ),
            _ => format!(
                "no order began for service {service}: the hosts of the pair have not agreed yet on \
                 which one orders; try again in a moment"
            ),
        }
    }

    fn publish_schedule(&self, now: SystemTime) {
        let (order_at, due, role) = {
            let mut state = self.managed.state();
            let renewal = &mut state.renewal;
            (
                renewal.order_at(now),
                renewal.renew_at(),
                renewal.order_lock().role(),
            )
        };
        self.update_status(|status| {
            status.next_order = Some(order_at);
            status.due = Some(due);
            status.is_standby = role == HostRole::Standby;
        });
    }

    fn update_status(&self, change: impl FnOnce(&mut CertificateStatus)) {
        self.statuses.change(&self.managed.plan.service, change);
    }
}

/// Returns the sentence that tells an operator why the standby orders no certificate.
pub(super) fn refuse_on_standby(service: &str, peer: &str) -> String {
    format!(
        "this host is not active, and only the active host of a pair orders certificates: run `lb \
         certificate renew {service}` on {peer}"
    )
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the two hosts' claims of the order lock may have equal numbers: both
    // claims are then refused, and made again later.
    let _filled = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Returns the challenge to use after this number of failed orders in a row: each order after a
/// failure uses the next of the configured challenges.
fn challenge_after(challenges: &[AcmeChallenge], failures: u32) -> AcmeChallenge {
    let place = failures as usize % challenges.len().max(1);
    challenges
        .get(place)
        .copied()
        .unwrap_or(AcmeChallenge::TlsAlpn01)
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
