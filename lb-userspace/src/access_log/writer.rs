//! The thread that writes the lines of the access log to their target.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{error::Error, queue::Queue, time};
use crate::config::LogTarget;

/// How long the thread waits for more lines before it writes, so that it writes the lines of a busy
/// front in batches.
const GATHER: Duration = Duration::from_millis(10);
/// Minimum interval between two messages in the agent's own log about failures to write the access
/// log.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The path of the local syslog daemon's socket.
const DEV_LOG: &str = "/dev/log";
/// The priority of syslog messages: facility `local0`, severity `info` (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;
/// The permission bits of a new log file.
const MODE: u32 = 0o640;

/// Where the thread writes the lines to.
#[derive(Debug)]
pub(super) enum Output {
    Stdout,
    File(PathBuf, File),
    Syslog(PathBuf, UnixDatagram),
}

impl Output {
    pub(super) fn open(target: &LogTarget) -> Result<Self, Error> {
        match target {
            LogTarget::Stdout => Ok(Self::Stdout),
            LogTarget::File(path) => match open_file(path) {
                Ok(file) => Ok(Self::File(path.clone(), file)),
                Err(source) => Err(Error::File {
                    path: path.clone(),
                    source,
                }),
            },
            LogTarget::Syslog => Self::syslog(DEV_LOG.into()).map_err(Error::Syslog),
        }
    }

    fn syslog(path: PathBuf) -> io::Result<Self> {
        let socket = connect(&path)?;
        Ok(Self::Syslog(path, socket))
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            *file = open_file(path)?;
        }
        Ok(())
    }

    /// Writes lines to the target. An error comes with the number of lines that were not written.
    fn write(&mut self, lines: &[u8]) -> Result<(), (u64, io::Error)> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(lines).and_then(|()| stdout.flush());
                written.map_err(|error| (count(lines), error))
            }
            Self::File(_, file) => write_file(file, lines),
            Self::Syslog(path, socket) => write_syslog((path, socket), lines),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(MODE)
        .open(path)
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Writes lines to a log file. If an error leaves a line partly written, a line feed is written
/// after it, so that the next line is separate from it.
fn write_file(file: &mut File, lines: &[u8]) -> Result<(), (u64, io::Error)> {
    let mut left = lines;
    while !left.is_empty() {
        match file.write(left) {
            Ok(0) => return Err((count(left), io::ErrorKind::WriteZero.into())),
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let written = lines.len() - left.len();
                if written > 0 && lines[written - 1] != b'\n' {
                    // If this write fails, too, the next line is appended to the partly written
                    // one.
                    let _ended = file.write_all(b"\n");
                }
                return Err((count(left), error));
            }
        }
    }
    Ok(())
}

/// Sends each line as one datagram, in the format that local syslog daemons expect (RFC 3164 §4.1,
/// without a host name).
fn write_syslog(
    (path, socket): (&Path, &mut UnixDatagram),
    lines: &[u8],
) -> Result<(), (u64, io::Error)> {
    let mut lost = 0;
    let mut failed = None;
    let mut message = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        message.clear();
        time::push_syslog_head(&mut message, PRIORITY, std::time::SystemTime::now());
        message.extend_from_slice(line);
        if let Err(error) = send((path, socket), &message) {
            lost += 1;
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), |error| Err((lost, error)))
}

/// Sends a message to the syslog daemon. If that fails, connects again, because the daemon may have
/// been restarted, and sends the message once more.
fn send((path, socket): (&Path, &mut UnixDatagram), message: &[u8]) -> io::Result<()> {
    if socket.send(message).is_ok() {
        return Ok(());
    }
    *socket = connect(path)?;
    socket.send(message).map(drop)
}

/// Starts the writing thread, which ends when the queue is closed and all its lines are written.
pub(super) fn start(output: Output, queue: &Arc<Queue>) -> io::Result<()> {
    let queue = Arc::clone(queue);
    let thread = thread::Builder::new().name("access-log".to_owned());
    thread.spawn(move || run(output, &queue)).map(drop)
}

fn run(mut output: Output, queue: &Queue) {
    let mut lines = Vec::new();
    let mut logged_at = None;
    loop {
        let work = queue.take(&mut lines);
        if work.reopen
            && let Err(error) = output.reopen()
        {
            tracing::error!(%error, "cannot reopen the access log; writing to the old file");
        }
        let all = count(&lines);
        let lost = match output.write(&lines) {
            Ok(()) => 0,
            Err((lost, error)) => {
                log_failure(&mut logged_at, &error);
                lost
            }
        };
        queue.counts.not_written.fetch_add(lost, Relaxed);
        queue
            .counts
            .written
            .fetch_add(all.saturating_sub(lost), Relaxed);
        lines.clear();
        if work.last {
            return queue.end();
        }
        thread::sleep(GATHER);
    }
}

fn log_failure(logged_at: &mut Option<Instant>, error: &io::Error) {
    if logged_at.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
        *logged_at = Some(Instant::now());
        tracing::error!(
            %error,
            "cannot write to the access log; lines are dropped and counted in \
             lb_access_log_dropped_total"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_gets_a_message_a_line_also_after_it_was_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).expect("bound");
        let received = |daemon: &UnixDatagram| {
            let mut message = [0; 200];
            let length = daemon.recv(&mut message).expect("a message");
            String::from_utf8_lossy(&message[..length]).into_owned()
        };
        let mut output = Output::syslog(path.clone()).expect("connected");
        output.write(b"one\ntwo\n").expect("sent");
        let process = std::process::id();
        for line in ["one", "two"] {
            let message = received(&daemon);
            assert!(message.starts_with("<134>"), "{message}");
            let end = format!(" lb[{process}]: {line}");
            assert!(message.ends_with(&end), "{message}");
        }
        drop(daemon);
        std::fs::remove_file(&path).expect("removed");
        let (lost, _) = output.write(b"lost\nlost\n").expect_err("nobody is there");
        assert_eq!(lost, 2);
        let daemon = UnixDatagram::bind(&path).expect("bound again");
        output.write(b"three\n").expect("sent");
        assert!(received(&daemon).ends_with(": three"));
    }
}
