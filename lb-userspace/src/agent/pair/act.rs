//! Carries out the actions that the pair state machine returns.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use lb_ha::{
    advert::Priority,
    elastic::Call,
    pair::{Action, Host},
    vrrp::{Cause, State},
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Ec2Snapshot, Effect, LinkSnapshot, PairCommand, PairSnapshots, parts::Parts,
    replicator::FlowReplicator,
};
use crate::{
    agent::Error,
    aws,
    config::{Ha, Moves},
    dataplane::flows::Flows,
    ha::{
        address::{Addresses, AddressesView, Want},
        adverts::{self, Adverts, Received},
        notify::{Notifier, NotifyView, Role},
    },
    peer::{self, Link, Message, PeerInfo},
};

/// The modules that carry out actions of the pair state machine, and what they have reported.
pub(super) struct Actuators {
    adverts: Adverts,
    link: Option<Link>,
    /// The receiver of the flows that the peer sends over the link between the two agents; `None`
    /// once the packet path is open and replication has taken it.
    arriving: Option<peer::Flows>,
    replicator: Option<FlowReplicator>,
    addresses: Option<Addresses>,
    notifier: Notifier,
    effects: mpsc::UnboundedSender<Effect>,
    snapshots: Arc<PairSnapshots>,
    background: Handle,
    /// Whether flows are shared with the peer, which they are only if the address that clients
    /// connect to moves between the hosts.
    shares_flows: bool,
    state: State,
    priority: u8,
    /// Number of times that this host entered each state, by cause; published in the snapshot.
    transitions: BTreeMap<(State, Cause), u64>,
    link_since: SystemTime,
    peer: Option<PeerInfo>,
    owner: Option<aws::Owner>,
    failing: bool,
    flows: Option<Flows>,
}

/// The modules that carry out actions of the pair state machine, opened, and the channels of their
/// events.
pub(super) struct Opened {
    pub(super) actuators: Actuators,
    pub(super) adverts: mpsc::Receiver<Received>,
    pub(super) link: Option<mpsc::Receiver<peer::Event>>,
    pub(super) ec2: Option<aws::Worker>,
}

impl Actuators {
    pub(super) fn open(
        parts: &Parts,
        effects: mpsc::UnboundedSender<Effect>,
    ) -> Result<Opened, Error> {
        let Parts { node, ha, .. } = parts;
        let (adverts, heard) = Adverts::open(ha, node)?;
        let started = ha
            .link
            .as_ref()
            .map(|link| Link::start(ha, link, &node.name))
            .transpose()?;
        let (link, events, arriving) = match started {
            Some(started) => (
                Some(started.link),
                Some(started.events),
                Some(started.flows),
            ),
            None => (None, None, None),
        };
        // The workers that are started below make short blocking calls, which would delay adverts
        // if they ran on the pair thread.
        let background = parts.background.enter();
        let addresses = ha.interface_addresses();
        let want = match &parts.left {
            Some(left) if left.holds_addresses() => Want::Held,
            _ => Want::Released,
        };
        let addresses = (!addresses.is_empty())
            .then(|| Addresses::start(node.interfaces.first(), addresses, want))
            .transpose()?;
        let notifier = Notifier::start(&node.name, ha.notify.clone());
        let ec2 = match &ha.moves {
            Moves::ElasticIp(elastic_ip) => Some(aws::Worker::start(aws::Settings::new(
                elastic_ip, ha.source,
            ))),
            Moves::VirtualIp(_) | Moves::Commands => None,
        };
        drop(background);
        let actuators = Self {
            adverts,
            link,
            arriving,
            replicator: None,
            addresses,
            notifier,
            effects,
            snapshots: Arc::clone(&parts.snapshots),
            transitions: BTreeMap::new(),
            link_since: SystemTime::now(),
            peer: None,
            owner: None,
            failing: false,
            flows: None,
            priority: ha.priority.get(),
            background: parts.background.clone(),
            shares_flows: shares_flows(ha),
            state: State::Init,
        };
        Ok(Opened {
            actuators,
            adverts: heard,
            link: events,
            ec2,
        })
    }

    pub(super) fn snapshots(&self) -> &Arc<PairSnapshots> {
        &self.snapshots
    }

    pub(super) fn shares_flows(&self) -> bool {
        self.shares_flows && self.link.is_some()
    }

    /// Starts to replicate flows, because the packet path is open now.
    pub(super) fn carry_flows(
        &mut self,
        flows: Flows,
        commands: mpsc::WeakUnboundedSender<PairCommand>,
    ) {
        if let Some(arriving) = self.arriving.take().filter(|_| self.shares_flows) {
            self.flows = Some(flows.clone());
            // The call here passes this host's role to the import of flows before the first chunk
            // is imported; the call below passes the role to the new replicator, too.
            self.update_replication();
            self.replicator = Some(FlowReplicator::start(
                &self.background,
                flows,
                arriving,
                commands,
            ));
            self.update_replication();
        }
    }

    /// Carries out an action of the pair state machine. Returns the EC2 call that the action orders
    /// if the worker for these calls is busy; otherwise `None`.
    pub(super) fn act(
        &mut self,
        action: Action,
        host: &Host,
        ec2: Option<&aws::Worker>,
    ) -> Option<Call> {
        match action {
            Action::Advert { priority, .. } => self.adverts.send(Priority::new(priority)),
            Action::Send(message) => {
                if let Some(link) = &self.link {
                    // Sending may fail: a lost heartbeat is followed by the next one, and other
                    // messages are sent again or time out.
                    let _sent = link.send_pair_message(message);
                }
            }
            Action::Call(call) => return ec2.and_then(|ec2| ec2.order(call).err().map(|_| call)),
            Action::Became(state, cause) => self.became(state, cause, host),
            Action::Addresses { here } => {
                if let Some(addresses) = &self.addresses {
                    addresses.want(if here { Want::Held } else { Want::Released });
                }
            }
            Action::Hold(hold) => self.effect(Effect::Hold(hold)),
            Action::HandedOver(outcome) => self.effect(Effect::HandedOver(outcome)),
        }
        None
    }

    /// Records the result of a call to the EC2 API that has ended.
    pub(super) fn call_ended(&mut self, done: &aws::Done) {
        // The worker that made the call has logged its error.
        self.failing = done.outcome.is_err();
        if let Ok(aws::Outcome::Described(owner)) = &done.outcome {
            let before = self.owner.replace(owner.clone());
            if before.as_ref() != Some(owner) {
                let before = before.map(|before| before.to_string());
                tracing::info!(
                    %owner, before, event = "elastic_ip_owner", "the Elastic IP has another owner"
                );
            }
        }
    }

    pub(super) fn link_changed(&mut self, peer: Option<PeerInfo>) {
        self.update_replication();
        self.effect(Effect::Linked(peer.is_some()));
        self.link_since = SystemTime::now();
        self.peer = peer.or(self.peer.take());
    }

    pub(super) fn received(&self, message: Message) {
        self.effect(Effect::Received(message));
    }

    pub(super) fn send(&self, message: &Message) {
        if let Some(link) = &self.link {
            // If the link to the peer has no session, the message is dropped: the next session
            // begins with the full state.
            let _sent = link.send(message);
        }
    }

    pub(super) fn reconfigure(&self, ha: &Ha) {
        self.notifier.apply(ha.notify.clone());
    }

    /// Removes the virtual IPs from the interface and runs the notify command for the role `Stop`.
    pub(super) async fn stop(self) {
        if let Some(addresses) = &self.addresses
            && let Err(error) = addresses.release().await
        {
            tracing::error!(error = %error, "cannot release the virtual IPs");
        }
        self.notifier.stop(self.priority).await;
    }

    pub(super) fn transitions(&self) -> &BTreeMap<(State, Cause), u64> {
        &self.transitions
    }

    pub(super) fn adverts(&self) -> adverts::Counters {
        self.adverts.counters()
    }

    pub(super) fn link(&self) -> Option<LinkSnapshot> {
        self.link.as_ref().map(|link| LinkSnapshot {
            view: link.view(),
            since: self.link_since,
            peer: self.peer.clone(),
        })
    }

    pub(super) fn ec2(&self, worker: Option<&aws::Worker>) -> Option<Ec2Snapshot> {
        worker.map(|worker| Ec2Snapshot {
            view: worker.view(),
            owner: self.owner.clone(),
            failing: self.failing,
        })
    }

    pub(super) fn addresses(&self) -> Option<AddressesView> {
        self.addresses.as_ref().map(Addresses::view)
    }

    pub(super) fn notified(&self) -> NotifyView {
        self.notifier.view()
    }

    pub(super) fn flows(&self) -> Option<Flows> {
        self.flows.clone()
    }

    fn became(&mut self, state: State, cause: Cause, host: &Host) {
        let from = std::mem::replace(&mut self.state, state);
        let was_master = from == State::Master;
        let priority = host.priority();
        self.priority = priority;
        self.update_replication();
        let (from, to, reason) = (from.as_str(), state.as_str(), cause.as_str());
        let why = cause.sentence();
        let is_master = state == State::Master;
        if is_master != was_master {
            self.effect(Effect::Active(is_master));
        }
        if cause == Cause::Resumed {
            tracing::info!(role = to, priority, "role kept across an upgrade");
            return;
        }
        match state {
            State::Fault => tracing::error!(
                from,
                to,
                reason,
                cause = why,
                priority,
                event = "role_changed",
                "role changed"
            ),
            _ => tracing::info!(
                from,
                to,
                reason,
                cause = why,
                priority,
                event = "role_changed",
                "role changed"
            ),
        }
        *self.transitions.entry((state, cause)).or_default() += 1;
        let role = match state {
            State::Master => Some(Role::Master),
            State::Backup => Some(Role::Backup),
            State::Fault => Some(Role::Fault),
            // No notify command is run here: the function `stop` runs the one for the end of the
            // agent.
            State::Init => None,
        };
        if let Some(role) = role {
            self.notifier.role_changed(role, priority);
        }
    }

    /// Starts or ends the export of flows: the active host exports its flows while the link to the
    /// peer is up, and imports none.
    fn update_replication(&self) {
        let active = self.state == State::Master;
        if let Some(flows) = &self.flows {
            flows.set_active(active);
        }
        if let (Some(replicator), Some(link)) = (&self.replicator, &self.link) {
            replicator.export_over(link.bulk().filter(|_| active));
        }
    }

    fn effect(&self, effect: Effect) {
        // Sending fails if the agent's loop has ended.
        let _gone = self.effects.send(effect);
    }
}

fn shares_flows(ha: &Ha) -> bool {
    match &ha.moves {
        Moves::VirtualIp(_) | Moves::Commands => true,
        Moves::ElasticIp(elastic_ip) => elastic_ip.moves_private_ip,
    }
}
