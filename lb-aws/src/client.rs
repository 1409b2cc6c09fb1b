//! Calls of the EC2 API.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use aws_sdk_ec2::{
    error::{ProvideErrorMetadata, SdkError},
    types::{Address, NetworkInterface},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{ApiError, ErrorKind, Identity, Operation, Settings, counters::Recorder, sdk::Sdk};

/// A client of the EC2 API for this host.
///
/// Each method makes its calls in sequence, each limited to 1.5 s, without retries. Dropping a
/// method's future abandons its call, which AWS may still carry out.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub(super) client: aws_sdk_ec2::Client,
    pub(super) allocation_id: String,
    pub(super) identity: Identity,
    pub(super) moves_private_ip: bool,
    recorder: Arc<Recorder>,
}

/// The owner of the Elastic IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This host: its interface and its private address.
    Us,
    /// The Elastic IP is not associated.
    Nobody,
    /// Another host, or another private address of this host.
    Other {
        /// The network interface.
        interface: Option<String>,
        /// The instance.
        instance: Option<String>,
        /// The private address.
        private_ip: Option<Ipv4Addr>,
    },
}

impl From<&Owner> for lb_ha::elastic::Owner {
    fn from(owner: &Owner) -> Self {
        match owner {
            Owner::Us => Self::Us,
            Owner::Nobody => Self::Nobody,
            Owner::Other { .. } => Self::Other,
        }
    }
}

impl Ec2 {
    /// Resolves this host's identity and obtains credentials. Makes no call of the EC2 API.
    ///
    /// # Errors
    /// The metadata service is needed and does not answer or lacks a value, or there are no
    /// credentials.
    pub async fn connect(settings: &Settings) -> Result<Self, ApiError> {
        Self::connect_with(settings, Arc::default()).await
    }

    pub(super) async fn connect_with(
        settings: &Settings,
        recorder: Arc<Recorder>,
    ) -> Result<Self, ApiError> {
        let sdk = Sdk::new(settings)?;
        let identity = Identity::find(settings, &sdk.metadata).await?;
        let endpoint = settings.endpoint.as_deref();
        Ok(Self {
            client: sdk.ec2(identity.region(), endpoint).await?,
            allocation_id: settings.allocation_id.clone(),
            identity,
            moves_private_ip: settings.moves_private_ip,
            recorder,
        })
    }

    /// Returns this host's identity in AWS.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Associates the Elastic IP with this host, whoever owns it; if it moves with its private
    /// address, that is assigned first. Success means that AWS has accepted the request:
    /// [`Self::describe`] confirms it.
    ///
    /// # Errors
    /// A call failed. After [`ErrorKind::TimedOut`] it may have been carried out.
    pub async fn associate(&self) -> Result<(), ApiError> {
        if self.moves_private_ip {
            self.assign_private_ip().await?;
        }
        let subject = format!(
            "{} for {} and {}",
            self.allocation_id, self.identity.interface, self.identity.private_ip
        );
        let call = self
            .client
            .associate_address()
            .allocation_id(&self.allocation_id)
            .network_interface_id(&self.identity.interface)
            .private_ip_address(self.identity.private_ip.to_string())
            .allow_reassociation(true)
            .send();
        self.counted(Operation::AssociateAddress, &subject, call)
            .await
            .map(drop)
    }

    /// Returns the owner of the Elastic IP. The answer may be some seconds old.
    ///
    /// # Errors
    /// The call failed.
    pub async fn describe(&self) -> Result<Owner, ApiError> {
        let call = self
            .client
            .describe_addresses()
            .allocation_ids(&self.allocation_id)
            .send();
        let described = self
            .counted(Operation::DescribeAddresses, &self.allocation_id, call)
            .await?;
        let address = described.addresses().first().ok_or_else(|| {
            let why = format!(
                "DescribeAddresses on {} returned no address; check allocation_id in \
                 [ha.elastic_ip]",
                self.allocation_id
            );
            ApiError::new(ErrorKind::Invalid, why)
        })?;
        Ok(self.owner(address))
    }

    /// Assigns the private address to this host's interface, wherever it is. Whether it is assigned
    /// already is checked only if AWS refuses, because that check costs time in a failover.
    async fn assign_private_ip(&self) -> Result<(), ApiError> {
        let Identity {
            interface,
            private_ip,
            ..
        } = &self.identity;
        let call = self
            .client
            .assign_private_ip_addresses()
            .network_interface_id(interface)
            .private_ip_addresses(private_ip.to_string())
            .allow_reassignment(true)
            .send();
        let subject = format!("{private_ip} for {interface}");
        let assigned = self
            .counted(Operation::AssignPrivateIpAddresses, &subject, call)
            .await;
        match assigned {
            Err(error) if error.kind == ErrorKind::Invalid => {
                // The response of AWS for an address that is assigned already is not documented.
                if self.private_addresses().await?.contains(private_ip) {
                    return Ok(());
                }
                Err(error)
            }
            other => other.map(drop),
        }
    }

    /// Returns the private addresses of this host's interface.
    pub(super) async fn private_addresses(&self) -> Result<Vec<Ipv4Addr>, ApiError> {
        let interface = &self.identity.interface;
        let call = self
            .client
            .describe_network_interfaces()
            .network_interface_ids(interface)
            .send();
        let described = self
            .counted(Operation::DescribeNetworkInterfaces, interface, call)
            .await?;
        Ok(described
            .network_interfaces()
            .iter()
            .flat_map(NetworkInterface::private_ip_addresses)
            .filter_map(|address| address.private_ip_address()?.parse().ok())
            .collect())
    }

    fn owner(&self, address: &Address) -> Owner {
        let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let interface = named(address.network_interface_id());
        let instance = named(address.instance_id());
        let private_ip = address
            .private_ip_address()
            .and_then(|address| address.parse().ok());
        if interface.is_none() && instance.is_none() {
            return Owner::Nobody;
        }
        let ours = interface.as_ref() == Some(&self.identity.interface)
            && private_ip == Some(self.identity.private_ip);
        if ours {
            return Owner::Us;
        }
        Owner::Other {
            interface,
            instance,
            private_ip,
        }
    }

    async fn counted<T, E>(
        &self,
        operation: Operation,
        subject: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ApiError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let began = Instant::now();
        let result = call
            .await
            .map_err(|error| ApiError::of_call(operation, subject, &error));
        self.recorder.ended(operation, began.elapsed(), &result);
        result
    }
}
