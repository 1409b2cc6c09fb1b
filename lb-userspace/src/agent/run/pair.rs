//! The part of the agent's loop that works with the pair thread: it sends commands to the thread,
//! and carries out the effects that the thread orders.

use lb_ha::pair::Refusal;

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
    peer::Message,
    pool::BackendKey,
};

impl<K: Kernel> Agent<K> {
    /// Carries out an effect that the pair thread orders. Returns the outcome of a hand-over of the
    /// active role if one has ended.
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
                self.send_to_peer(offer.map(Message::Tickets));
            }
            Effect::Linked(true) => self.linked(),
            Effect::Linked(false) => {
                self.certificates.link_down();
                self.acme.set_linked(false);
                self.show_differences();
            }
            Effect::Received(message) => self.receive(message),
        }
        None
    }

    /// Makes the pair thread take part in the pair, if a pair is configured.
    pub(in crate::agent) fn start_pair(&mut self, bound: Option<BoundPair>, flows: Option<Flows>) {
        let watched = self.watched().unwrap_or_default();
        self.pair = bound.map(|bound| bound.start(flows, watched));
    }

    /// Handles the unexpected end of the pair thread, which should not end while the agent holds
    /// the sender of its commands. Returns false, which ends the loop of the agent; systemd
    /// restarts the agent.
    pub(super) fn pair_ended(&mut self) -> bool {
        tracing::error!("the pair thread ended: the agent stops too");
        self.lost_pair = true;
        false
    }

    /// Returns whether the configuration has a link to the peer.
    pub(super) fn has_link(&self) -> bool {
        let state = self.shared.read();
        state.config.ha.as_ref().is_some_and(|ha| ha.link.is_some())
    }

    /// Notifies the pair thread when every backend was checked, but only once.
    pub(super) fn notify_pair(&mut self) {
        let Some(pair) = &self.pair else {
            return;
        };
        if !self.all_checked && is_checked(&self.shared.read()) {
            self.all_checked = true;
            pair.send(PairCommand::Checked);
        }
    }

    /// Renews the ticket keys and the kernel's hold on new connections before they expire. Must be
    /// called once a second.
    pub(super) fn keep_up_pair(&mut self) {
        let offer = self.tickets.tick();
        self.send_to_peer(offer.map(Message::Tickets));
        if self.handover.is_holding() {
            self.hold_kernel(true);
        }
        self.notify_pair();
    }

    /// Returns the objects to track according to the configuration in force; `None` if the host has
    /// no peer.
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

    /// Sends the pair's part of the configuration in force to the pair thread.
    pub(super) fn reconfigure_pair(&self) {
        let ha = self.shared.read().config.ha.clone();
        if let (Some(pair), Some(ha), Some(watched)) = (&self.pair, ha, self.watched()) {
            pair.send(PairCommand::Reconfigure(Box::new((ha, watched))));
        }
    }
}

/// Returns whether every backend of a pool with a health check was checked since the agent started,
/// and every pool that discovers its backends has some.
fn is_checked(state: &State) -> bool {
    state.registry.views().all(|view| {
        // A pool whose backends have not been discovered yet has none that could be checked.
        let is_known = view.pool.discover.is_none() || !view.pool.backends.is_empty();
        let mut backends = view.pool.backends.iter();
        let are_checked = backends.all(|backend| {
            let id = BackendKey::of(&view.pool, backend);
            state.records.last(&id).is_some()
        });
        is_known && (view.pool.check.is_none() || are_checked)
    })
}
