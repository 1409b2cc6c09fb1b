//! The exchange of certificates with the peer: decides which of the two hosts may order a
//! certificate, and copies newer certificates to the host that lacks them.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Exchange, ExchangeState};
use crate::{
    acme::{
        CertificateDetails,
        managed::{ManagedCertificate, usable},
        peer_message::{CertificateId, CertificateState, MOST_FILE_BYTES, PeerMessage, Secret},
    },
    config::Name,
};

/// Takes over the state of a certificate that the peer sent. `told` is `None` if the peer does not
/// manage this certificate.
pub(super) fn apply(managed: &ManagedCertificate, told: Option<CertificateState>, now: SystemTime) {
    let mut state = managed.state();
    let before = state.renewal.record().clone();
    let order_lock = state.renewal.order_lock();
    order_lock.peer_message_received();
    let lasts = told.as_ref().and_then(|told| told.under_way);
    order_lock.peer_order_reported(lasts.map(|lasts| Duration::from_secs(lasts.into())), now);
    if let Some(told) = &told {
        let same = told.certificate == state.certificate;
        state.renewal.merge_peer_record(&told.record, same, now);
    }
    state.peer_state = told;
    if *state.renewal.record() != before {
        managed.try_to_keep_record(&state);
    }
    drop(state);
    managed.changed.notify_one();
}

/// Handles the peer's claim of the lock that permits an order. Returns `None` if the claim is
/// granted, otherwise how long this host may still hold the lock.
pub(super) fn claimed(
    state: &ExchangeState,
    service: &str,
    number: u64,
    now: SystemTime,
) -> Option<Duration> {
    // This host does not know the service, so it cannot order a certificate for it: the peer gets
    // the order lock.
    let managed = find(state, service)?;
    let mut state = managed.state();
    let refused = state.renewal.peer_claims(number, now).err();
    if refused.is_none() {
        managed.try_to_keep_record(&state);
    }
    drop(state);
    managed.changed.notify_one();
    refused
}

/// Handles the peer's reply to a claim of the order lock. Returns false if this host has no such
/// claim pending.
pub(super) fn answered(
    state: &ExchangeState,
    service: &str,
    (number, refused): (u64, Option<Duration>),
    now: SystemTime,
) -> bool {
    let Some(managed) = find(state, service) else {
        return false;
    };
    let waited = managed
        .state()
        .renewal
        .order_lock()
        .answered(number, refused, now);
    managed.changed.notify_one();
    waited
}

/// Returns the certificate file that the peer requests; `None` if it has another certificate by now
/// or cannot be read.
pub(super) fn read_for_peer(
    state: &ExchangeState,
    service: &str,
    fingerprint: [u8; 32],
) -> Option<Secret> {
    let managed = find(state, service)?;
    let given = {
        // The lock of the state is held while the file is read, so that the file is not replaced
        // meanwhile.
        let state = managed.state();
        let id = state.certificate.filter(|id| id.fingerprint == fingerprint);
        id.ok_or_else(|| "the file holds another certificate by now".to_owned())
            .and_then(|_id| read(managed))
    };
    match given {
        Ok(bytes) => {
            tracing::info!(service, "sent the certificate to the peer");
            Some(Secret(bytes))
        }
        Err(error) => {
            tracing::warn!(service, error, "did not send the certificate to the peer");
            None
        }
    }
}

fn read(managed: &ManagedCertificate) -> Result<Vec<u8>, String> {
    let bytes = fs::read(&managed.plan.obtained.file).map_err(|error| error.to_string())?;
    if bytes.len() > MOST_FILE_BYTES {
        return Err(format!("the file has more than {MOST_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

impl Exchange {
    /// Requests one certificate file from the peer, if the peer has a newer certificate for any
    /// service. Only one request is pending at a time, to bound the data that the peer queues for
    /// sending.
    pub(super) fn request_newer(&self, state: &mut ExchangeState, now: SystemTime) {
        if state.requested.is_some() {
            return;
        }
        let newer = state.managed.iter().find_map(|(name, managed)| {
            let state = managed.state();
            let theirs = state.peer_state.as_ref()?.certificate?;
            let is_wanted = state.certificate < Some(theirs)
                && state.rejected != Some(theirs.fingerprint)
                && !theirs.is_over(now);
            is_wanted.then(|| (name.clone(), theirs))
        });
        if let Some((name, id)) = newer {
            self.enqueue(PeerMessage::FileRequest {
                service: name.to_string(),
                fingerprint: id.fingerprint,
            });
            state.requested = Some((name, id));
        }
    }

    /// Installs a certificate file that the peer sent on request. Returns whether it was installed.
    pub(super) fn install_received(
        &self,
        state: &mut ExchangeState,
        service: &str,
        bytes: Option<Secret>,
        now: SystemTime,
    ) -> bool {
        let wanted = state
            .requested
            .take_if(|(name, _)| name.as_str() == service);
        let Some((name, wanted)) = wanted else {
            tracing::warn!(
                service,
                "the peer sent a certificate that was not requested"
            );
            return false;
        };
        let Some(managed) = state.managed.get(&name) else {
            return false;
        };
        match put_in_place(managed, wanted, bytes, now) {
            Ok(details) => {
                let until = humantime::format_rfc3339_seconds(details.validity.not_after);
                tracing::info!(
                    service, %until, event = "certificate_received",
                    "installed the certificate from the peer"
                );
                self.0
                    .statuses
                    .change(&name, |status| status.failure = None);
                // Sending fails if the agent is stopping. The agent that is started next finds the
                // certificate file.
                let _gone = self.0.renewed.send(name);
                true
            }
            Err(error) => {
                tracing::warn!(
                    service,
                    error,
                    "did not install the certificate from the peer"
                );
                managed.state().rejected = Some(wanted.fingerprint);
                false
            }
        }
    }
}

fn put_in_place(
    managed: &ManagedCertificate,
    wanted: CertificateId,
    bytes: Option<Secret>,
    now: SystemTime,
) -> Result<CertificateDetails, String> {
    let Some(Secret(bytes)) = bytes else {
        return Err("the peer no longer has it".to_owned());
    };
    if bytes.len() > MOST_FILE_BYTES {
        return Err(format!("it is larger than {MOST_FILE_BYTES} bytes"));
    }
    let details = usable(&managed.plan, managed.inspect, &bytes)?;
    if details.id() != wanted {
        return Err("it is not the certificate that was requested".to_owned());
    }
    let mut state = managed.state();
    if state.certificate >= Some(wanted) {
        return Err("the installed one is as new".to_owned());
    }
    managed
        .install(&mut state, &bytes, &details)
        .map_err(|error| error.to_string())?;
    state.renewal.certificate_installed(details.validity);
    if let Some(peer_state) = state.peer_state.clone()
        && peer_state.certificate == Some(wanted)
    {
        state
            .renewal
            .merge_peer_record(&peer_state.record, true, now);
    }
    managed.try_to_keep_record(&state);
    drop(state);
    managed.changed.notify_one();
    Ok(details)
}

fn find<'s>(state: &'s ExchangeState, service: &str) -> Option<&'s Arc<ManagedCertificate>> {
    state.managed.get(&Name::parse(service)?)
}
