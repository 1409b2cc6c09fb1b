//! Where the operator and Prometheus reach the agent: HTTP for reading, a Unix socket for orders.
//!
//! Both ask a [`Source`] what is so, and both withstand clients that send nonsense, send nothing
//! or read slowly: heads and lines are bounded, every exchange has a deadline, and the number of
//! connections has a limit.

mod accept;
mod client;
mod ended_early;
#[cfg(test)]
mod examples;
mod http;
mod page;
mod protocol;
mod servers;
mod socket;
mod status;
pub mod wording;

use crate::proxy::Question;

pub use client::{Client, ClientError};
pub use ended_early::EndedEarlyStatus;
#[cfg(test)]
pub(crate) use ended_early::examples::ended_early as examples_of_ended_early;
pub use protocol::{Answer, Request};
pub use servers::Servers;
pub use socket::{AdminSocket, Command, SocketError};
#[cfg(test)]
pub(crate) use status::examples::{
    per_request as examples_of_per_request, status as examples_of_status,
};
pub use status::{
    BackendStatus, CertificateStatus, CheckStatus, HaStatus, InterfaceStatus, LimitStatus, Moment,
    ObtainedStatus, PoolStatus, ServiceStatus, State, Status, XdpStatus,
    ha::{
        AddressKind, AddressOwner, AddressStatus, FlowsStatus, LinkStatus, PeerStatus,
        TrackedStatus,
    },
};

/// What is so at this moment. Asked from many connections at once; may take a few milliseconds.
pub trait Source: Send + Sync + 'static {
    /// The status.
    fn status(&self) -> Status;

    /// Which route takes a request, and why those before it do not; or why there is no telling.
    fn explain(&self, question: &Question) -> Result<String, String>;

    /// What ended early last, the oldest first.
    fn ended_early(&self) -> Vec<EndedEarlyStatus>;

    /// The metrics, as text in the format asked for.
    fn metrics(&self, format: crate::metrics::Format) -> String;
}
