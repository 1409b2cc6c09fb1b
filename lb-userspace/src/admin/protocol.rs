//! The protocol of the admin socket: one line of JSON from the client, one from the agent, then the
//! connection is closed.

use serde::{Deserialize, Serialize};

use super::{EndedEarlyStatus, Status};
use crate::{events, pool::AdminState, proxy::Question};

/// The maximum length of the line with a request, in bytes.
pub(super) const MAX_REQUEST: usize = 4 * 1024;

/// A request that a command of `lb` sends to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Get the agent's status.
    Status,
    /// Get the most recent requests, handshakes and connections that ended early.
    Errors,
    /// Get the latest events.
    Events(events::Filter),
    /// Set the operator override of a backend.
    Backend {
        /// The name of the backend, as `NAME` or `POOL/NAME`.
        name: String,
        /// The operator override to set; `ready` removes an override.
        order: AdminState,
    },
    /// Set the level of the log.
    LogLevel {
        /// A level of the log such as `info`, levels by module such as `lb=debug`, or `configured`
        /// for the level of the configuration.
        level: String,
        /// For how many milliseconds the level is in force; `null`: until the agent ends.
        for_ms: Option<u64>,
    },
    /// Reload the configuration.
    Reload,
    /// Start the installed binary and have it take over from this process. The request is answered
    /// when the new process serves.
    Upgrade,
    /// Renew immediately the certificate that the agent obtains for a service. The request is
    /// answered when the order has succeeded or failed.
    Renew {
        /// The name of the service whose certificate is renewed.
        service: String,
    },
    /// Explain which route of a service matches a request, and why.
    Explain(Question),
    /// Hand over the active role to the other host of the pair. The request is answered when the
    /// peer has the address that moves, or when the hand-over has failed.
    Failover,
}

/// The agent's answer to a [`Request`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The answer to [`Request::Status`].
    Status(Box<Status>),
    /// The answer to [`Request::Errors`].
    Errors(Vec<EndedEarlyStatus>),
    /// The answer to [`Request::Events`].
    Events(Box<events::Answer>),
    /// Any other request succeeded: its result as text.
    Done(String),
    /// The request was refused or has failed: the reason as a sentence.
    Error(String),
}
