//! Exchanges certificates, the account and challenge responses with the peer, so that both hosts of
//! a pair have the same ones.

mod account;
mod certificates;
mod responses;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, watch};

pub(super) use responses::SharedOffer;

use super::{
    Challenges, HostRole, Offer, Response, StatusRegistry,
    managed::ManagedCertificate,
    peer_message::{CertificateId, CertificateState, HostState, PeerMessage, Secret},
    store::Store,
};
use crate::config::{self, Name};

/// Exchanges certificates, the ACME account and challenge responses with the peer. This is a
/// handle: clones share their state. Without a peer, it sends nothing.
#[derive(Clone, Debug)]
pub(super) struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    messages: mpsc::UnboundedSender<PeerMessage>,
    renewed: mpsc::UnboundedSender<Name>,
    challenges: Challenges,
    statuses: StatusRegistry,
    /// The serial number of the newest [`HostState`] of this host whose challenge responses the
    /// peer serves.
    served: watch::Sender<u64>,
    state: Mutex<ExchangeState>,
}

/// The state of the exchange of certificates, ACME account and challenge responses with the peer:
/// this host's own certificates and responses, what the peer sent last, and the certificate file
/// that was requested from the peer.
#[derive(Debug)]
struct ExchangeState {
    role: HostRole,
    /// Whether the link to the peer is up.
    link: bool,
    /// Whether the peer's state was received since the link to the peer came up.
    peer_state_known: bool,
    /// The peer's name; `None` until the peer has sent it.
    peer: Option<String>,
    serial: u64,
    host: Option<Name>,
    settings: Option<config::Acme>,
    managed: BTreeMap<Name, Arc<ManagedCertificate>>,
    account: account::KnownAccount,
    /// The challenge responses that this host's orders need, each with the number of orders that
    /// need it.
    responses: BTreeMap<Response, usize>,
    /// The challenge responses that this host serves for the peer's orders.
    offers: BTreeMap<Response, Offer>,
    /// The certificate that this host has requested from the peer and that has not arrived yet.
    requested: Option<(Name, CertificateId)>,
}

impl Exchange {
    pub(super) fn new(
        in_pair: bool,
        messages: mpsc::UnboundedSender<PeerMessage>,
        renewed: mpsc::UnboundedSender<Name>,
        (challenges, statuses): (Challenges, StatusRegistry),
    ) -> Self {
        Self(Arc::new(Inner {
            messages,
            renewed,
            challenges,
            statuses,
            served: watch::Sender::new(0),
            state: Mutex::new(ExchangeState {
                role: if in_pair {
                    HostRole::Standby
                } else {
                    HostRole::Alone
                },
                link: false,
                peer_state_known: false,
                peer: None,
                serial: 0,
                host: None,
                settings: None,
                managed: BTreeMap::new(),
                account: account::KnownAccount::default(),
                responses: BTreeMap::new(),
                offers: BTreeMap::new(),
                requested: None,
            }),
        }))
    }

    /// Replaces the settings and the managed certificates by those of a new configuration, whose
    /// host name is `host`.
    pub(super) fn keep(
        &self,
        host: &Name,
        settings: Option<&config::Acme>,
        managed: BTreeMap<Name, Arc<ManagedCertificate>>,
    ) {
        let now = SystemTime::now();
        let mut state = self.state();
        state.host = Some(host.clone());
        state.settings = settings.cloned();
        for (name, managed) in &managed {
            let known = state.managed.get(name);
            if state.peer_state_known && known.is_none_or(|known| !Arc::ptr_eq(known, managed)) {
                let mut state = managed.state();
                state.renewal.order_lock().link_up(now);
                state.renewal.order_lock().peer_message_received();
            }
        }
        state.managed = managed;
        if state
            .requested
            .as_ref()
            .is_some_and(|(name, _)| !state.managed.contains_key(name))
        {
            state.requested = None;
        }
        self.publish_now(&mut state, now);
    }

    /// Returns this host's role in ordering certificates.
    pub(super) fn role(&self) -> HostRole {
        self.state().role
    }

    /// Returns the peer's name for messages to operators, or words for it if the name is not known
    /// yet.
    pub(super) fn peer(&self) -> String {
        let peer = self.state().peer.clone();
        peer.unwrap_or_else(|| "the other host".to_owned())
    }

    /// Records whether this host is the active one. Has no effect on a host without a peer.
    pub(super) fn set_active(&self, active: bool) {
        let mut state = self.state();
        if state.role == HostRole::Alone {
            return;
        }
        let role = if active {
            HostRole::Active
        } else {
            HostRole::Standby
        };
        state.role = role;
        for managed in state.managed.values() {
            managed.state().renewal.order_lock().set_role(role);
            managed.changed.notify_one();
        }
        self.publish_now(&mut state, SystemTime::now());
    }

    /// Records that the link to the peer came up or went down.
    pub(super) fn set_linked(&self, linked: bool) {
        let now = SystemTime::now();
        let mut state = self.state();
        state.link = linked;
        state.peer_state_known = false;
        state.requested = None;
        for managed in state.managed.values() {
            let mut state = managed.state();
            state.peer_state = None;
            if linked {
                state.renewal.order_lock().link_up(now);
            } else {
                state.renewal.order_lock().link_down(now);
            }
            drop(state);
            managed.changed.notify_one();
        }
        // The responses for the peer's orders are still served without a link to the peer: a
        // directory may still request them.
        self.publish_now(&mut state, now);
    }

    /// Sends the full state of this host's certificates to the peer.
    pub(super) fn publish(&self) {
        self.publish_now(&mut self.state(), SystemTime::now());
    }

    /// Sends a message over the link to the peer if that is up; otherwise the message is dropped.
    pub(super) fn send(&self, message: PeerMessage) {
        if self.state().link {
            self.enqueue(message);
        }
    }

    /// Handles a message about certificates that the peer sent.
    pub(super) fn receive(&self, message: PeerMessage) {
        let now = SystemTime::now();
        let mut state = self.state();
        match message {
            PeerMessage::State(told) => self.apply(&mut state, *told, now),
            PeerMessage::Claim { service, number } => {
                let refused = certificates::claimed(&state, &service, number, now);
                self.enqueue(PeerMessage::ClaimReply {
                    service,
                    number,
                    refused: refused.map(seconds),
                });
            }
            PeerMessage::ClaimReply {
                service,
                number,
                refused,
            } => {
                let refused = refused.map(|wait| Duration::from_secs(wait.into()));
                let waited = certificates::answered(&state, &service, (number, refused), now);
                if !waited {
                    // This host no longer waits for the peer's reply to this claim of the order
                    // lock: its new state tells the peer that no order began on the claim.
                    self.publish_now(&mut state, now);
                }
            }
            PeerMessage::FileRequest {
                service,
                fingerprint,
            } => {
                let bytes = certificates::read_for_peer(&state, &service, fingerprint);
                self.enqueue(PeerMessage::File { service, bytes });
            }
            PeerMessage::File { service, bytes } => {
                if self.install_received(&mut state, &service, bytes, now) {
                    self.publish_now(&mut state, now);
                }
                self.request_newer(&mut state, now);
            }
            PeerMessage::Serving(serial) => {
                self.0.served.send_if_modified(|served| {
                    let newer = serial > *served && serial <= state.serial;
                    if newer {
                        *served = serial;
                    }
                    newer
                });
            }
        }
    }

    fn apply(&self, state: &mut ExchangeState, told: HostState, now: SystemTime) {
        let first = !state.peer_state_known;
        state.peer_state_known = true;
        state.peer = Some(told.node.clone());
        self.answer(state, &told);
        let Some(settings) = state.settings.clone() else {
            return;
        };
        let same_directory = settings.directory == told.directory;
        if first && !same_directory {
            tracing::warn!(
                directory = settings.directory,
                peer = told.node,
                peer_directory = told.directory,
                "the hosts of the pair use different ACME directories and exchange no certificates; \
                 set the same `acme.directory` on both"
            );
        }
        if same_directory {
            let store = Store::new(settings.folder());
            let role = state.role;
            state.account.apply(&store, role, &told);
        }
        let mut certificates = told.certificates;
        for (name, managed) in &state.managed {
            let told = certificates.remove(name.as_str());
            certificates::apply(managed, told.filter(|_| same_directory), now);
        }
        self.request_newer(state, now);
    }

    /// Sends this host's state to the peer, and returns the state's serial number; `None` if the
    /// link to the peer is down.
    fn publish_now(&self, state: &mut ExchangeState, now: SystemTime) -> Option<u64> {
        let settings = state.settings.as_ref()?;
        if !state.link {
            return None;
        }
        let certificates = state.managed.iter().map(|(name, managed)| {
            let mut state = managed.state();
            let told = CertificateState {
                certificate: state.certificate,
                record: state.renewal.record().clone(),
                under_way: state.renewal.order_lock().held_for(now).map(seconds),
            };
            (name.to_string(), told)
        });
        let certificates = certificates.collect();
        state.serial += 1;
        self.enqueue(PeerMessage::State(Box::new(HostState {
            serial: state.serial,
            node: state.host.as_ref().map(Name::to_string).unwrap_or_default(),
            directory: settings.directory.clone(),
            active: state.role == HostRole::Active,
            account: account::read(&Store::new(settings.folder())).map(Secret),
            certificates,
            responses: state.responses.keys().cloned().collect(),
        })));
        Some(state.serial)
    }

    fn enqueue(&self, message: PeerMessage) {
        // Sending fails if the agent is stopping. The peer notices the stop because the link
        // between the two agents goes down.
        let _gone = self.0.messages.send(message);
    }

    fn state(&self) -> MutexGuard<'_, ExchangeState> {
        // A poisoned lock is used as it is: every change leaves a state that another thread can
        // continue with.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
