//! What the hosts of a pair exchange, so that both have what one of them obtains.

mod account;
mod certificates;
mod responses;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, watch};

pub(super) use responses::Shared;

use super::{
    Board, Challenges, Offer, Part, Response,
    slot::Slot,
    store::Store,
    word::{CertificateId, Secret, Told, ToldCertificate, Word},
};
use crate::config::{self, Name};

/// The exchange with the other host. Clones are one exchange. On a host that is alone it says nothing.
#[derive(Clone, Debug)]
pub(super) struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    words: mpsc::UnboundedSender<Word>,
    renewed: mpsc::UnboundedSender<Name>,
    challenges: Challenges,
    board: Board,
    /// The newest serial of [`Told`] whose answers the peer serves.
    served: watch::Sender<u64>,
    state: Mutex<ExchangeState>,
}

/// How things stand.
#[derive(Debug)]
struct ExchangeState {
    part: Part,
    /// Whether the link stands.
    link: bool,
    /// Whether the peer has told something by it.
    spoke: bool,
    /// The peer's name, once it has told.
    peer: Option<String>,
    serial: u64,
    host: Option<Name>,
    settings: Option<config::Acme>,
    slots: BTreeMap<Name, Arc<Slot>>,
    account: account::Known,
    /// What is to be answered for this host's orders, and how many of them want it.
    responses: BTreeMap<Response, usize>,
    /// What is answered for those of the peer.
    offers: BTreeMap<Response, Offer>,
    /// The certificate that was asked for and has not come.
    wanting: Option<(Name, CertificateId)>,
}

impl Exchange {
    pub(super) fn new(
        in_pair: bool,
        words: mpsc::UnboundedSender<Word>,
        renewed: mpsc::UnboundedSender<Name>,
        (challenges, board): (Challenges, Board),
    ) -> Self {
        Self(Arc::new(Inner {
            words,
            renewed,
            challenges,
            board,
            served: watch::Sender::new(0),
            state: Mutex::new(ExchangeState {
                part: if in_pair { Part::Standby } else { Part::Alone },
                link: false,
                spoke: false,
                peer: None,
                serial: 0,
                host: None,
                settings: None,
                slots: BTreeMap::new(),
                account: account::Known::default(),
                responses: BTreeMap::new(),
                offers: BTreeMap::new(),
                wanting: None,
            }),
        }))
    }

    /// These are the settings and the certificates from now on.
    pub(super) fn keep(
        &self,
        host: &Name,
        settings: Option<&config::Acme>,
        slots: BTreeMap<Name, Arc<Slot>>,
    ) {
        let now = SystemTime::now();
        let mut state = self.state();
        state.host = Some(host.clone());
        state.settings = settings.cloned();
        for (name, slot) in &slots {
            let known = state.slots.get(name);
            if state.spoke && known.is_none_or(|known| !Arc::ptr_eq(known, slot)) {
                let mut state = slot.state();
                state.renewal.turn().link_up(now);
                state.renewal.turn().peer_spoke();
            }
        }
        state.slots = slots;
        if state
            .wanting
            .as_ref()
            .is_some_and(|(name, _)| !state.slots.contains_key(name))
        {
            state.wanting = None;
        }
        self.tell_now(&mut state, now);
    }

    /// The part that this host has.
    pub(super) fn part(&self) -> Part {
        self.state().part
    }

    /// The other host, as an operator calls it.
    pub(super) fn peer(&self) -> String {
        let peer = self.state().peer.clone();
        peer.unwrap_or_else(|| "the other host".to_owned())
    }

    /// The host became active, or is not any more.
    pub(super) fn set_active(&self, active: bool) {
        let mut state = self.state();
        if state.part == Part::Alone {
            return;
        }
        let part = if active { Part::Active } else { Part::Standby };
        state.part = part;
        for slot in state.slots.values() {
            slot.state().renewal.turn().set_part(part);
            slot.changed.notify_one();
        }
        self.tell_now(&mut state, SystemTime::now());
    }

    /// The link came up, or is gone.
    pub(super) fn set_linked(&self, linked: bool) {
        let now = SystemTime::now();
        let mut state = self.state();
        state.link = linked;
        state.spoke = false;
        state.wanting = None;
        for slot in state.slots.values() {
            let mut state = slot.state();
            state.heard = None;
            if linked {
                state.renewal.turn().link_up(now);
            } else {
                state.renewal.turn().link_down(now);
            }
            drop(state);
            slot.changed.notify_one();
        }
        // The answers for the peer's orders stay: a directory may still ask for them.
        self.tell_now(&mut state, now);
    }

    /// Tells the peer all that is known here.
    pub(super) fn tell(&self) {
        self.tell_now(&mut self.state(), SystemTime::now());
    }

    /// Says something to the peer, where the link stands.
    pub(super) fn say(&self, word: Word) {
        if self.state().link {
            self.send(word);
        }
    }

    /// Takes in what the peer says.
    pub(super) fn heard(&self, word: Word) {
        let now = SystemTime::now();
        let mut state = self.state();
        match word {
            Word::Told(told) => self.take_in(&mut state, *told, now),
            Word::Claim { service, number } => {
                let refused = certificates::claimed(&state, &service, number, now);
                self.send(Word::Claimed {
                    service,
                    number,
                    refused: refused.map(seconds),
                });
            }
            Word::Claimed {
                service,
                number,
                refused,
            } => {
                let refused = refused.map(|wait| Duration::from_secs(wait.into()));
                let waited = certificates::answered(&state, &service, (number, refused), now);
                if !waited {
                    // The peer is to know that nothing was begun on that.
                    self.tell_now(&mut state, now);
                }
            }
            Word::Want {
                service,
                fingerprint,
            } => {
                let bytes = certificates::give(&state, &service, fingerprint);
                self.send(Word::File { service, bytes });
            }
            Word::File { service, bytes } => {
                if self.take(&mut state, &service, bytes, now) {
                    self.tell_now(&mut state, now);
                }
                self.want(&mut state, now);
            }
            Word::Serves(serial) => {
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

    fn take_in(&self, state: &mut ExchangeState, told: Told, now: SystemTime) {
        let first = !state.spoke;
        state.spoke = true;
        state.peer = Some(told.node.clone());
        self.answer(state, &told);
        let Some(settings) = state.settings.clone() else {
            return;
        };
        let same_directory = settings.directory == told.directory;
        if first && !same_directory {
            tracing::warn!(
                "the hosts of the pair obtain certificates from two directories, {} here and {} on \
                 {}: neither gets what the other one obtains; give both the same `acme.directory`",
                settings.directory,
                told.directory,
                told.node
            );
        }
        if same_directory {
            let store = Store::new(settings.folder());
            let part = state.part;
            state.account.take_in(&store, part, &told);
        }
        let mut certificates = told.certificates;
        for (name, slot) in &state.slots {
            let told = certificates.remove(name.as_str());
            certificates::take_in(slot, told.filter(|_| same_directory), now);
        }
        self.want(state, now);
    }

    /// Tells, and returns the serial; `None` where there is no link.
    fn tell_now(&self, state: &mut ExchangeState, now: SystemTime) -> Option<u64> {
        let settings = state.settings.as_ref()?;
        if !state.link {
            return None;
        }
        let certificates = state.slots.iter().map(|(name, slot)| {
            let mut state = slot.state();
            let told = ToldCertificate {
                certificate: state.certificate,
                record: state.renewal.record().clone(),
                under_way: state.renewal.turn().lasts(now).map(seconds),
            };
            (name.to_string(), told)
        });
        let certificates = certificates.collect();
        state.serial += 1;
        self.send(Word::Told(Box::new(Told {
            serial: state.serial,
            node: state.host.as_ref().map(Name::to_string).unwrap_or_default(),
            directory: settings.directory.clone(),
            active: state.part == Part::Active,
            account: account::read(&Store::new(settings.folder())).map(Secret),
            certificates,
            responses: state.responses.keys().cloned().collect(),
        })));
        Some(state.serial)
    }

    fn send(&self, word: Word) {
        // The agent is stopping: the peer learns of that by the link.
        let _gone = self.0.words.send(word);
    }

    fn state(&self) -> MutexGuard<'_, ExchangeState> {
        // Each change leaves what another thread can go on with.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
