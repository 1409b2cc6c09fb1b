//! Finds this host's identity in AWS, by the instance metadata service.

use std::net::Ipv4Addr;

use aws_config::imds::{self, client::error::ImdsError};
use aws_sdk_ec2::config::Region;

use super::{ApiError, ErrorKind, Settings, error::root_cause};

const REGION: &str = "placement/region";

const INTERFACES: &str = "network/interfaces/macs/";

/// What this host is in AWS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The region that the host is in, such as `eu-central-1`.
    pub region: String,
    /// The ID of the network interface that the Elastic IP is to be associated with.
    pub interface: String,
    /// The private address of that interface that the Elastic IP is to be associated with.
    pub private_ip: Ipv4Addr,
    /// The ID of the instance; `None` if the configuration names everything else, so that the
    /// metadata service was not asked.
    pub instance: Option<String>,
}

impl Identity {
    /// Returns this host's identity in AWS. Its values come from the configuration; the metadata
    /// service is asked for those that the configuration leaves out.
    pub(super) async fn find(
        settings: &Settings,
        service: &imds::Client,
    ) -> Result<Self, ApiError> {
        let service = Metadata(service);
        if let (Some(region), Some(interface), Some(private_ip)) = (
            &settings.region,
            &settings.network_interface_id,
            settings.private_ip,
        ) {
            return Ok(Self {
                region: region.clone(),
                interface: interface.clone(),
                private_ip,
                instance: None,
            });
        }
        let instance = service.read("instance-id").await?;
        let region = match &settings.region {
            Some(region) => region.clone(),
            None => service.read(REGION).await?,
        };
        let (interface, private_ip) = service.interface(settings).await?;
        Ok(Self {
            region,
            interface,
            private_ip,
            instance: Some(instance),
        })
    }

    pub(super) fn region(&self) -> Region {
        Region::new(self.region.clone())
    }
}

/// Reads one value of the metadata service.
pub(super) async fn read(service: &imds::Client, key: &str) -> Result<String, ApiError> {
    Metadata(service).read(key).await
}

/// Returns the AWS region of this host, for the section `[pool.discover]` of the configuration.
pub(super) async fn region(service: &imds::Client) -> Result<Region, ApiError> {
    let read = value(service, REGION).await;
    let region =
        read.map_err(|error| unreadable(REGION, &error, "set region in [pool.discover]"))?;
    Ok(Region::new(region))
}

struct Metadata<'a>(&'a imds::Client);

/// A network interface of this instance.
struct Interface {
    id: String,
    /// The private IPv4 addresses of the interface, the primary address first.
    addresses: Vec<Ipv4Addr>,
}

impl Metadata<'_> {
    /// Returns the ID of the interface and the private address that the Elastic IP is to be
    /// associated with.
    async fn interface(&self, settings: &Settings) -> Result<(String, Ipv4Addr), ApiError> {
        let interfaces = self.interfaces().await?;
        let chosen = choose(&interfaces, settings).ok_or_else(|| {
            let named = settings.network_interface_id.as_deref();
            let found: Vec<_> = interfaces.iter().map(|one| one.id.as_str()).collect();
            ApiError::new(
                ErrorKind::Invalid,
                format!(
                    "the interface {} is not one of this instance's, which are: {}; set \
                     network_interface_id in [ha.elastic_ip] to one of these, or leave it out",
                    named.unwrap_or("for the Elastic IP"),
                    found.join(", ")
                ),
            )
        })?;
        let private_ip = settings.private_ip.or(chosen.addresses.first().copied());
        let private_ip = private_ip.ok_or_else(|| {
            let why = format!(
                "the metadata service knows no IPv4 address of {}; set private_ip in \
                 [ha.elastic_ip]",
                chosen.id
            );
            ApiError::new(ErrorKind::Invalid, why)
        })?;
        Ok((chosen.id.clone(), private_ip))
    }

    /// Returns the network interfaces of this instance, the primary interface first.
    async fn interfaces(&self) -> Result<Vec<Interface>, ApiError> {
        let first = self.read("mac").await?;
        let listed = self.read(INTERFACES).await?;
        let mut macs: Vec<_> = listed
            .lines()
            .map(|line| line.trim().trim_end_matches('/'))
            .filter(|mac| !mac.is_empty())
            .collect();
        macs.sort_by_key(|mac| *mac != first);
        let mut interfaces = Vec::with_capacity(macs.len());
        for mac in macs {
            let addresses = self.read(&format!("{INTERFACES}{mac}/local-ipv4s")).await?;
            interfaces.push(Interface {
                id: self
                    .read(&format!("{INTERFACES}{mac}/interface-id"))
                    .await?,
                addresses: addresses
                    .lines()
                    .filter_map(|line| line.trim().parse().ok())
                    .collect(),
            });
        }
        Ok(interfaces)
    }

    async fn read(&self, key: &str) -> Result<String, ApiError> {
        let without = "set region, network_interface_id and private_ip in [ha.elastic_ip]";
        let read = value(self.0, key).await;
        read.map_err(|error| unreadable(key, &error, without))
    }
}

async fn value(service: &imds::Client, key: &str) -> Result<String, ImdsError> {
    let value = service.get(format!("/latest/meta-data/{key}")).await?;
    Ok(value.as_ref().trim().to_owned())
}

/// Returns the interface for the Elastic IP: the configured interface, or else the one with the
/// configured private address, or else the one that adverts are sent from, or else the first.
fn choose<'a>(interfaces: &'a [Interface], settings: &Settings) -> Option<&'a Interface> {
    if let Some(named) = &settings.network_interface_id {
        return interfaces.iter().find(|one| one.id == *named);
    }
    let having = |address: Option<Ipv4Addr>| {
        let address = address?;
        interfaces
            .iter()
            .find(|one| one.addresses.contains(&address))
    };
    having(settings.private_ip)
        .or_else(|| having(settings.source))
        .or_else(|| interfaces.first())
}

/// Returns the error of reading the value `key` of the metadata service. `without` says what to do
/// where that service does not exist.
fn unreadable(key: &str, error: &ImdsError, without: &str) -> ApiError {
    let (kind, why) = match error {
        ImdsError::ErrorResponse(answer) => (
            ErrorKind::Invalid,
            format!(
                "it answered with status {}",
                answer.response().status().as_u16()
            ),
        ),
        ImdsError::FailedToLoadToken(_) | ImdsError::IoError(_) => {
            (ErrorKind::Unreachable, root_cause(error))
        }
        _ => (ErrorKind::Other, root_cause(error)),
    };
    ApiError::new(
        kind,
        format!(
            "could not read {key} of the instance metadata service: {why}; is this an instance of \
             EC2, and is its metadata service switched on? Without it, {without}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            allocation_id: "eipalloc-0123456789abcdef0".to_owned(),
            region: None,
            network_interface_id: None,
            private_ip: None,
            moves_private_ip: false,
            endpoint: None,
            metadata_endpoint: None,
            source: None,
        }
    }

    fn chosen(change: impl FnOnce(&mut Settings)) -> Option<String> {
        let interface = |id: &str, addresses: &[[u8; 4]]| Interface {
            id: id.to_owned(),
            addresses: addresses.iter().map(|address| (*address).into()).collect(),
        };
        let interfaces = [
            interface("eni-1", &[[10, 0, 0, 1], [10, 0, 0, 9]]),
            interface("eni-2", &[[10, 0, 1, 1], [10, 0, 1, 9]]),
        ];
        let mut settings = settings();
        change(&mut settings);
        choose(&interfaces, &settings).map(|one| one.id.clone())
    }

    #[test]
    fn of_several_interfaces_the_one_is_chosen_that_is_named_or_has_the_address() {
        let (first, second) = (Some("eni-1".to_owned()), Some("eni-2".to_owned()));
        assert_eq!(chosen(|_| ()), first);
        let by_source = chosen(|settings| settings.source = Some([10, 0, 1, 1].into()));
        assert_eq!(by_source, second);
        let by_address = chosen(|settings| {
            settings.source = Some([10, 0, 0, 1].into());
            settings.private_ip = Some([10, 0, 1, 9].into());
        });
        assert_eq!(by_address, second);
        let by_name = chosen(|settings| {
            settings.source = Some([10, 0, 0, 1].into());
            settings.network_interface_id = Some("eni-2".to_owned());
        });
        assert_eq!(by_name, second);
        let moving = chosen(|settings| settings.private_ip = Some([10, 0, 0, 77].into()));
        assert_eq!(moving, first, "an address that is still elsewhere");
        let unknown = chosen(|settings| settings.network_interface_id = Some("eni-3".to_owned()));
        assert_eq!(unknown, None);
    }
}
