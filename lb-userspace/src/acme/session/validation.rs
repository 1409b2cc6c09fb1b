//! What an order is validated by: set and served before the directory is told to look, and taken back
//! when the order has ended.

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

/// All records removed.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(300);

impl Session {
    /// Has everything answered that the directory asks for, and then tells it to look.
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

    /// Sets all records, and waits for the DNS once.
    async fn set_records(
        &mut self,
        records: Vec<TxtRecord>,
        domains: &[String],
    ) -> Result<(), OrderError> {
        let hook = self.settings.dns.clone().ok_or(OrderError::NoDnsCommand)?;
        let mut remaining = records.len();
        for record in records {
            remaining -= 1;
            // Before it is set: a command that fails may have done half of it.
            self.records.push((record.clone(), String::new()));
            let said = record.set(&hook, domains, remaining).await?;
            if let Some((_, last)) = self.records.last_mut() {
                *last = said;
            }
        }
        tokio::time::sleep(hook.propagation).await;
        Ok(())
    }

    /// Removes the records that were set. What cannot be removed does no harm: it is said.
    pub(super) async fn remove_records(&mut self) {
        let records = std::mem::take(&mut self.records);
        let Some(hook) = &self.settings.dns else {
            return;
        };
        let removed = async {
            for (record, said) in &records {
                if let Err(error) = record.remove(hook, said).await {
                    tracing::warn!("{error}");
                }
            }
        };
        if tokio::time::timeout(CLEAN_UP_TIMEOUT, removed)
            .await
            .is_err()
        {
            tracing::warn!("not all records of the order were removed within {CLEAN_UP_TIMEOUT:?}");
        }
    }
}

/// The name that is validated; of a wildcard, the domain that it is in.
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
