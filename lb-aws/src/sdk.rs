//! The parts of the AWS SDK that all calls to AWS share: HTTP, time limits, credentials.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, SdkConfig, default_provider::credentials::DefaultCredentialsChain, imds,
    provider_config::ProviderConfig,
};
use aws_sdk_ec2::config::{
    IdentityCache, ProvideCredentials as _, Region, SharedCredentialsProvider, SharedHttpClient,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use super::{ApiError, ErrorKind, error::root_cause};

/// Time limit for establishing the connection of a call to the EC2 API.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Time limit for one call to the EC2 API about the Elastic IP, from connecting to its answer. A
/// failover waits for it.
pub(super) const ATTEMPT_LIMIT: Duration = Duration::from_millis(1500);

/// Time limit for one call that lists instances, from connecting to its answer. No failover waits
/// for it, and AWS may take seconds in an account with many instances.
pub(super) const LIST_LIMIT: Duration = Duration::from_secs(4);
const _: () = assert!(LIST_LIMIT.as_millis() < OPERATION_LIMIT.as_millis());

/// Time limit for one call to the EC2 API together with everything that the SDK does before and
/// after it, such as obtaining credentials.
const OPERATION_LIMIT: Duration = Duration::from_secs(5);

/// Time limit for a request to the metadata service. The service is on the same machine and answers
/// within milliseconds.
const METADATA_LIMIT: Duration = Duration::from_millis(400);

/// Time limit for renewing credentials. If the two requests that this takes fail, they must do so
/// within this time: only then does the SDK continue with the old credentials.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(1);
const _: () = assert!(2 * METADATA_LIMIT.as_millis() < CREDENTIALS_LIMIT.as_millis());
const _: () = assert!(CREDENTIALS_LIMIT.as_millis() < ATTEMPT_LIMIT.as_millis());

/// How often a request to the metadata service is tried: the second attempt is for an expired
/// token.
const METADATA_ATTEMPTS: u32 = 2;

/// The lifetime of a token of the metadata service that the agent asks for. Up to six hours are
/// possible, but if the service rejects a token early, the SDK keeps using it, and credentials
/// could not be renewed for all that time.
const TOKEN_LIFE: Duration = Duration::from_secs(10 * 60);

/// The HTTP client and the metadata client that all calls to AWS share.
pub(super) struct Sdk {
    http: SharedHttpClient,
    pub(super) metadata: imds::Client,
}

impl Sdk {
    /// Returns the parts of the SDK, with the metadata service at the URL `metadata_endpoint`;
    /// `None` for its usual URL.
    pub(super) fn new(metadata_endpoint: Option<&str>) -> Result<Self, ApiError> {
        let http = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            // Each call has its own connection. An idle connection may have been made through an
            // Elastic IP that has moved since, and would make the next call time out.
            .pool_max_idle_per_host(0)
            .build_https();
        let mut metadata = imds::Client::builder()
            .configure(&provider(&http))
            .connect_timeout(METADATA_LIMIT)
            .read_timeout(METADATA_LIMIT)
            .operation_attempt_timeout(METADATA_LIMIT)
            .operation_timeout(METADATA_LIMIT)
            .max_attempts(METADATA_ATTEMPTS)
            .token_ttl(TOKEN_LIFE);
        if let Some(endpoint) = metadata_endpoint {
            metadata = metadata.endpoint(endpoint).map_err(|error| {
                let why = format!("{endpoint} is not a valid URL for a metadata service: {error}");
                ApiError::new(ErrorKind::Invalid, why)
            })?;
        }
        Ok(Self {
            http,
            metadata: metadata.build(),
        })
    }

    /// Returns what the clients of all APIs of AWS share, with credentials that have been loaded
    /// already. `attempt_limit` is the time limit for one call, from connecting to its answer.
    pub(super) async fn shared(
        &self,
        region: Region,
        attempt_limit: Duration,
    ) -> Result<SdkConfig, ApiError> {
        let credentials = self.credentials(region.clone()).await?;
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .region(region)
            .credentials_provider(credentials)
            .identity_cache(
                IdentityCache::lazy()
                    .load_timeout(CREDENTIALS_LIMIT)
                    .build(),
            )
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_LIMIT)
                    .operation_attempt_timeout(attempt_limit)
                    .operation_timeout(OPERATION_LIMIT)
                    .build(),
            );
        Ok(shared.load().await)
    }

    /// Returns a provider of credentials, which takes them from the environment, a profile or the
    /// instance's role, in this order.
    async fn credentials(&self, region: Region) -> Result<SharedCredentialsProvider, ApiError> {
        let chain = DefaultCredentialsChain::builder()
            .configure(provider(&self.http))
            .region(region)
            .imds_client(self.metadata.clone())
            .build()
            .await;
        // The credentials are loaded once here, so that missing credentials are not mistaken for an
        // unreachable EC2 API.
        chain.provide_credentials().await.map_err(|error| {
            let why = format!(
                "could not get credentials for the EC2 API: {}; give the instance a role (an \
                 instance profile, docs/aws.md), or set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY",
                root_cause(&error)
            );
            ApiError::new(ErrorKind::Denied, why)
        })?;
        Ok(SharedCredentialsProvider::new(chain))
    }
}

/// Returns a client of the EC2 API at the URL `endpoint`; `None` for the region's own.
pub(super) fn ec2(shared: &SdkConfig, endpoint: Option<&str>) -> aws_sdk_ec2::Client {
    let mut config = aws_sdk_ec2::config::Builder::from(shared);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    aws_sdk_ec2::Client::from_conf(config.build())
}

/// Returns a client of the Auto Scaling API at the URL `endpoint`; `None` for the region's own.
pub(super) fn auto_scaling(
    shared: &SdkConfig,
    endpoint: Option<&str>,
) -> aws_sdk_autoscaling::Client {
    let mut config = aws_sdk_autoscaling::config::Builder::from(shared);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    aws_sdk_autoscaling::Client::from_conf(config.build())
}

fn provider(http: &SharedHttpClient) -> ProviderConfig {
    ProviderConfig::without_region().with_http_client(http.clone())
}
