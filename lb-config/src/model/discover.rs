//! `[pool.discover]`: where the backends of a pool are found while the agent runs.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// `[pool.discover]`: where the backends of a pool are found while the agent runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Discover {
    /// The source that is asked for the backends.
    pub source: DiscoverySource,
    /// Longest time from one query of the source to the next. Default 10 s, and 1 s for a file.
    pub interval: Duration,
    /// How long connections to a backend that the source no longer has may continue. Default 5 min.
    pub drain: Duration,
}

/// The source that is asked for the backends of a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum DiscoverySource {
    /// The addresses of names in DNS: their records of type A or AAAA.
    Dns {
        /// The names, without a final dot; at least one, and none twice.
        names: Vec<String>,
        /// The port of every backend.
        port: u16,
        /// Which addresses are used.
        family: AddressFamily,
        /// The name servers that are asked; empty for those of `/etc/resolv.conf`.
        nameservers: Vec<SocketAddr>,
    },
    /// The records of type SRV (RFC 2782) of a name in DNS, which have ports, weights and
    /// priorities.
    Srv {
        /// The name, such as `_http._tcp.web.example`, without a final dot.
        name: String,
        /// Which addresses of the records' targets are used.
        family: AddressFamily,
        /// The name servers that are asked; empty for those of `/etc/resolv.conf`.
        nameservers: Vec<SocketAddr>,
    },
    /// A file with a line for each backend.
    File(PathBuf),
    /// Running EC2 instances, by their private addresses.
    Ec2 {
        /// Which instances are backends.
        instances: InstanceFilter,
        /// The port of every backend.
        port: u16,
        /// The AWS region; `None` to ask the metadata service.
        region: Option<String>,
        /// The URL of the EC2 API; `None` for the region's own.
        endpoint: Option<String>,
        /// The URL of the Auto Scaling API; `None` for the region's own.
        auto_scaling_endpoint: Option<String>,
    },
}

/// Which EC2 instances are backends.
#[derive(Clone, Debug, PartialEq)]
pub enum InstanceFilter {
    /// Instances that have all of these tags (name and value); at least one.
    Tags(Vec<(String, String)>),
    /// Instances of the Auto Scaling group of this name that are in service.
    AutoScalingGroup(String),
}

/// Which addresses of a name in DNS are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressFamily {
    /// IPv4 addresses: records of type A.
    Ipv4,
    /// IPv6 addresses: records of type AAAA.
    Ipv6,
}

impl fmt::Display for DiscoverySource {
    /// Formats the source as status, log and messages show it, such as `DNS name web.internal`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { names, .. } => match &**names {
                [name] => write!(f, "DNS name {name}"),
                [first, _, _, _, ..] => {
                    write!(f, "DNS name {first} and {} others", names.len() - 1)
                }
                few => write!(f, "DNS names {}", few.join(", ")),
            },
            Self::Srv { name, .. } => write!(f, "DNS service {name}"),
            Self::File(file) => write!(f, "file {}", file.display()),
            Self::Ec2 { instances, .. } => instances.fmt(f),
        }
    }
}

impl fmt::Display for InstanceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(tags) => {
                let tags: Vec<_> = tags
                    .iter()
                    .map(|(tag, value)| format!("{tag}={value}"))
                    .collect();
                write!(f, "EC2 instances with {}", tags.join(", "))
            }
            Self::AutoScalingGroup(group) => write!(f, "Auto Scaling group {group}"),
        }
    }
}
