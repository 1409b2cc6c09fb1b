//! Upgrading: another process takes over, and this one lets its connections end.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use super::{Agent, GRACE, Signals, notify};
use crate::{
    agent::{
        kernel::Kernel,
        upgrade::{Bequest, Successor, spawn},
    },
    pool::PoolView,
    proxy::Proxy,
};

/// What the operator hears.
pub(in crate::agent) type Answer = oneshot::Sender<Result<String, String>>;

/// The listening socket of the admin server, to be passed to the next process.
#[derive(Debug)]
pub(in crate::agent) struct AdminListener {
    pub(in crate::agent) address: SocketAddr,
    pub(in crate::agent) descriptor: OwnedFd,
}

impl<K: Kernel> Agent<K> {
    /// Has the binary that is installed now take over. True when it has: this process is to end.
    pub(super) async fn upgrade(&mut self, answer: Answer) -> bool {
        let outcome = self.try_upgrade().await;
        let taken_over = outcome.is_ok();
        let text = match outcome {
            Ok(process) => {
                let open = (self.shared.proxy().as_ref()).map_or(0, Proxy::open_connections);
                tracing::info!(
                    process,
                    connections = open,
                    "another process has taken over"
                );
                Ok(format!(
                    "process {process} has taken over; {open} connections end in the one before it"
                ))
            }
            Err(error) => {
                tracing::error!("the upgrade failed, this process serves on: {error}");
                Err(format!("{error}\nThe agent that was running serves on."))
            }
        };
        // An operator who did not wait finds it in the log.
        let _gone = answer.send(text);
        taken_over
    }

    /// Returns the new process's number.
    async fn try_upgrade(&mut self) -> Result<u32, String> {
        if self.pair.is_some() {
            return Err(
                "this host is one of a pair: upgrade it with `systemctl restart lb`, which hands \
                 over to the other host first"
                    .to_owned(),
            );
        }
        // The next process begins with the backends' health as it is.
        self.remember();
        let started = tokio::task::spawn_blocking(|| {
            let successor = spawn()?;
            match successor.wait_until_ready() {
                Ok(process) => Ok((successor, process)),
                Err(error) => Err(error),
            }
        });
        let (successor, process) = self.meanwhile(started).await??;
        match self.hand_over_to(successor, process).await {
            Ok(()) => {
                self.shared.kernel().give_up();
                notify(&[sd_notify::NotifyState::MainPid(process)]);
                Ok(process)
            }
            Err(error) => {
                self.resume()?;
                Err(error)
            }
        }
    }

    async fn hand_over_to(&mut self, successor: Successor, process: u32) -> Result<(), String> {
        let bequest = self.bequest()?;
        let handed_over = tokio::task::spawn_blocking(move || {
            let handed_over = successor.hand_over(&bequest);
            if handed_over.is_err() {
                successor.wait_until_ended(process);
            }
            handed_over
        });
        self.meanwhile(handed_over).await?
    }

    /// Everything that the next process takes over. This one changes nothing in the kernel from now on.
    fn bequest(&self) -> Result<Bequest, String> {
        let failed = |error| format!("cannot pass the listening sockets on: {error}");
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
        })
    }

    /// Takes the kernel back from a process that failed to take over.
    fn resume(&mut self) -> Result<(), String> {
        let state = self.shared.read();
        let views: Vec<Arc<PoolView>> = state.roster.views().cloned().collect();
        let mut kernel = self.shared.kernel();
        kernel
            .resume()
            .and_then(|()| kernel.apply(&state.config.services, &views))
            .map_err(|error| format!("the kernel is not as it was: {error}; restart the agent"))
    }

    /// Waits, and tells systemd meanwhile that the loop is alive.
    async fn meanwhile<T>(&mut self, mut work: JoinHandle<T>) -> Result<T, String> {
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(|error| error.to_string()),
                _ = self.heartbeat.tick() => notify(&[sd_notify::NotifyState::Watchdog]),
            }
        }
    }

    /// Lets the connections end that began before another process took over. Whoever stops the service
    /// stops this process too: then requests have [`GRACE`] to end.
    pub(super) async fn end_after_upgrade(mut self, signals: &mut Signals) {
        self.servers.shutdown().await;
        drop(self.checks);
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
        tracing::info!("stopped; another process serves");
    }
}
