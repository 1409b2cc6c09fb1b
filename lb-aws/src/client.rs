//! Makes the calls to the EC2 API that move the Elastic IP and find its owner.

use std::{fmt, net::Ipv4Addr, sync::Arc, time::Instant};

use aws_sdk_ec2::{
    error::{ProvideErrorMetadata, SdkError},
    types::{Address, NetworkInterface},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{
    ApiError, ErrorKind, Identity, Operation, Settings,
    counters::Recorder,
    sdk::{self, Sdk},
};

/// A client of the EC2 API for this host and its Elastic IP.
///
/// Each method makes its calls one after another, without retries; each call is limited to 1.5 s.
/// Dropping a method's future abandons the call in flight, which AWS may still carry out.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub(super) client: aws_sdk_ec2::Client,
    pub(super) allocation_id: String,
    pub(super) identity: Identity,
    pub(super) moves_private_ip: bool,
    recorder: Arc<Recorder>,
}

/// Who owns the Elastic IP: the network interface and private address that it is associated with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This host owns it: it is associated with this host's interface and configured private
    /// address.
    Us,
    /// It has no owner: it is not associated.
    Nobody,
    /// Another host owns it, or it is associated with another private address of this host.
    Other {
        /// The ID of the owner's network interface; `None` if AWS did not name it.
        interface: Option<String>,
        /// The ID of the owner's instance; `None` if AWS did not name it.
        instance: Option<String>,
        /// The private address that the Elastic IP is associated with; `None` if AWS did not name
        /// it.
        private_ip: Option<Ipv4Addr>,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Us => f.write_str("this host"),
            Self::Nobody => f.write_str("no host"),
            Self::Other {
                interface,
                instance,
                private_ip,
            } => {
                f.write_str("another host")?;
                if let Some(instance) = instance {
                    write!(f, ", instance {instance}")?;
                }
                if let Some(interface) = interface {
                    write!(f, ", interface {interface}")?;
                }
                if let Some(address) = private_ip {
                    write!(f, ", private address {address}")?;
                }
                Ok(())
            }
        }
    }
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
    /// Resolves this host's identity and obtains credentials. This makes no call to the EC2 API.
    ///
    /// # Errors
    /// The metadata service is needed and does not answer or lacks a value, or no credentials are
    /// found.
    pub async fn connect(settings: &Settings) -> Result<Self, ApiError> {
        Self::connect_with(settings, Arc::default()).await
    }

    pub(super) async fn connect_with(
        settings: &Settings,
        recorder: Arc<Recorder>,
    ) -> Result<Self, ApiError> {
        let sdk = Sdk::new(settings.metadata_endpoint.as_deref())?;
        let identity = Identity::find(settings, &sdk.metadata).await?;
        let shared = sdk.shared(identity.region(), sdk::ATTEMPT_LIMIT).await?;
        Ok(Self {
            client: sdk::ec2(&shared, settings.endpoint.as_deref()),
            allocation_id: settings.allocation_id.clone(),
            identity,
            moves_private_ip: settings.moves_private_ip,
            recorder,
        })
    }

    /// Returns this host's identity in AWS: its region, interface, private address and instance.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Associates the Elastic IP with this host, whoever owns it; if the Elastic IP moves together
    /// with its private address, that address is assigned to this host first. Success means that
    /// AWS has accepted the request; [`Self::describe`] shows whether it was carried out.
    ///
    /// # Errors
    /// A call failed. A call that failed with [`ErrorKind::TimedOut`] may have been carried out.
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

    /// Returns who owns the Elastic IP. The answer of AWS may be some seconds old.
    ///
    /// # Errors
    /// The call to the EC2 API failed.
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

    /// Assigns the private address of the Elastic IP to this host's interface, wherever the address
    /// is now. Whether it is assigned there already is checked only if AWS refuses the call,
    /// because the check costs time in a failover.
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
                // AWS does not document whether it refuses to assign an address that is assigned
                // already, so that case is checked here.
                if self.private_addresses().await?.contains(private_ip) {
                    return Ok(());
                }
                Err(error)
            }
            other => other.map(drop),
        }
    }

    /// Returns the private addresses of this host's network interface.
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
