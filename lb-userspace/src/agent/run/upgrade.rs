//! The upgrade: a new process takes over, and this process exits after its connections have ended.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use super::{Agent, GRACE, Signals, notify, notify_watchdog};
use crate::{
    admin::wording::counted,
    agent::{
        kernel::Kernel,
        pair::{Left, Moving, Pair, PairCommand},
        upgrade::{Bequest, Successor, spawn},
    },
    pool::PoolView,
    proxy::Proxy,
};

/// Sends the outcome of an upgrade to the operator who ordered it, as a sentence.
pub(in crate::agent) type Answer = oneshot::Sender<Result<String, String>>;

/// The listening socket of the HTTP admin server, which is passed to the next process.
#[derive(Debug)]
pub(in crate::agent) struct AdminListener {
    pub(in crate::agent) address: SocketAddr,
    pub(in crate::agent) descriptor: OwnedFd,
}

/// Returns the answer to an operator whose upgrade succeeded. `open` is the number of connections
/// that the process before the new one still has to serve.
fn taken_over_sentence(process: u32, open: u64) -> String {
    let verb = if open == 1 { "ends" } else { "end" };
    format!(
        "process {process} has taken over; {} {verb} in the one before it",
        counted(open, "connection")
    )
}

impl<K: Kernel> Agent<K> {
    /// Starts the binary that is installed now as a new process, which takes over. Returns whether
    /// it has taken over, in which case this process has to end.
    pub(super) async fn upgrade(&mut self, answer: Answer) -> bool {
        let outcome = self.try_upgrade().await;
        let taken_over = outcome.is_ok();
        let text = match outcome {
            Ok(process) => {
                let open = (self.shared.proxy().as_ref()).map_or(0, Proxy::open_connections);
                tracing::info!(
                    process,
                    connections = open,
                    "the new process has taken over"
                );
                Ok(taken_over_sentence(process, open))
            }
            Err(error) => {
                tracing::error!(
                    error = %error, event = "upgrade_failed",
                    "upgrade failed, this process continues to serve"
                );
                Err(format!("{error}\nThe running agent continues to serve."))
            }
        };
        // Sending fails if the operator has disconnected; the log has the outcome.
        let _gone = answer.send(text);
        taken_over
    }

    /// Starts a new process and lets it take over. Returns its PID.
    async fn try_upgrade(&mut self) -> Result<u32, String> {
        if self.handover.is_holding() {
            return Err("a hand-over to the peer is under way: try again after it".to_owned());
        }
        // The state file is written, so that the new process starts with the current health of the
        // backends.
        self.remember();
        self.save_discovered();
        let started = tokio::task::spawn_blocking(|| {
            let successor = spawn()?;
            match successor.wait_until_ready() {
                Ok(process) => Ok((successor, process)),
                Err(error) => Err(error),
            }
        });
        let (successor, process) = self.meanwhile(started).await??;
        let bequest = self.bequest()?;
        let (successor, handed_over, left) = self.hand_over_to(successor, process, bequest).await?;
        match handed_over {
            Ok(()) => {
                self.shared.kernel().give_up();
                // The new process writes to the file of the events now.
                self.shared.journal.close();
                if let Some(pair) = self.pair.take().filter(|_| left.is_none()) {
                    // The new process takes no part in the pair, so this process leaves the pair
                    // with a goodbye.
                    pair.stop().await;
                }
                notify(&[sd_notify::NotifyState::MainPid(process)]);
                Ok(process)
            }
            Err(error) => {
                self.go_on(successor, process, left).await?;
                Err(error)
            }
        }
    }

    /// Passes everything that the new process needs to it. Returns whether that process serves, and
    /// the state with which this process has left the pair; the state is `None` if it has not left.
    async fn hand_over_to(
        &mut self,
        successor: Successor,
        process: u32,
        bequest: Bequest,
    ) -> Result<(Successor, Result<(), String>, Option<Left>), String> {
        let leaver = self.pair.as_ref().map(Pair::leaver);
        let leave = || leaver.and_then(|leave| leave());
        let handed_over = tokio::task::spawn_blocking(move || {
            let (handed_over, left) = successor.hand_over((&bequest, process), leave);
            (successor, handed_over, left)
        });
        self.meanwhile(handed_over).await
    }

    /// Resumes after a new process has failed to take over. This process rejoins the pair
    /// immediately, because the peer receives no adverts, and changes the kernel's state again only
    /// after the new process has ended.
    async fn go_on(
        &mut self,
        successor: Successor,
        process: u32,
        left: Option<Left>,
    ) -> Result<(), String> {
        let has_left = left.is_some();
        if let Some(left) = left {
            self.return_to_pair(left)?;
        }
        let ended = tokio::task::spawn_blocking(move || successor.wait_until_ended(process));
        self.meanwhile(ended).await?;
        self.resume()?;
        if let (true, Some(pair), Some(flows)) =
            (has_left, &self.pair, self.shared.kernel().flows())
        {
            pair.send(PairCommand::Carry(flows));
        }
        Ok(())
    }

    /// Rejoins the pair, which this process had left to the new one. If that fails, the agent's
    /// loop finds that the pair thread has ended, and ends the agent.
    fn return_to_pair(&mut self, left: Left) -> Result<(), String> {
        let snapshots = self.shared.pair.clone().unwrap_or_default();
        let bound = Pair::bind_where_configured(&self.shared.read().config, Some(left), snapshots);
        let (bound, effects) = bound.map_err(|error| format!("cannot rejoin the pair: {error}"))?;
        self.effects = effects;
        // The flows are passed later: the kernel's state belongs to the new process until that
        // process has exited.
        self.start_pair(bound, None);
        Ok(())
    }

    /// Returns everything that the new process takes over. From then on this process changes
    /// nothing in the kernel.
    fn bequest(&self) -> Result<Bequest, String> {
        let failed = |error| format!("cannot pass on the listening sockets: {error}");
        let listeners = match self.shared.proxy().as_ref() {
            Some(proxy) => proxy.listeners().map_err(failed)?,
            None => return Err("the agent is stopping".to_owned()),
        };
        let AdminListener {
            address,
            descriptor,
        } = &self.admin_listener;
        let admin = (*address, descriptor.try_clone().map_err(failed)?);
        let lock = self.shared.kernel().pause();
        Ok(Bequest {
            listeners,
            admin,
            lock: lock.map_err(|error| error.to_string())?,
            tickets: self.tickets.link_up(),
            moves: self.moving(),
        })
    }

    fn moving(&self) -> Option<Moving> {
        let config = &self.shared.read().config;
        let ha = config.ha.as_ref().filter(|_| self.pair.is_some());
        ha.map(|ha| Moving::of(ha, &config.node))
    }

    /// Takes the kernel's state back after a new process has failed to take over.
    fn resume(&mut self) -> Result<(), String> {
        let state = self.shared.read();
        let views: Vec<Arc<PoolView>> = state.registry.views().cloned().collect();
        let mut kernel = self.shared.kernel();
        kernel
            .resume()
            .and_then(|()| kernel.apply(&state.config.services, &views))
            .map_err(|error| {
                format!("cannot restore the state of the kernel: {error}; restart the agent")
            })
    }

    /// Waits for `work`, and notifies systemd's watchdog at intervals until the work is done.
    async fn meanwhile<T>(&mut self, mut work: JoinHandle<T>) -> Result<T, String> {
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(|error| error.to_string()),
                _ = self.watchdog.tick() => notify_watchdog(),
            }
        }
    }

    /// Waits for the connections that were opened before the new process took over. If the service
    /// is stopped, this process gets SIGTERM, too: then requests have [`GRACE`] to end.
    pub(super) async fn end_after_upgrade(self, signals: &mut Signals) {
        self.servers.finish().await;
        drop(self.checks);
        drop(self.discovery);
        drop(self.acme);
        drop(self.admin_listener);
        let limit = self.shared.read().config.http.drain_timeout;
        let Some(proxy) = self.shared.proxy().take() else {
            return;
        };
        let mut draining = tokio::task::spawn_blocking(move || proxy.drain(limit));
        tokio::select! {
            _ended = &mut draining => {}
            () = signals.stop() => {
                let ended = tokio::time::timeout(GRACE, draining);
                tokio::select! {
                    _ended = ended => {}
                    () = signals.stop() => {}
                }
            }
        }
        tracing::info!("stopped; the new process serves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_an_upgrade_agrees_with_the_number_of_connections() {
        for (open, wanted) in [
            (0, "0 connections end"),
            (1, "1 connection ends"),
            (38, "38 connections end"),
        ] {
            let said = taken_over_sentence(2817, open);
            let wanted = format!("process 2817 has taken over; {wanted} in the one before it");
            assert_eq!(said, wanted);
        }
    }
}
