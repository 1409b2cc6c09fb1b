//! The certificates: whose turn it is to order one, and the newer one for the host that has it not.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Exchange, ExchangeState};
use crate::{
    acme::{
        Facts,
        slot::{Slot, usable},
        word::{CertificateId, MOST_FILE_BYTES, Secret, ToldCertificate, Word},
    },
    config::Name,
};

/// The peer tells of a certificate; `None`: it keeps none for that service.
pub(super) fn take_in(slot: &Slot, told: Option<ToldCertificate>, now: SystemTime) {
    let mut state = slot.state();
    let before = state.renewal.record().clone();
    let turn = state.renewal.turn();
    turn.peer_spoke();
    let lasts = told.as_ref().and_then(|told| told.under_way);
    turn.peer_orders(lasts.map(|lasts| Duration::from_secs(lasts.into())), now);
    if let Some(told) = &told {
        let same = told.certificate == state.certificate;
        state.renewal.peer_tells(&told.record, same, now);
    }
    state.heard = told;
    if *state.renewal.record() != before {
        slot.try_to_keep_record(&state);
    }
    drop(state);
    slot.changed.notify_one();
}

/// The peer claims the turn: for how long it is refused.
pub(super) fn claimed(
    state: &ExchangeState,
    service: &str,
    number: u64,
    now: SystemTime,
) -> Option<Duration> {
    // A service that is not known here is not ordered for here.
    let slot = find(state, service)?;
    let mut state = slot.state();
    let refused = state.renewal.peer_claims(number, now).err();
    if refused.is_none() {
        slot.try_to_keep_record(&state);
    }
    drop(state);
    slot.changed.notify_one();
    refused
}

/// The peer answered a claim. False where nobody waits for that.
pub(super) fn answered(
    state: &ExchangeState,
    service: &str,
    (number, refused): (u64, Option<Duration>),
    now: SystemTime,
) -> bool {
    let Some(slot) = find(state, service) else {
        return false;
    };
    let waited = slot.state().renewal.turn().answered(number, refused, now);
    slot.changed.notify_one();
    waited
}

/// The certificate file that the peer asks for.
pub(super) fn give(state: &ExchangeState, service: &str, fingerprint: [u8; 32]) -> Option<Secret> {
    let slot = find(state, service)?;
    let given = {
        // Held, so that the file is not replaced meanwhile.
        let state = slot.state();
        let id = state.certificate.filter(|id| id.fingerprint == fingerprint);
        id.ok_or_else(|| "there is another certificate by now".to_owned())
            .and_then(|_id| read(slot))
    };
    match given {
        Ok(bytes) => {
            tracing::info!(service, "gave the certificate to the peer");
            Some(Secret(bytes))
        }
        Err(error) => {
            tracing::warn!(service, "did not give the certificate to the peer: {error}");
            None
        }
    }
}

fn read(slot: &Slot) -> Result<Vec<u8>, String> {
    let bytes = fs::read(&slot.plan.obtained.file).map_err(|error| error.to_string())?;
    if bytes.len() > MOST_FILE_BYTES {
        return Err(format!("the file has more than {MOST_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

impl Exchange {
    /// Asks for the next certificate of the peer that is newer. One at a time, so that what waits to
    /// be sent is bounded.
    pub(super) fn want(&self, state: &mut ExchangeState, now: SystemTime) {
        if state.wanting.is_some() {
            return;
        }
        let newer = state.slots.iter().find_map(|(name, slot)| {
            let state = slot.state();
            let theirs = state.heard.as_ref()?.certificate?;
            let is_wanted = state.certificate < Some(theirs)
                && state.unfit != Some(theirs.fingerprint)
                && !theirs.is_over(now);
            is_wanted.then(|| (name.clone(), theirs))
        });
        if let Some((name, id)) = newer {
            self.send(Word::Want {
                service: name.to_string(),
                fingerprint: id.fingerprint,
            });
            state.wanting = Some((name, id));
        }
    }

    /// Takes a certificate that was asked for. True when it is in place.
    pub(super) fn take(
        &self,
        state: &mut ExchangeState,
        service: &str,
        bytes: Option<Secret>,
        now: SystemTime,
    ) -> bool {
        let wanted = state.wanting.take_if(|(name, _)| name.as_str() == service);
        let Some((name, wanted)) = wanted else {
            tracing::warn!(service, "the peer sent a certificate that nobody asked for");
            return false;
        };
        let Some(slot) = state.slots.get(&name) else {
            return false;
        };
        match put_in_place(slot, wanted, bytes, now) {
            Ok(facts) => {
                let until = humantime::format_rfc3339_seconds(facts.validity.not_after);
                tracing::info!(service, %until, "installed the certificate from the peer");
                self.0
                    .board
                    .change(&name, |progress| progress.failure = None);
                // The agent is stopping: the next one finds the file.
                let _gone = self.0.renewed.send(name);
                true
            }
            Err(error) => {
                tracing::warn!(
                    service,
                    "did not take the certificate over from the peer: {error}"
                );
                slot.state().unfit = Some(wanted.fingerprint);
                false
            }
        }
    }
}

fn put_in_place(
    slot: &Slot,
    wanted: CertificateId,
    bytes: Option<Secret>,
    now: SystemTime,
) -> Result<Facts, String> {
    let Some(Secret(bytes)) = bytes else {
        return Err("it does not have it any more".to_owned());
    };
    if bytes.len() > MOST_FILE_BYTES {
        return Err(format!("it has more than {MOST_FILE_BYTES} bytes"));
    }
    let facts = usable(&slot.plan, slot.inspect, &bytes)?;
    if facts.id() != wanted {
        return Err("it is another one than it told of".to_owned());
    }
    let mut state = slot.state();
    if state.certificate >= Some(wanted) {
        return Err("the one that is here is as new".to_owned());
    }
    slot.install(&mut state, &bytes, &facts)
        .map_err(|error| error.to_string())?;
    state.renewal.took_over(facts.validity);
    if let Some(heard) = state.heard.clone()
        && heard.certificate == Some(wanted)
    {
        state.renewal.peer_tells(&heard.record, true, now);
    }
    slot.try_to_keep_record(&state);
    drop(state);
    slot.changed.notify_one();
    Ok(facts)
}

fn find<'s>(state: &'s ExchangeState, service: &str) -> Option<&'s Arc<Slot>> {
    state.slots.get(&Name::parse(service)?)
}
