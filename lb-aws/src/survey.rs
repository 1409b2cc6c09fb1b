//! Facts about AWS that `lb doctor` reports and that moving the Elastic IP does not need: reading
//! them takes permissions beyond those of the smallest policy, or is done only once.

use std::net::Ipv4Addr;

use aws_sdk_ec2::types::{HttpTokensState, IpPermission, NetworkInterface, Reservation};

use super::{ApiError, Ec2, Operation, Settings, metadata, sdk::Sdk};

/// A rule of a security group for packets that arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InboundRule {
    /// ID of the security group that has the rule.
    pub group: String,
    /// The IP protocol: a number, `tcp`, `udp`, `icmp`, or `-1` for all.
    pub protocol: String,
    /// The first and last port; `None` for protocols without ports, and for all ports.
    pub ports: Option<(u16, u16)>,
    /// Networks from which the rule admits packets, in CIDR notation.
    pub networks: Vec<String>,
    /// Security groups from whose members the rule admits packets.
    pub groups: Vec<String>,
}

/// The settings of the instance metadata service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetadataOptions {
    /// ID of the instance that the settings are of.
    pub instance: String,
    /// Whether requests to the metadata service need a token: only version 2 of it is allowed.
    pub requires_token: bool,
    /// How many hosts a response with a token may pass; each container network is one. `None` if
    /// the EC2 API does not say.
    pub hop_limit: Option<i32>,
}

/// Reads the instance id from the metadata service, with a token (version 2).
///
/// # Errors
/// The service does not answer, or refuses.
pub async fn instance_id(settings: &Settings) -> Result<String, ApiError> {
    let sdk = Sdk::new(settings.metadata_endpoint.as_deref())?;
    metadata::read(&sdk.metadata, "instance-id").await
}

impl Ec2 {
    /// Returns the public address of the Elastic IP; `None` if the EC2 API does not say.
    ///
    /// # Errors
    /// The call failed.
    pub async fn public_ip(&self) -> Result<Option<Ipv4Addr>, ApiError> {
        let call = self
            .client
            .describe_addresses()
            .allocation_ids(&self.allocation_id)
            .send()
            .await;
        let described = call.map_err(|error| {
            ApiError::of_call(Operation::DescribeAddresses, &self.allocation_id, &error)
        })?;
        let address = described.addresses().first();
        Ok(address.and_then(|address| address.public_ip()?.parse().ok()))
    }

    /// Returns the inbound rules of the security groups of this host's interface. Needs the
    /// permission `ec2:DescribeSecurityGroups`.
    ///
    /// # Errors
    /// A call failed.
    pub async fn inbound_rules(&self) -> Result<Vec<InboundRule>, ApiError> {
        let interface = &self.identity.interface;
        let described = self
            .client
            .describe_network_interfaces()
            .network_interface_ids(interface)
            .send()
            .await
            .map_err(|error| {
                ApiError::of_call(Operation::DescribeNetworkInterfaces, interface, &error)
            })?;
        let groups: Vec<String> = described
            .network_interfaces()
            .iter()
            .flat_map(NetworkInterface::groups)
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect();
        let subject = groups.join(", ");
        let described = self
            .client
            .describe_security_groups()
            .set_group_ids(Some(groups))
            .send()
            .await
            .map_err(|error| {
                ApiError::of_call(Operation::DescribeSecurityGroups, &subject, &error)
            })?;
        let rules = described.security_groups().iter().flat_map(|group| {
            let id = group.group_id().unwrap_or_default();
            group.ip_permissions().iter().map(|rule| inbound(id, rule))
        });
        Ok(rules.collect())
    }

    /// Returns the settings of the metadata service of this instance. Needs the permission
    /// `ec2:DescribeInstances`. `None` if the instance is not known, or the EC2 API does not say.
    ///
    /// # Errors
    /// The call failed.
    pub async fn metadata_options(&self) -> Result<Option<MetadataOptions>, ApiError> {
        let Some(instance) = &self.identity.instance else {
            return Ok(None);
        };
        let described = self
            .client
            .describe_instances()
            .instance_ids(instance)
            .send()
            .await
            .map_err(|error| ApiError::of_call(Operation::DescribeInstances, instance, &error))?;
        let mut instances = described
            .reservations()
            .iter()
            .flat_map(Reservation::instances);
        let options = instances.find_map(|instance| instance.metadata_options());
        Ok(options.map(|options| MetadataOptions {
            instance: instance.clone(),
            requires_token: options.http_tokens() == Some(&HttpTokensState::Required),
            hop_limit: options.http_put_response_hop_limit(),
        }))
    }
}

fn inbound(group: &str, rule: &IpPermission) -> InboundRule {
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let v4 = rule.ip_ranges().iter().filter_map(|range| range.cidr_ip());
    let v6 = rule
        .ipv6_ranges()
        .iter()
        .filter_map(|range| range.cidr_ipv6());
    let groups = rule.user_id_group_pairs().iter();
    InboundRule {
        group: group.to_owned(),
        protocol: rule.ip_protocol().unwrap_or_default().to_owned(),
        ports: port(rule.from_port()).zip(port(rule.to_port())),
        networks: v4.chain(v6).map(str::to_owned).collect(),
        groups: groups
            .filter_map(|pair| pair.group_id().map(str::to_owned))
            .collect(),
    }
}
