//! The agent's end of the admin socket.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Answer, Request, Source,
    accept::{Shutdown, accept},
    protocol::MAX_REQUEST,
};

/// Connections at one time.
const MAX_CONNECTIONS: u32 = 32;
/// A client has this long to send its request, and again to take the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, what a client still sends is read and thrown away: closing
/// before would reset the connection and may cost it the answer.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);

/// A request that changes something, on its way to the agent.
#[derive(Debug)]
pub struct Command {
    /// What is asked: never [`Request::Status`].
    pub request: Request,
    /// Where the sentence goes that says what came of it.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error(
        "another agent is already running: it answers on {}. Stop it first, or give this one an \
         `admin.socket` of its own", .0.display()
    )]
    InUse(PathBuf),
    /// Something else stands in its place.
    #[error("cannot make the admin socket {}: there is a file that is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot make the admin socket {}: {source}", path.display())]
    Refused {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket, bound and mode 0600. Removed when dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    /// The value that guards the file: dropped, the file is removed.
    file: SocketFile,
    /// Where it belongs, while it has another name.
    belongs: Option<PathBuf>,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and number: a process that takes over puts its own in the same place.
    inode: (u64, u64),
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let inode = inode(&path)?;
        Ok(Self { path, inode })
    }

    /// Gives it another name, in place of whatever has that.
    fn rename(&mut self, path: PathBuf) -> io::Result<()> {
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // Nothing depends on it: the next agent replaces a stale socket.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl AdminSocket {
    /// Binds the socket, and makes its directory (0755) where there is none. A socket that nobody
    /// answers on is replaced. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Another agent that answers on it, or the system's refusal.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused = |source| refused(path, source);
        make_directory(path).map_err(refused)?;
        refuse_if_taken(path)?;
        let mut socket = Self::bind_beside(path)?;
        socket.put_in_place().map_err(refused)?;
        Ok(socket)
    }

    /// Binds the socket under another name, while another process has the one that is meant. See
    /// [`Self::put_in_place`].
    ///
    /// # Errors
    /// The system's refusal.
    pub fn bind_beside(path: &Path) -> Result<Self, SocketError> {
        let refused = |source| refused(path, source);
        make_directory(path).map_err(refused)?;
        // Nobody ever sees it in its place with a mode other than 0600.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let listener = UnixListener::bind(&draft).map_err(refused)?;
        let file = SocketFile::at(draft.clone()).map_err(refused)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).map_err(refused)?;
        Ok(Self {
            listener,
            file,
            belongs: Some(path.to_owned()),
        })
    }

    /// Puts a socket that was bound beside another in its place; operators are answered by this process
    /// from then on.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn put_in_place(&mut self) -> io::Result<()> {
        match self.belongs.take() {
            Some(path) => self.file.rename(path),
            None => Ok(()),
        }
    }

    /// Answers for ever. Requests that change something go to `commands`.
    pub(super) async fn serve(
        self,
        source: Arc<dyn Source>,
        commands: mpsc::Sender<Command>,
        shutdown: Shutdown,
    ) {
        let Self { listener, file, .. } = self;
        let _guard = file;
        let exchange = |stream| {
            let (source, commands) = (Arc::clone(&source), commands.clone());
            async move {
                // A client that went away is no concern of the agent's.
                let _ended = converse(stream, source, commands).await;
            }
        };
        accept(listener, MAX_CONNECTIONS, shutdown, exchange).await;
    }
}

fn refused(path: &Path, source: io::Error) -> SocketError {
    SocketError::Refused {
        path: path.to_owned(),
        source,
    }
}

fn make_directory(socket: &Path) -> io::Result<()> {
    match socket.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o755).create(directory)
        }
        _ => Ok(()),
    }
}

fn refuse_if_taken(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(_none) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_socket) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::WouldBlock => Err(SocketError::Refused {
            path: path.to_owned(),
            source,
        }),
        // Connected; or its backlog is full, which takes somebody who listens.
        _ => Err(SocketError::InUse(path.to_owned())),
    }
}

async fn converse(
    stream: UnixStream,
    source: Arc<dyn Source>,
    commands: mpsc::Sender<Command>,
) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST as u64));
    let answer = match timeout(DEADLINE, reading.read_line(&mut line)).await {
        Err(_elapsed) => Answer::Error(format!("no request came within {DEADLINE:?}")),
        Ok(Err(error)) => Answer::Error(format!("the request is not text: {error}")),
        Ok(Ok(_)) if !line.ends_with('\n') => Answer::Error(format!(
            "a request is one line of at most {MAX_REQUEST} bytes"
        )),
        Ok(Ok(_)) => match serde_json::from_str(&line) {
            Ok(request) => answer(request, source, commands).await,
            Err(error) => Answer::Error(format!("the request is not one of ours: {error}")),
        },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(DEADLINE, writing.write_all(&text)).await??;
    writing.shutdown().await?;
    let (time, most) = LINGER;
    let mut rest = reading.into_inner().into_inner().take(most);
    let _drained = timeout(time, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}

async fn answer(
    request: Request,
    source: Arc<dyn Source>,
    commands: mpsc::Sender<Command>,
) -> Answer {
    const STOPPING: &str = "the agent is stopping";
    if request == Request::Status {
        let status = tokio::task::spawn_blocking(move || source.status()).await;
        return match status {
            Ok(status) => Answer::Status(Box::new(status)),
            Err(_gone) => Answer::Error(STOPPING.to_owned()),
        };
    }
    if let Request::Explain(question) = request {
        let text = tokio::task::spawn_blocking(move || source.explain(&question)).await;
        return match text {
            Ok(Ok(text)) => Answer::Done(text),
            Ok(Err(sentence)) => Answer::Error(sentence),
            Err(_gone) => Answer::Error(STOPPING.to_owned()),
        };
    }
    if request == Request::Errors {
        let errors = tokio::task::spawn_blocking(move || source.ended_early()).await;
        return errors.map_or_else(|_gone| Answer::Error(STOPPING.to_owned()), Answer::Errors);
    }
    let (answer, said) = oneshot::channel();
    if commands.send(Command { request, answer }).await.is_err() {
        return Answer::Error(STOPPING.to_owned());
    }
    match said.await {
        Ok(Ok(done)) => Answer::Done(done),
        Ok(Err(sentence)) => Answer::Error(sentence),
        Err(_gone) => Answer::Error(STOPPING.to_owned()),
    }
}

#[cfg(test)]
mod tests;
