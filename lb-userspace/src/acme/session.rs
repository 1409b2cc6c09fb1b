//! One ACME account at one directory, and the orders placed with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, CertificateIdentifier, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;

use super::{
    Window,
    client::{Client, ClientError, RetryAfter},
    dns::{DnsError, TxtRecord},
    exchange::Exchange,
    store::{Store, StoreError},
};
use crate::{
    config::{Acme, AcmeChallenge, ExternalAccount},
    private_file,
};

/// Time limit for an order, including validation. An order with DNS-01 may take longer by the
/// configured wait for DNS, and by `COMMANDS_TIMEOUT` for all DNS commands together.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(1200);
/// How often and how long the directory is polled for the result of validation and issuance.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));
/// How often a request is tried at most while the directory rejects its nonce. `instant-acme` sends
/// each request up to three times, and the last one of an order is two requests that both need a
/// valid nonce: if nine of ten nonces are rejected, one attempt in fourteen succeeds. A rejected
/// nonce costs nothing at the directory (RFC 8555 §6.5).
const NONCE_TRIES: u32 = 250;
/// Size limit in bytes of the file with the MAC key of an external account.
const MOST_KEY_BYTES: u64 = 4096;

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why the order of a certificate failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("the directory: {0}")]
    Directory(#[from] Error),
    #[error("the directory offers no challenge {challenge} for {name}")]
    NoChallenge {
        name: String,
        challenge: &'static str,
    },
    #[error("the directory could not validate {0}")]
    Invalid(String),
    #[error("no certificate within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Dns(#[from] DnsError),
    #[error("dns-01 was requested without a dns_command")]
    NoDnsCommand,
    #[error("the directory does not offer the profile {wanted:?}: {}", offered_in_words(.offered))]
    NoProfile {
        wanted: String,
        offered: Vec<String>,
    },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("cannot use `acme.eab_key_file` {0}")]
    ExternalAccount(String),
    #[error("{0}")]
    SelfSignedError(#[from] super::SelfSignedError),
    #[error("cannot make a key and its request: {0}")]
    Request(#[from] rcgen::Error),
    #[error("what the directory issued cannot be served: {0}")]
    Unfit(String),
}

impl OrderError {
    /// Returns whether the directory could not be reached or failed itself (a status of 5xx), as
    /// opposed to rejecting a request.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Directory(Error::Api(problem)) => problem.status.is_some_and(|code| code >= 500),
            Self::Directory(error) => !matches!(error, Error::Timeout(_)),
            _ => false,
        }
    }

    fn is_about_account(&self) -> bool {
        matches!(self, Self::Directory(Error::Api(problem))
            if problem.r#type.as_deref() == Some(NO_ACCOUNT))
    }
}

/// Sends a request again as long as the directory rejects its nonce, at most `NONCE_TRIES` times.
macro_rules! with_good_nonce {
    ($request:expr) => {{
        let mut tries = 1;
        loop {
            match $request.await {
                Err(Error::Api(problem)) if is_bad_nonce(&problem) && tries < NONCE_TRIES => {
                    tries += 1;
                }
                other => break other,
            }
        }
    }};
}

// The module `validation` is declared after the macro `with_good_nonce` because it uses this macro.
mod validation;

/// One ACME account at one directory.
pub(super) struct Session {
    settings: Acme,
    store: Store,
    exchange: Exchange,
    account: Option<Account>,
    /// The shared counter of changes of the account on disk, and the counter's value when `account`
    /// was read.
    accounts: (Arc<AtomicU64>, u64),
    retry_after: RetryAfter,
    /// The TXT records that were set for the current order, each with the output of the command
    /// that set it.
    records: Vec<(TxtRecord, String)>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(settings: Acme, exchange: Exchange) -> Self {
        Self {
            store: Store::new(settings.folder()),
            settings,
            accounts: (exchange.accounts_taken(), 0),
            exchange,
            account: None,
            retry_after: RetryAfter::default(),
            records: Vec::new(),
        }
    }

    /// Orders a certificate for these names, which the directory validates by this challenge.
    /// Returns the certificate's chain and key as PEM. `replaces` is the certificate to be
    /// replaced, for directories that support it (RFC 9773 §5).
    pub(super) async fn order(
        &mut self,
        domains: &[String],
        challenge: AcmeChallenge,
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<String, OrderError> {
        let mut outcome = self.order_in_time(domains, challenge, replaces).await;
        if let Err(error) = &outcome
            && error.is_about_account()
        {
            tracing::warn!(%error, "the ACME directory no longer knows this account");
            self.account = None;
            self.exchange.forget_account(&self.store);
            self.store.forget_account()?;
            outcome = self.order_in_time(domains, challenge, replaces).await;
        }
        if let Err(error) = &outcome
            && (error.is_unreachable() || matches!(error, OrderError::NoProfile { .. }))
        {
            // After a failure that may come from changed URLs or profiles of the directory, the
            // next order reads them again.
            self.account = None;
        }
        outcome
    }

    async fn order_in_time(
        &mut self,
        domains: &[String],
        challenge: AcmeChallenge,
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<String, OrderError> {
        let hook = self.settings.dns.as_ref();
        let longer = hook.filter(|_| challenge == AcmeChallenge::Dns01);
        let longer = longer.map(|hook| hook.propagation + COMMANDS_TIMEOUT);
        let limit = ORDER_TIMEOUT + longer.unwrap_or_default();
        let ordered = self.order_by_account(domains, challenge, replaces);
        let outcome = tokio::time::timeout(limit, ordered).await;
        // The DNS records are removed after every outcome, also after a time-out.
        self.remove_records().await;
        outcome.unwrap_or(Err(OrderError::Timeout(limit)))
    }

    /// Returns the time that the directory named in its last refusal, before which it accepts no
    /// request; `None` if it named none.
    pub(super) fn retry_after(&self) -> Option<SystemTime> {
        self.retry_after.take()
    }

    /// Returns the suggested renewal window of this certificate, and how long this suggestion is
    /// valid; `None` if the directory offers none or does not answer.
    pub(super) async fn window(
        &mut self,
        certificate: &CertificateDer<'_>,
    ) -> Option<(Window, Duration)> {
        let id = CertificateIdentifier::try_from(certificate).ok()?;
        let account = self.account().await.ok()?;
        match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let [start, end] = [info.suggested_window.start, info.suggested_window.end];
                let [start, end] = [start, end].map(SystemTime::from);
                Some((Window { start, end }, again))
            }
            Err(Error::Unsupported(_)) => None,
            Err(error) => {
                tracing::info!(%error, "the ACME directory returned no renewal window");
                None
            }
        }
    }

    async fn order_by_account(
        &mut self,
        domains: &[String],
        challenge: AcmeChallenge,
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<String, OrderError> {
        let account = self.account().await?;
        let profile = self.settings.profile.clone();
        if let Some(wanted) = &profile {
            check_profile(&account, wanted)?;
        }
        let identifiers: Vec<_> = domains.iter().cloned().map(Identifier::Dns).collect();
        let new_order = || {
            let mut order = NewOrder::new(&identifiers);
            if let Some(profile) = &profile {
                order = order.profile(profile);
            }
            let id = replaces.and_then(|old| CertificateIdentifier::try_from(old).ok());
            match id {
                Some(id) => order.replaces(id.into_owned()),
                None => order,
            }
        };
        let mut order = with_good_nonce!(account.new_order(&new_order()))?;
        // The challenge responses are served until this guard is dropped, at the end of the order.
        let _served = self
            .answer_challenges(&mut order, domains, challenge)
            .await?;
        if with_good_nonce!(order.poll_ready(&POLLING))? == OrderStatus::Invalid {
            return Err(OrderError::Invalid(reasons(&mut order).await));
        }
        let (key, request) = key_and_request(domains)?;
        with_good_nonce!(order.finalize_csr(&request))?;
        let chain = with_good_nonce!(order.poll_certificate(&POLLING))?;
        Ok(chain + &key)
    }

    async fn account(&mut self) -> Result<Account, OrderError> {
        let taken = self.accounts.0.load(Relaxed);
        if let Some(account) = &self.account
            && taken == self.accounts.1
        {
            return Ok(account.clone());
        }
        self.accounts.1 = taken;
        let client = Client::new(self.settings.ca_file.as_deref(), &self.retry_after)?;
        let builder = || Account::builder_with_http(Box::new(client.clone()));
        let account = match self.store.account::<AccountCredentials>()? {
            Some(credentials) => builder().from_credentials(credentials).await?,
            None => {
                let contact = self.settings.email.as_ref();
                let contact: Vec<_> = contact
                    .map(|email| format!("mailto:{email}"))
                    .into_iter()
                    .collect();
                let contact: Vec<_> = contact.iter().map(String::as_str).collect();
                let new = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let bound = self.settings.external_account.as_ref();
                let bound = bound.map(external_account_key).transpose()?;
                let directory = &self.settings.directory;
                let (account, credentials) =
                    with_good_nonce!(builder().create(&new, directory.clone(), bound.as_ref()))?;
                self.store.keep_account(&credentials)?;
                self.exchange.publish();
                tracing::info!(directory, "created an ACME account");
                account
            }
        };
        self.account = Some(account.clone());
        Ok(account)
    }
}

/// Checks that the directory offers the certificate profile `wanted` (draft-ietf-acme-profiles §3).
fn check_profile(account: &Account, wanted: &str) -> Result<(), OrderError> {
    let offered = account.profiles().map(|profile| profile.name.to_owned());
    let mut offered: Vec<_> = offered.collect();
    if offered.iter().any(|profile| profile == wanted) {
        return Ok(());
    }
    offered.sort();
    let wanted = wanted.to_owned();
    Err(OrderError::NoProfile { wanted, offered })
}

fn offered_in_words(offered: &[String]) -> String {
    match offered {
        [] => "it offers none; leave `acme.profile` out".to_owned(),
        _ => format!(
            "it offers {}; write one of them in `acme.profile`, or leave that out",
            offered.join(", ")
        ),
    }
}

fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some(BAD_NONCE)
}

/// Fetches the state of all authorizations of an order. What was fetched stays in `order`: after an
/// error the next call fetches only what is missing.
async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        _ = authorization?;
    }
    Ok(())
}

/// Returns why the order became invalid, for each name, in the directory's words.
async fn reasons(order: &mut Order) -> String {
    let unknown = "a name, and does not say why".to_owned();
    if with_good_nonce!(fetch_authorizations(order)).is_err() {
        return unknown;
    }
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter();
        let problems = problems.filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    if reasons.is_empty() {
        unknown
    } else {
        reasons.join("; ")
    }
}

/// Generates a P-256 key, and a certificate request for these names that is signed with it. Returns
/// the key as PEM and the request as DER.
fn key_and_request(domains: &[String]) -> Result<(String, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new(domains)?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let request = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

fn external_account_key(account: &ExternalAccount) -> Result<ExternalAccountKey, OrderError> {
    let fail =
        |why: String| OrderError::ExternalAccount(format!("{}: {why}", account.key_file.display()));
    let text = private_file::read(&account.key_file, MOST_KEY_BYTES)
        .map_err(|error| fail(error.to_string()))?;
    let text: Vec<u8> = text
        .into_iter()
        .filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=')
        .collect();
    let key = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| fail("it is not base64url".to_owned()))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}
