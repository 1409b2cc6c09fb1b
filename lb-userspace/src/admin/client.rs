//! The client of the agent's admin socket, which the commands of `lb` use.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, EndedEarlyStatus, Request, Status};
use crate::events;

/// Time limit for the agent's answer to a request. A reload reads certificates and fills BPF maps;
/// a hand-over of the active role to the peer takes up to 45 seconds: 30 for requests to end (the
/// largest `handover_timeout`), and 15 to move the Elastic IP or virtual IPs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time limit for the answer to [`Request::Renew`]: five minutes for the ACME order, and as long
/// again to wait for another order that is already in progress.
const PATIENCE_FOR_ORDERS: Duration = Duration::from_secs(660);

/// A client of the agent that listens on an admin socket. Each request uses a new connection to the
/// socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens on the admin socket.
    #[error(
        "the agent is not running: no process listens on {}. Start it with `systemctl start lb` or \
         `lb run --config FILE` (`journalctl -u lb` says why it ended or does not start), or set `--socket` to the `admin.socket` of its configuration",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The admin socket belongs to another user.
    #[error(
        "{} belongs to another user: run this as root or as the agent's user", .0.display()
    )]
    Forbidden(PathBuf),
    /// The request could not be sent, or no valid answer was received.
    #[error("the request to the agent on {} failed: {source}", socket.display())]
    Failed {
        /// The path of the admin socket.
        socket: PathBuf,
        /// Why the request could not be sent, or why no valid answer was received.
        source: io::Error,
    },
    /// The agent refused the request, for the reason given.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Creates a client of the agent that listens on the socket at this path. Does not connect yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks the agent for its status and returns it.
    ///
    /// # Errors
    /// The agent is not running, cannot be reached, or does not answer in time.
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(*status),
            other => Err(self.unexpected(other)),
        }
    }

    /// Returns the most recent requests, handshakes and connections that ended early, the oldest
    /// first.
    ///
    /// # Errors
    /// The agent is not running, cannot be reached, or does not answer in time.
    pub fn errors(&self) -> Result<Vec<EndedEarlyStatus>, ClientError> {
        match self.ask(&Request::Errors)? {
            Answer::Errors(errors) => Ok(errors),
            other => Err(self.unexpected(other)),
        }
    }

    /// Returns the events that a filter selects.
    ///
    /// # Errors
    /// The agent is not running, cannot be reached, or does not answer in time.
    pub fn events(&self, filter: &events::Filter) -> Result<events::Answer, ClientError> {
        match self.ask(&Request::Events(filter.clone()))? {
            Answer::Events(answer) => Ok(*answer),
            other => Err(self.unexpected(other)),
        }
    }

    /// Sends a request that is answered with a text, and returns that text.
    ///
    /// # Errors
    /// The agent refuses the request, is not running, cannot be reached, or does not answer in
    /// time.
    pub fn request(&self, request: &Request) -> Result<String, ClientError> {
        match self.ask(request)? {
            Answer::Done(sentence) => Ok(sentence),
            other => Err(self.unexpected(other)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(self.socket.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(self.socket.clone()),
            _ => self.failed(error),
        })?;
        converse(&mut stream, request).map_err(|error| self.failed(error))
    }

    fn unexpected(&self, answer: Answer) -> ClientError {
        match answer {
            Answer::Error(sentence) => ClientError::Refused(sentence),
            _ => self.failed(io::Error::other("the answer does not match the request")),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        ClientError::Failed {
            socket: self.socket.clone(),
            source,
        }
    }
}

fn converse(stream: &mut UnixStream, request: &Request) -> io::Result<Answer> {
    let patience = match request {
        Request::Renew { .. } => PATIENCE_FOR_ORDERS,
        _ => PATIENCE,
    };
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}
