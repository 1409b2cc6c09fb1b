//! The EC2 and Auto Scaling APIs and the instance metadata service, as the balancers of the lab see
//! them.
//!
//! [`FakeEc2`] is a small EC2 and Auto Scaling API that can be slow, throttle, fail, hang and lag;
//! [`Moto`] is the closest independent implementation without AWS, in which [`MotoFleet`] creates
//! instances and Auto Scaling groups. Both are an [`Ec2`], which the lab's Internet gateway
//! follows. [`Imds`] is the metadata service.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

mod api;
mod cli;
mod cloud;
mod descriptions;
mod fake;
mod fake_fleet;
mod faults;
mod http;
mod imds;
mod moto;
mod moto_fleet;
mod query;
mod refusal;
mod stack;

use std::net::Ipv4Addr;

use anyhow::Result;

pub use api::Call;
pub use cli::aws_cli;
pub use cloud::{Association, Cloud};
pub use fake::FakeEc2;
pub use fake_fleet::{FakeFleet, FleetInstance, Group, InstanceState, Member};
pub use faults::Faults;
pub use imds::{Imds, Instance};
pub use moto::Moto;
pub use moto_fleet::MotoFleet;
pub use stack::Stack;

/// The AWS region that the end-to-end tests simulate.
pub const REGION: &str = "me-central-1";

/// A network interface of a balancer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// The interface's ID, `eni-…`.
    pub id: String,
    /// ID of the instance that the interface is attached to, `i-…`.
    pub instance_id: String,
    /// The interface's primary private address.
    pub private_ip: Ipv4Addr,
    /// The interface's MAC address, six pairs of hexadecimal digits joined by `:`.
    pub mac: String,
}

/// The network interface and private address that the Elastic IP is associated with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Index of the interface in [`Ec2::interfaces`].
    pub interface: usize,
    /// The private address to which the Elastic IP is translated.
    pub private_ip: Ipv4Addr,
}

/// An EC2 API with one Elastic IP and a network interface for each balancer.
pub trait Ec2: Send + Sync {
    /// Returns the EC2 API's URL, for the key `endpoint` of `[ha.elastic_ip]`.
    fn endpoint(&self) -> &str;

    /// Returns the Elastic IP's allocation ID, `eipalloc-…`.
    fn allocation_id(&self) -> &str;

    /// Returns the balancers' network interfaces, in the order of the balancers.
    fn interfaces(&self) -> &[Interface];

    /// Returns the current owner of the Elastic IP in AWS's network, which the answers of
    /// DescribeAddresses may lag behind; `None` if the Elastic IP is not associated.
    ///
    /// # Errors
    /// When the owner cannot be determined.
    fn owner(&self) -> Result<Option<Owner>>;
}
