//! AWS: the EC2 and Auto Scaling APIs, and the instance metadata service.
//!
//! [`Ec2`] makes the calls that move an Elastic IP and find its owner. [`Worker`] makes these calls
//! one at a time in a separate task; [`lb_ha::elastic`] decides *when* to make which call. This
//! host's [`Identity`] in AWS is resolved by the metadata service unless it is configured.
//! [`Instances`] lists the instances that are the backends of a pool.
//!
//! Every call has a time limit and is made once: the caller decides whether to make it again.

mod client;
mod counters;
mod error;
mod inspection;
mod instances;
mod metadata;
mod operation;
mod sdk;
mod settings;
mod survey;
mod worker;

pub use client::{Ec2, Owner};
pub use counters::{
    CallCount, Counters, DURATION_BOUNDS, Durations, LastError, OperationDurations,
};
pub use error::{ApiError, ErrorKind};
pub use inspection::{Denied, Inspection};
pub use instances::{Instance, Instances, InstancesSettings};
pub use metadata::Identity;
pub use operation::Operation;
pub use settings::Settings;
pub use survey::{InboundRule, MetadataOptions, instance_id};
pub use worker::{Busy, Done, Outcome, View, Worker};
