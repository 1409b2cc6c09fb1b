//! The source of a pool's backends: asks DNS, a file or EC2 once.

mod dns;
mod ec2;
mod file;

use super::{Answer, SourceError};
use crate::config::DiscoverySource;

/// The source of a pool's backends, and what it keeps from one query to the next. It has no cache:
/// each query asks DNS or the API, or reads the file.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Dns(dns::Dns),
    File(file::File),
    Ec2(Box<ec2::Ec2>),
}

impl Source {
    /// Returns a source that has not been asked. This does no I/O.
    #[must_use]
    pub fn new(settings: &DiscoverySource) -> Self {
        Self(match settings {
            DiscoverySource::Dns {
                names,
                port,
                family,
                nameservers,
            } => Kind::Dns(dns::Dns::of_addresses(names, *port, *family, nameservers)),
            DiscoverySource::Srv {
                name,
                family,
                nameservers,
            } => Kind::Dns(dns::Dns::of_service(name, *family, nameservers)),
            DiscoverySource::File(path) => Kind::File(file::File::new(path)),
            DiscoverySource::Ec2 {
                instances,
                port,
                region,
                endpoint,
                auto_scaling_endpoint,
            } => {
                let settings = crate::aws::InstancesSettings {
                    region: region.clone(),
                    endpoint: endpoint.clone(),
                    auto_scaling_endpoint: auto_scaling_endpoint.clone(),
                    metadata_endpoint: None,
                };
                Kind::Ec2(Box::new(ec2::Ec2::new(settings, instances.clone(), *port)))
            }
        })
    }

    /// Asks the source once. An answer without backends is not an error. A query of DNS ends within
    /// 8 s. The caller limits the time of the others: a file may be on a network file system, and
    /// EC2 takes a call for each page of instances. The future can be dropped at any time.
    ///
    /// # Errors
    /// The source could not be asked, or its answer could not be read. The error is a sentence for
    /// the operator: what was attempted, on what, what was found, and what to do.
    pub async fn query(&mut self) -> Result<Answer, SourceError> {
        match &mut self.0 {
            Kind::Dns(dns) => dns.query().await,
            Kind::File(file) => file.query().await,
            Kind::Ec2(ec2) => ec2.query().await,
        }
    }
}
