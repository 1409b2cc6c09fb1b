//! What is said on the admin socket: one line of JSON each way, then the connection ends.

use serde::{Deserialize, Serialize};

use super::{EndedEarlyStatus, Status};
use crate::{pool::AdminState, proxy::Question};

/// The longest line that a request may be, in bytes.
pub(super) const MAX_REQUEST: usize = 4 * 1024;

/// What the command line asks of the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// What is so.
    Status,
    /// What ended early last.
    Errors,
    /// An order for a backend.
    Backend {
        /// `NAME` or `POOL/NAME`.
        name: String,
        /// What to do.
        order: AdminState,
    },
    /// Read the configuration again.
    Reload,
    /// Start the binary that is installed now and have it take over. Answered when it serves.
    Upgrade,
    /// Renew the certificate that is obtained for a service, now. Answered when the order has ended.
    Renew {
        /// The service.
        service: String,
    },
    /// Which route takes a request, and why.
    Explain(Question),
    /// Hand over to the other host of the pair. Answered when it has the address, or why not.
    Failover,
}

/// What the agent answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Errors`].
    Errors(Vec<EndedEarlyStatus>),
    /// Done: a sentence that says what.
    Done(String),
    /// Not done: a sentence that says why.
    Error(String),
}
