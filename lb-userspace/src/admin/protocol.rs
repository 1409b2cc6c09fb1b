//! The protocol of the admin socket: one line of JSON in each direction, then the connection is closed.

use serde::{Deserialize, Serialize};

use super::{EndedEarlyStatus, Status};
use crate::{pool::AdminState, proxy::Question};

/// The maximum length of a request's line, in bytes.
pub(super) const MAX_REQUEST: usize = 4 * 1024;

/// A request from the command line to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Get the status.
    Status,
    /// Get the most recent exchanges that ended early.
    Errors,
    /// Set the operator override of a backend.
    Backend {
        /// The backend, as `NAME` or `POOL/NAME`.
        name: String,
        /// The override; `ready` removes one.
        order: AdminState,
    },
    /// Reload the configuration.
    Reload,
    /// Start the installed binary and have it take over from this process. Answered once the new process
    /// serves.
    Upgrade,
    /// Renew immediately the certificate that the agent obtains for a service. Answered when the order has
    /// succeeded or failed.
    Renew {
        /// The name of the service.
        service: String,
    },
    /// Explain which route matches a request, and why.
    Explain(Question),
    /// Hand over to the other host of the pair. Answered when the peer has the address, or when the hand-over
    /// has failed.
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
    /// Any other request succeeded: its result as text.
    Done(String),
    /// The request was refused or has failed: the reason as a sentence.
    Error(String),
}
