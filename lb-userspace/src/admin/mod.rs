//! The agent's interface to operators and Prometheus: a read-only HTTP server, and a Unix socket
//! for the commands of `lb`.
//!
//! Both servers read the agent's state from a [`Source`]. Both servers withstand clients that send
//! malformed input, send nothing or read slowly: the heads and lines of requests have a maximum
//! length, every exchange has a deadline, and the number of connections has a limit.

mod accept;
mod client;
mod ended_early;
#[cfg(test)]
mod examples;
mod history;
mod http;
mod live;
mod page;
mod protocol;
mod servers;
mod socket;
mod status;
mod tls;
mod token;
pub mod wording;

use crate::{events, proxy::Question};

pub use client::{Client, ClientError};
pub use ended_early::EndedEarlyStatus;
#[cfg(test)]
pub(crate) use ended_early::examples::ended_early as examples_of_ended_early;
pub use protocol::{Answer, Request};
pub use servers::{Access, Servers};
pub use socket::{AdminSocket, Command, SocketError};
#[cfg(test)]
pub(crate) use status::examples::{
    per_request as examples_of_per_request, status as examples_of_status,
};
pub use status::{
    BackendStatus, CertificateStatus, CheckStatus, DiscoveryStatus, DropStatus, ExcludedStatus,
    HaStatus, InterfaceStatus, LimitStatus, Moment, ObtainedStatus, PoolStatus, ServiceStatus,
    State, Status, XdpStatus,
    ha::{
        AddressKind, AddressOwner, AddressStatus, FlowsStatus, LinkStatus, PeerStatus,
        TrackedStatus,
    },
};

pub use tls::TlsError;
pub(crate) use token::TOKEN_FORM;
pub use token::{TokenError, check_token, is_token};

/// Read access to the agent's current state. Methods are called concurrently for many connections,
/// on threads that may block, and may take a few milliseconds.
pub trait Source: Send + Sync + 'static {
    /// Returns the agent's status.
    fn status(&self) -> Status;

    /// Explains which route of a service matches a request, and why the routes before it do not
    /// match. An error says why the question cannot be answered.
    fn explain(&self, question: &Question) -> Result<String, String>;

    /// Returns the most recent requests, handshakes and connections that ended early, the oldest
    /// first.
    fn ended_early(&self) -> Vec<EndedEarlyStatus>;

    /// Returns the events that a filter selects.
    fn events(&self, filter: &events::Filter) -> events::Answer;

    /// Returns the metrics as text in `format`.
    fn metrics(&self, format: crate::metrics::Format) -> String;
}
