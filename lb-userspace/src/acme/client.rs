//! The HTTPS client that talks to the ACME directory.

use std::{
    error::Error as StdError,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Time limit from sending a request to receiving the head of its response. A directory that works
/// answers within a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends HTTPS requests to the ACME directory. Clones share connections.
#[derive(Clone)]
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    retry_after: RetryAfter,
}

/// The time before which the directory accepts no request, from `Retry-After` in its last refusal
/// (RFC 8555 §6.6); `None` if that had none.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<SystemTime>>>);

impl RetryAfter {
    /// Returns the `Retry-After` time received since the last call, if any, and forgets it.
    pub(super) fn take(&self) -> Option<SystemTime> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client for the ACME directory could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("cannot read `acme.ca_file` {path}: {why}")]
    Authorities { path: String, why: String },
    #[error("cannot set up TLS for the ACME directory: {0}")]
    Tls(String),
}

impl Client {
    /// Creates a client that trusts the certificate authorities in `ca_file`; if that is `None`,
    /// those that the host trusts.
    pub(super) fn new(
        ca_file: Option<&Path>,
        retry_after: &RetryAfter,
    ) -> Result<Self, ClientError> {
        let builder = HttpsConnectorBuilder::new();
        let provider = aws_lc_rs::default_provider();
        let builder = match ca_file {
            Some(path) => builder.with_tls_config(trusting(path)?),
            None => builder
                .with_provider_and_native_roots(provider)
                .map_err(|error| ClientError::Tls(error.to_string()))?,
        };
        let connector = builder.https_only().enable_http1().enable_http2().build();
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            retry_after: retry_after.clone(),
        })
    }
}

fn trusting(path: &Path) -> Result<ClientConfig, ClientError> {
    let fail = |why: String| ClientError::Authorities {
        path: path.display().to_string(),
        why,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| fail(error.to_string()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fail(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fail("it contains no certificate".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, self.http.request(request));
        let retry_after = self.retry_after.clone();
        Box::pin(async move {
            let response = match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(Error::Other(chain(&error).into())),
                Err(_) => {
                    let text = format!("no answer within {REQUEST_TIMEOUT:?}");
                    return Err(Error::Other(text.into()));
                }
            };
            if matches!(response.status().as_u16(), 429 | 503) {
                *retry_after.lock() =
                    seconds(response.headers()).map(|wait| SystemTime::now() + wait);
            }
            Ok(BytesResponse::from(response))
        })
    }
}

/// Returns how long the header `Retry-After` asks to wait, at most a week; `None` if the header is
/// missing or has a date instead of seconds: the back-off after failures then applies.
fn seconds(headers: &http::HeaderMap) -> Option<Duration> {
    const WEEK: u64 = 7 * 24 * 3600;
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(WEEK)))
}

/// Formats an error together with all its sources, because the outermost error says only that
/// connecting failed.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
