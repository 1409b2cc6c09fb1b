//! The settings for moving the Elastic IP and for reaching the EC2 API.

use std::net::{IpAddr, Ipv4Addr};

use lb_config::ElasticIp;

/// The settings for moving the Elastic IP and for reaching the EC2 API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The allocation ID of the Elastic IP, `eipalloc-…`.
    pub allocation_id: String,
    /// The AWS region; `None` to ask the metadata service.
    pub region: Option<String>,
    /// The ID of this host's network interface, `eni-…`; `None` to ask the metadata service.
    pub network_interface_id: Option<String>,
    /// The private address that the Elastic IP is to be associated with; `None` for the primary
    /// address of the interface, which the metadata service knows.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether `private_ip` is a secondary address, which must move to this host before the Elastic
    /// IP does.
    pub moves_private_ip: bool,
    /// The URL of the EC2 API; `None` for that in the environment variable `AWS_ENDPOINT_URL_EC2`,
    /// or else the region's own URL.
    pub endpoint: Option<String>,
    /// The URL of the metadata service; `None` for that in the environment variable
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or else `http://169.254.169.254`.
    pub metadata_endpoint: Option<String>,
    /// An address of this host by which its interface is found. If this is `None`, or an address
    /// that no interface has, the instance's first interface is used.
    pub source: Option<Ipv4Addr>,
}

impl Settings {
    /// Returns the settings for the section `[ha.elastic_ip]` of the configuration, on a host whose
    /// adverts are sent from the address `source`.
    #[must_use]
    pub fn new(elastic_ip: &ElasticIp, source: IpAddr) -> Self {
        Self {
            allocation_id: elastic_ip.allocation_id.clone(),
            region: elastic_ip.region.clone(),
            network_interface_id: elastic_ip.network_interface_id.clone(),
            private_ip: elastic_ip.private_ip,
            moves_private_ip: elastic_ip.moves_private_ip,
            endpoint: elastic_ip.endpoint.clone(),
            metadata_endpoint: None,
            source: match source {
                IpAddr::V4(source) => Some(source),
                IpAddr::V6(_) => None,
            },
        }
    }
}
