//! The validation of an order's names: challenge responses are set up before the directory is asked
//! to validate, and removed when the order has ended.

use std::time::Duration;

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, AuthorizedIdentifier, ChallengeHandle, ChallengeType,
    Error, Order,
};

use super::{NONCE_TRIES, OrderError, Session, fetch_authorizations, is_bad_nonce};
use crate::{
    acme::{Response, dns::TxtRecord, exchange::SharedOffer},
    config::AcmeChallenge,
};

/// Time limit for removing all DNS records of an order.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(300);

impl Session {
    /// Sets up the responses to all challenges of an order, and then asks the directory to
    /// validate. Returns the guards of the responses that the front serves.
    pub(super) async fn answer_challenges(
        &mut self,
        order: &mut Order,
        domains: &[String],
        challenge: AcmeChallenge,
    ) -> Result<Vec<SharedOffer>, OrderError> {
        with_good_nonce!(fetch_authorizations(order))?;
        let mut served = Vec::new();
        let mut records = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = plain_name(&authorization.identifier());
            let answer = find_challenge(&mut authorization, challenge)?;
            let key = answer.key_authorization();
            let response = match challenge {
                AcmeChallenge::TlsAlpn01 => Response::tls(&name, key.digest().as_ref())?,
                AcmeChallenge::Http01 => Response::Http {
                    token: answer.token.clone(),
                    key_authorization: key.as_str().to_owned(),
                },
                AcmeChallenge::Dns01 => {
                    records.push(TxtRecord::new(name, key.dns_value()));
                    continue;
                }
            };
            served.push(self.exchange.serve(response).await?);
        }
        if !records.is_empty() {
            self.set_records(records, domains).await?;
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Valid {
                let mut answer = find_challenge(&mut authorization, challenge)?;
                with_good_nonce!(answer.set_ready())?;
            }
        }
        Ok(served)
    }

    /// Sets all DNS records of the order, then waits once until name servers have them.
    async fn set_records(
        &mut self,
        records: Vec<TxtRecord>,
        domains: &[String],
    ) -> Result<(), OrderError> {
        let hook = self.settings.dns.clone().ok_or(OrderError::NoDnsCommand)?;
        let mut remaining = records.len();
        for record in records {
            remaining -= 1;
            // The record is noted before it is set, so that it is removed later even if the command
            // fails, which may have set it anyway.
            self.records.push((record.clone(), String::new()));
            let said = record.set(&hook, domains, remaining).await?;
            if let Some((_, last)) = self.records.last_mut() {
                *last = said;
            }
        }
        tokio::time::sleep(hook.propagation).await;
        Ok(())
    }

    /// Removes the DNS records that were set for the order. A record that cannot be removed does no
    /// harm; the failure is logged.
    pub(super) async fn remove_records(&mut self) {
        let records = std::mem::take(&mut self.records);
        let Some(hook) = &self.settings.dns else {
            return;
        };
        let removed = async {
            for (record, said) in &records {
                if let Err(error) = record.remove(hook, said).await {
                    tracing::warn!(%error, "cannot remove a DNS record of the order");
                }
            }
        };
        if tokio::time::timeout(CLEAN_UP_TIMEOUT, removed)
            .await
            .is_err()
        {
            tracing::warn!(limit = ?CLEAN_UP_TIMEOUT, "timeout while removing the DNS records of the order");
        }
    }
}

/// Returns the name that is validated; for a wildcard, the name without `*.`.
fn plain_name(identifier: &AuthorizedIdentifier<'_>) -> String {
    let name = identifier.to_string();
    name.strip_prefix("*.").map_or(name.clone(), str::to_owned)
}

fn find_challenge<'a>(
    authorization: &'a mut AuthorizationHandle<'a>,
    challenge: AcmeChallenge,
) -> Result<ChallengeHandle<'a>, OrderError> {
    let kind = match challenge {
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::Dns01 => ChallengeType::Dns01,
    };
    let name = authorization.identifier().to_string();
    authorization
        .challenge(kind)
        .ok_or(OrderError::NoChallenge {
            name,
            challenge: challenge.word(),
        })
}
