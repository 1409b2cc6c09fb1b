//! The settings for moving the Elastic IP and reaching the API.

use std::net::{IpAddr, Ipv4Addr};

use lb_config::ElasticIp;

/// The settings for moving the Elastic IP and reaching the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The Elastic IP's allocation, `eipalloc-…`.
    pub allocation_id: String,
    /// The region; `None` to ask the metadata service.
    pub region: Option<String>,
    /// This host's network interface, `eni-…`; `None` to ask the metadata service.
    pub network_interface_id: Option<String>,
    /// The private address that the Elastic IP is associated with; `None` for the interface's
    /// primary address, from the metadata service.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether `private_ip` is a secondary address that moves to this host first.
    pub moves_private_ip: bool,
    /// The URL of the EC2 API; `None` for `AWS_ENDPOINT_URL_EC2` of the environment, or the
    /// region's own.
    pub endpoint: Option<String>,
    /// The URL of the metadata service; `None` for `AWS_EC2_METADATA_SERVICE_ENDPOINT` of the
    /// environment, or `http://169.254.169.254`.
    pub metadata_endpoint: Option<String>,
    /// An address of this host that identifies its interface; `None`, or an address that no
    /// interface has, selects the instance's first interface.
    pub source: Option<Ipv4Addr>,
}

impl Settings {
    /// Returns the settings of a configuration whose adverts are sent from `source`.
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
