//! The server of the admin socket, a Unix socket.

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

/// The limit of concurrent connections; further connections wait in the kernel's backlog.
const MAX_CONNECTIONS: u32 = 32;
/// Time limit for a client to send its request, and also for it to receive the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// For how long, and up to how many bytes, the server reads and discards input after it has sent
/// the answer. Without this, closing a socket with unread input would reset the connection, and the
/// client might lose the answer.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);

/// A request of a client that the agent's main loop carries out.
#[derive(Debug)]
pub struct Command {
    /// The request. Never [`Request::Status`], [`Request::Errors`], [`Request::Events`] or
    /// [`Request::Explain`], which only read and are answered from the [`Source`].
    pub request: Request,
    /// Where to send the result, as a sentence. An error is the reason why the request failed.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Why the admin socket could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on the admin socket.
    #[error(
        "another agent is already running and listens on {}. Stop it first, or set a different \
         `admin.socket` for this one", .0.display()
    )]
    InUse(PathBuf),
    /// There is a file at the socket's path that is not a socket.
    #[error("cannot create the admin socket {}: the path exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// A system call failed, and so the socket could not be created.
    #[error("cannot create the admin socket {}: {source}", path.display())]
    Refused {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// The admin socket, bound to its path with mode 0600. Dropping this removes its file.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    /// The file of the socket, which dropping this value removes.
    file: SocketFile,
    /// The path that the socket must still be moved to; `None` if it is bound at that path already.
    belongs: Option<PathBuf>,
}

/// The file of a Unix socket. Dropping this removes the file unless another process has replaced
/// it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode number. They distinguish this socket from one that another process has
    /// moved to the same path since.
    inode: (u64, u64),
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let inode = inode(&path)?;
        Ok(Self { path, inode })
    }

    /// Renames the socket's file to `path`, replacing any file that is there.
    fn rename(&mut self, path: PathBuf) -> io::Result<()> {
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // A file that cannot be removed is harmless: the next agent replaces a stale socket.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl AdminSocket {
    /// Binds the socket, creating its directory (mode 0755) if it does not exist. Replaces a stale
    /// socket, which is one that no process listens on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Another process listens on the socket, the path is not a socket, or a system call fails.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused = |source| refused(path, source);
        make_directory(path).map_err(refused)?;
        refuse_if_taken(path)?;
        let mut socket = Self::bind_beside(path)?;
        socket.put_in_place().map_err(refused)?;
        Ok(socket)
    }

    /// Binds the socket under a temporary name beside `path`, because another process listens on
    /// `path` still. [`Self::put_in_place`] moves the socket to `path`.
    ///
    /// # Errors
    /// A system call fails.
    pub fn bind_beside(path: &Path) -> Result<Self, SocketError> {
        let refused = |source| refused(path, source);
        make_directory(path).map_err(refused)?;
        // The socket is bound under a temporary name, so that it never has another mode than 0600
        // at its final path.
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

    /// Moves a socket that [`Self::bind_beside`] bound to its path, and so replaces the socket of
    /// the other process. From then on this process answers the commands of `lb`.
    ///
    /// # Errors
    /// The file could not be renamed.
    pub fn put_in_place(&mut self) -> io::Result<()> {
        match self.belongs.take() {
            Some(path) => self.file.rename(path),
            None => Ok(()),
        }
    }

    /// Serves connections until `shutdown` is given, then until the exchanges in flight have ended.
    /// Requests that change something are sent to `commands`.
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
                // An error means that the client disconnected or timed out, which needs no action.
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
        // The attempt to connect succeeded, or failed because the backlog is full: either way, a
        // process listens on the socket.
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
        Err(_elapsed) => Answer::Error(format!("no request received within {DEADLINE:?}")),
        Ok(Err(error)) => Answer::Error(format!("cannot read the request: {error}")),
        Ok(Ok(_)) if !line.ends_with('\n') => Answer::Error(format!(
            "a request is one line of at most {MAX_REQUEST} bytes"
        )),
        Ok(Ok(_)) => match serde_json::from_str(&line) {
            Ok(request) => answer(request, source, commands).await,
            Err(error) => Answer::Error(format!("malformed or unknown request: {error}")),
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

/// Answers a request of an operator.
pub(super) async fn answer(
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
    if let Request::Events(filter) = request {
        let events = tokio::task::spawn_blocking(move || source.events(&filter)).await;
        return match events {
            Ok(events) => Answer::Events(Box::new(events)),
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
