//! The command line's end of the admin socket.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, EndedEarlyStatus, Request, Status};

/// How long an answer may take: a reload reads certificates and fills maps. A hand-over takes up to
/// 45 seconds: 30 for requests to end, where `handover_timeout` says so, and 15 for the address.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for an order of a certificate: five minutes for the directory, and time to wait for one
/// that is under way.
const PATIENCE_FOR_ORDERS: Duration = Duration::from_secs(660);

/// Asks the agent that listens on one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "the agent is not running: nobody answers on {}. Start it with `systemctl start lb` or \
         `lb run --config FILE`, or point `--socket` at the `admin.socket` of its configuration",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket is another user's.
    #[error(
        "{} belongs to another user: run this as root or as the agent's user", .0.display()
    )]
    Forbidden(PathBuf),
    /// The conversation failed.
    #[error("the agent on {} did not answer: {source}", socket.display())]
    Failed {
        /// Where it listens.
        socket: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The agent said no.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A client of the agent that listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// What is so.
    ///
    /// # Errors
    /// No agent, or none that answers.
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(*status),
            other => Err(self.unexpected(other)),
        }
    }

    /// What ended early last, the oldest first.
    ///
    /// # Errors
    /// No agent, or none that answers.
    pub fn errors(&self) -> Result<Vec<EndedEarlyStatus>, ClientError> {
        match self.ask(&Request::Errors)? {
            Answer::Errors(errors) => Ok(errors),
            other => Err(self.unexpected(other)),
        }
    }

    /// Has something done; returns the sentence that says what was.
    ///
    /// # Errors
    /// No agent, or one that refuses.
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
            _ => self.failed(io::Error::other("its answer fits another question")),
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
