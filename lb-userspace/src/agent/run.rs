//! The loop of the agent, which handles all events and makes every change.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_common::backend::BackendState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::Interval,
};

use super::{
    Error, GRACE,
    feeds::Feeds,
    file_watch::FileWatch,
    kernel::Kernel,
    pair::{Effect, Pair},
    shared::Shared,
};
use crate::{
    acme::{self, Acme},
    admin::{Command, Request, Servers},
    config::Name,
    health::{Checked, Checks},
    logging::Logging,
    peer::{Certificates, Message},
    pool::{AdminState, Change, OverrideApplied, PoolView, StateFile, state_name},
    proxy::Proxy,
    tickets::TicketKeys,
};

mod announce;
mod backend_log;
mod changes;
mod discovery;
mod expiry;
mod handover;
mod obtained;
mod pair;
mod peer;
mod reload;
mod tls_files;
mod upgrade;

pub(super) use discovery::Discovery;
pub(super) use expiry::Expiry;
pub(super) use handover::Handover;
pub(super) use obtained::inspect_obtained;
pub(super) use peer::inspect;
pub(super) use upgrade::{AdminListener, Answer as UpgradeAnswer};

/// An agent that has started, with everything that its loop works with.
pub(super) struct Agent<K: Kernel> {
    pub(super) file: PathBuf,
    pub(super) shared: Arc<Shared<K>>,
    pub(super) checks: Checks,
    pub(super) outcomes: mpsc::Receiver<Checked>,
    pub(super) discovery: Discovery,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) feeds: Feeds,
    pub(super) state_file: StateFile,
    /// The handle of the pair thread; `None` if the host has no peer.
    pub(super) pair: Option<Pair>,
    /// Receives the effects that the pair thread orders. Without a peer there are none.
    pub(super) effects: mpsc::UnboundedReceiver<Effect>,
    /// Whether the pair thread has ended unexpectedly.
    pub(super) lost_pair: bool,
    pub(super) handover: Handover,
    /// Whether every backend was checked since the agent started.
    pub(super) all_checked: bool,
    /// Whether the health of a backend changed since the state file was written. The file is
    /// written at most once a second, and not again for each of many backends that change together.
    pub(super) unremembered: bool,
    pub(super) tickets: TicketKeys,
    /// The certificates of both hosts of the pair, as they are compared.
    pub(super) certificates: Certificates,
    /// The part of the agent that obtains certificates by ACME.
    pub(super) acme: Acme,
    /// Receives the services whose certificate was just obtained, and messages about certificates
    /// for the peer.
    pub(super) acme_news: acme::AcmeEvents,
    /// Watches the TLS files for changes on disk.
    pub(super) file_watch: FileWatch,
    /// Receives the paths of TLS files that have changed.
    pub(super) changed_files: mpsc::Receiver<Vec<PathBuf>>,
    /// The admin servers, which are shut down when the agent ends.
    pub(super) servers: Servers,
    pub(super) admin_listener: AdminListener,
    /// The operator's upgrade command that the loop carries out next; `None` if there is none.
    pub(super) upgrading: Option<UpgradeAnswer>,
    /// When to notify systemd's watchdog again and do the periodic work.
    pub(super) watchdog: Interval,
    /// Whether this process took over from another one of this host.
    pub(super) took_over: bool,
    /// Which certificates were logged because they expire soon.
    pub(super) expiry: Expiry,
    pub(super) logging: Logging,
}

/// Highest number of outcomes of health checks that are handled in one batch, so that other events
/// are not delayed.
const OUTCOMES_AT_ONCE: usize = 1024;

/// The signals that the agent handles, as streams.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// SIGUSR1, which means that the file of the access log was renamed and has to be reopened.
    rotated: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            rotated: signal(SignalKind::user_defined1())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl<K: Kernel> Agent<K> {
    /// Runs the agent until SIGTERM, SIGINT or an upgrade, then waits for the requests in flight.
    ///
    /// # Errors
    /// The pair thread ended unexpectedly.
    pub(super) async fn run(mut self, mut signals: Signals) -> Result<(), Error> {
        self.announce();
        self.apply_discovered();
        while self.next_event(&mut signals).await {
            if let Some(answer) = self.upgrading.take()
                && self.upgrade(answer).await
            {
                self.end_after_upgrade(&mut signals).await;
                return Ok(());
            }
        }
        let kept_up = self.pair.is_none() || !self.lost_pair;
        self.stop(&mut signals).await;
        if kept_up {
            Ok(())
        } else {
            Err(Error::PairLost)
        }
    }

    /// Waits for the next event and handles it. Returns false when the agent has to stop.
    async fn next_event(&mut self, signals: &mut Signals) -> bool {
        let Signals {
            terminate,
            interrupt,
            hangup,
            rotated,
        } = signals;
        tokio::select! {
            _ = terminate.recv() => return false,
            _ = interrupt.recv() => return false,
            Some(checked) = self.outcomes.recv() => self.checked(checked),
            Some(outcome) = self.discovery.next_outcome() => self.source_queried(outcome),
            Some(command) = self.commands.recv() => self.command(command),
            Some(service) = self.acme_news.renewed.recv() => self.load_obtained(&service),
            Some(message) = self.acme_news.messages.recv() => self.send_to_peer(Some(Message::Acme(message))),
            Some(files) = self.changed_files.recv() => self.tls_files_changed(&files),
            effect = self.effects.recv(), if self.pair.is_some() => match effect {
                Some(effect) => {
                    self.effect(effect);
                }
                None => return self.pair_ended(),
            },
            () = self.handover.tick() => self.look_for_quiet(),
            _ = hangup.recv() => self.reload_by_signal(),
            _ = rotated.recv() => self.reopen_log(),
            _ = self.watchdog.tick() => self.watchdog_tick(),
        }
        true
    }

    /// Handles the outcome of a health check together with all outcomes that are queued, so that
    /// simultaneous changes of backends' states are written in one batch.
    fn checked(&mut self, first: Checked) {
        let mut outcomes = vec![first];
        while outcomes.len() < OUTCOMES_AT_ONCE
            && let Ok(next) = self.outcomes.try_recv()
        {
            outcomes.push(next);
        }
        let (turned, changes) = self.record(outcomes);
        self.publish(&changes);
        self.unremembered |= turned;
        if turned || !self.all_checked {
            self.notify_pair();
        }
    }

    /// Records the outcomes of health checks. Returns whether the health of any backend changed,
    /// and the changes of backends' states that result, each with its reason.
    fn record(&self, outcomes: Vec<Checked>) -> (bool, Vec<(Change, String)>) {
        let now = SystemTime::now();
        let mut turned = false;
        let mut changes = Vec::new();
        let mut state = self.shared.write();
        for checked in outcomes {
            let id = checked.backend.clone();
            let failure = checked.outcome.as_ref().err().map(ToString::to_string);
            let Some(healthy) = state.records.record(checked, now) else {
                continue;
            };
            turned = true;
            if let Some(change) = state.registry.record_check(&id, healthy, now) {
                let reason = failure.unwrap_or_else(|| "checks succeed".to_owned());
                changes.push((change, reason));
            }
        }
        (turned, changes)
    }

    fn command(&mut self, command: Command) {
        let answer = match command.request {
            Request::Backend { name, order } => self.order(&name, order),
            Request::Reload => self.reload(),
            Request::LogLevel { level, for_ms } => self
                .logging
                .set_level(&level, for_ms.map(Duration::from_millis)),
            // The operator is answered when the hand-over has ended.
            Request::Failover => return self.failover(command.answer),
            // The agent's loop, which called this function, carries the upgrade out, because the
            // upgrade needs the streams of signals.
            Request::Upgrade => {
                self.upgrading = Some(command.answer);
                return;
            }
            // No answer is sent here: the operator is answered when the order of the certificate
            // has ended.
            Request::Renew { service } => return self.acme.renew(&service, command.answer),
            Request::Status | Request::Errors | Request::Events(_) | Request::Explain(_) => {
                Err("the agent's loop does not serve this request".to_owned())
            }
        };
        // Sending fails if the operator has disconnected; the log has the outcome.
        let _gone = command.answer.send(answer);
    }

    fn order(&mut self, name: &str, order: AdminState) -> Result<String, String> {
        let ordered = {
            let mut state = self.shared.write();
            state.registry.set_override(name, order, SystemTime::now())
        };
        let OverrideApplied {
            name,
            state,
            change,
        } = ordered.map_err(|error| error.to_string())?;
        tracing::info!(
            backend = name, %order, event = "backend_override", "operator override set"
        );
        self.send_overrides();
        if let Some(change) = &change {
            self.publish(&[(change.clone(), "operator override".to_owned())]);
        }
        let word = state_name(state);
        let mut answer = match change.filter(|change| change.from != change.to) {
            Some(_) => format!("backend {name} is now {word}"),
            None => format!("backend {name} stays {word}"),
        };
        if order == AdminState::Ready && state == BackendState::Down {
            answer.push_str(": its checks fail");
        }
        if !self.remember() {
            answer.push_str(
                ". It could not be saved, so a restart of the agent loses it: see the log",
            );
        }
        Ok(answer)
    }

    /// Publishes changes of backends' states to the HTTP front and the kernel, and logs them with
    /// their reasons.
    pub(super) fn publish(&self, changes: &[(Change, String)]) {
        // If one pool has several changes, the last change has the current states of all its
        // backends.
        let views: BTreeMap<&Name, &Arc<PoolView>> = changes
            .iter()
            .map(|(change, _)| (&change.view.pool.name, &change.view))
            .collect();
        self.publish_views(&views.into_values().cloned().collect::<Vec<_>>());
        for (change, reason) in changes {
            backend_log::change(change, reason);
        }
    }

    fn publish_views(&self, views: &[Arc<PoolView>]) {
        if views.is_empty() {
            return;
        }
        for view in views {
            self.feeds.send(view);
        }
        let accepted = self.shared.kernel().pools_changed(views);
        let pools = views.iter().map(|view| view.pool.name.clone());
        let unsettled = &mut self.shared.write().unsettled;
        // Logged once for each pool and not at each retry: the status lists the pool meanwhile.
        for pool in pools {
            match &accepted {
                Ok(()) if unsettled.remove(&pool) => {
                    tracing::info!(%pool, "the kernel accepted the backend states");
                }
                Err(error) if unsettled.insert(pool.clone()) => {
                    tracing::error!(
                        %pool,
                        error = %error,
                        "the kernel refused the new backend states, retrying"
                    );
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Notifies systemd's watchdog that the loop is alive, and does the periodic work: retries
    /// changes that the kernel refused, removes discovered backends that have drained, saves the
    /// state of backends if it changed, and renews session ticket keys and the hold on new
    /// connections.
    fn watchdog_tick(&mut self) {
        notify_watchdog();
        self.logging.tick();
        self.retry();
        self.keep_up_discovery();
        if self.unremembered {
            self.remember();
        }
        self.keep_up_pair();
        self.look_at_expiry();
    }

    fn retry(&self) {
        let views: Vec<_> = {
            let state = self.shared.read();
            let views = state
                .unsettled
                .iter()
                .filter_map(|pool| state.registry.view(pool));
            views.cloned().collect()
        };
        self.publish_views(&views);
    }

    /// Saves the operator overrides and the health of backends for the next agent. Returns false if
    /// that failed.
    fn remember(&mut self) -> bool {
        self.unremembered = false;
        let memory = self.shared.read().registry.saved_states();
        let written = self.state_file.write(&memory);
        if let Err(error) = &written {
            let path = self.state_file.path().display();
            tracing::warn!(error = %error, path = %path, "cannot write the state file");
        }
        written.is_ok()
    }

    fn reload_by_signal(&mut self) {
        // `reload` has logged the outcome.
        let _said = self.reload();
    }

    fn reopen_log(&self) {
        let reopened = self.shared.proxy().as_ref().map(Proxy::reopen_log);
        if reopened == Some(false) {
            tracing::warn!(
                "SIGUSR1 reopens the access log, and none is configured: see [log.access]"
            );
        }
    }

    /// Stops the agent when the requests in flight have ended. Until then, health checks and
    /// commands are still handled; a second signal ends the wait immediately. The XDP program stays
    /// attached, so its flows continue without an agent.
    async fn stop(mut self, signals: &mut Signals) {
        notify(&[sd_notify::NotifyState::Stopping]);
        let goes_first = self.hand_over(signals).await;
        if goes_first {
            self.leave_pair().await;
        }
        let reason = if self.lost_pair {
            "the pair thread ended"
        } else {
            "it received SIGTERM or SIGINT"
        };
        tracing::info!(
            reason,
            grace = ?GRACE,
            event = "agent_stopping",
            "stopping: no new HTTP connections, waiting for requests in flight"
        );
        let Some(proxy) = self.shared.proxy().take() else {
            return self.leave_pair().await;
        };
        let mut draining = tokio::task::spawn_blocking(move || drain(proxy));
        loop {
            tokio::select! {
                _ended = &mut draining => break,
                () = signals.stop() => {
                    tracing::warn!("second SIGTERM: stopping immediately");
                    break;
                }
                Some(checked) = self.outcomes.recv() => self.checked(checked),
                Some(command) = self.commands.recv() => self.command(command),
                _ = self.watchdog.tick() => self.watchdog_tick(),
            }
        }
        // If no peer is heard, this host keeps its addresses until its requests have ended, which
        // is now.
        self.leave_pair().await;
        if self.unremembered {
            self.remember();
        }
        self.servers.finish().await;
        tracing::info!("stopped; the XDP program keeps steering packets");
    }
}

fn drain(proxy: Proxy) {
    proxy.shutdown(GRACE);
}

/// Sends these notifications to systemd, if systemd is the service manager.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(error = %error, "cannot notify systemd");
    }
}

/// Notifies systemd's watchdog that the loop is alive.
fn notify_watchdog() {
    notify(&[sd_notify::NotifyState::Watchdog]);
}

#[cfg(test)]
mod tests;
