//! AWS: the EC2 API and the instance metadata service.
//!
//! [`Ec2`] makes the calls that move an Elastic IP and tell whose it is. [`Worker`] makes them one
//! at a time for somebody who has other things to do; *when* to make which is decided by
//! [`lb_ha::elastic`]. Who this host is in AWS, an [`Identity`], is asked of the metadata service
//! where the configuration does not say.
//!
//! Every call is bounded in time, and is made once: whoever ordered it decides whether to try again.

mod client;
mod counters;
mod error;
mod inspection;
mod metadata;
mod operation;
mod sdk;
mod settings;
mod worker;

pub use client::{Ec2, Owner};
pub use counters::{
    CallCount, Counters, DURATION_BOUNDS, Durations, LastError, OperationDurations,
};
pub use error::{ApiError, ErrorKind};
pub use inspection::{Denied, Inspection};
pub use metadata::Identity;
pub use operation::Operation;
pub use settings::Settings;
pub use worker::{Busy, Done, Outcome, View, Worker};
