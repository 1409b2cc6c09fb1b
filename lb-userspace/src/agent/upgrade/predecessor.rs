//! The part of an upgrade that the old process carries out.

use std::{
    env, io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{
    DETACHED, Gift, Report, TAKE_OVER,
    channel::{Channel, MAX_DESCRIPTORS},
};
use crate::{
    agent::pair::{Left, Moving},
    tickets::Offer,
};

/// How long the new process may take to read its configuration, and then the same time again until
/// it serves.
const STARTING: Duration = Duration::from_secs(45);

/// How long a new process that failed may take to exit: it waits for the connections that it has
/// accepted.
const ENDING: Duration = Duration::from_secs(5);

/// The sockets and state that the old process passes to the new one.
#[derive(Debug)]
pub(in crate::agent) struct Bequest {
    /// The listening sockets of the services, by the address that they listen on.
    pub(in crate::agent) listeners: Vec<(SocketAddr, Vec<OwnedFd>)>,
    /// The listening socket of the HTTP admin server, and its address.
    pub(in crate::agent) admin: (SocketAddr, OwnedFd),
    /// The directory of the pins and the lock on it; `None` in tests.
    pub(in crate::agent) lock: Option<(PathBuf, OwnedFd)>,
    /// The keys of TLS session tickets.
    pub(in crate::agent) tickets: Option<Offer>,
    /// The addresses that move between the hosts of the pair; `None` if this host has no peer.
    pub(in crate::agent) moves: Option<Moving>,
}

/// The old process's end of the channel to the new process.
#[derive(Debug)]
pub(in crate::agent) struct Successor(Channel);

/// Starts the binary that is now installed at the path of this process's binary, with the arguments
/// of this process.
///
/// # Errors
/// The cause, as a sentence for the operator.
pub(in crate::agent) fn spawn() -> Result<Successor, String> {
    let binary = installed_binary().map_err(|error| format!("cannot find the binary: {error}"))?;
    let failed = |error: io::Error| format!("cannot start {}: {error}", binary.display());
    let (channel, theirs) = Channel::pair().map_err(failed)?;
    let arguments = env::args_os().skip(1).filter(|one| one != TAKE_OVER);
    Command::new(&binary)
        .args(arguments)
        .arg(TAKE_OVER)
        .env_remove(DETACHED)
        .stdin(Stdio::from(theirs))
        // The child that is started here starts the process that takes over, and exits.
        .status()
        .map_err(failed)?;
    Ok(Successor(channel))
}

/// Returns the path at which this process's binary was installed. After a package manager has
/// replaced the file, the kernel appends ` (deleted)` to the path of the running binary.
fn installed_binary() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(match text.strip_suffix(" (deleted)") {
        Some(installed) => PathBuf::from(installed),
        None => path.clone(),
    })
}

impl Successor {
    /// Waits until the new process has read its configuration. Returns its PID.
    ///
    /// # Errors
    /// Why the new process does not take over, as a sentence for the operator.
    pub(in crate::agent) fn wait_until_ready(&self) -> Result<u32, String> {
        match self.report()? {
            Report::Ready(process) => Ok(process),
            other => Err(refusal(other)),
        }
    }

    /// Passes `bequest` to the new process, and waits until the new process serves. If the new
    /// process requests the pair, this process leaves the pair by calling `leave`. The second value
    /// that this returns is the result of `leave`, or `None` if it was not called.
    ///
    /// # Errors
    /// Why the new process does not serve, as a sentence for the operator. It may still be running:
    /// see [`Self::wait_until_ended`].
    pub(in crate::agent) fn hand_over(
        &self,
        (bequest, process): (&Bequest, u32),
        leave: impl FnOnce() -> Option<Left>,
    ) -> (Result<(), String>, Option<Left>) {
        let given = self.give(bequest);
        let given = given.map_err(|error| cannot_pass("the sockets", &error));
        let report = given.and_then(|()| self.report());
        let Ok(Report::WantsPair) = report else {
            return (report.and_then(serving), None);
        };
        let left = leave();
        let told = self.0.send(&Gift::Pair(left.clone()), &[]);
        let told = told.map_err(|error| cannot_pass("the pair", &error));
        let report = told.and_then(|()| self.report());
        if report.is_err() {
            // The new process is killed, because it is unknown which sockets and addresses of the
            // pair it holds.
            self.kill(process);
        }
        (report.and_then(serving), left)
    }

    fn give(&self, bequest: &Bequest) -> io::Result<()> {
        for (address, sockets) in &bequest.listeners {
            for some in sockets.chunks(MAX_DESCRIPTORS) {
                let some: Vec<_> = some.iter().map(|socket| socket.as_fd()).collect();
                self.0.send(&Gift::Listeners(*address), &some)?;
            }
        }
        let (address, socket) = &bequest.admin;
        self.0.send(&Gift::Admin(*address), &[socket.as_fd()])?;
        if let Some((path, lock)) = &bequest.lock {
            self.0.send(&Gift::Lock(path.clone()), &[lock.as_fd()])?;
        }
        if let Some(offer) = &bequest.tickets {
            self.0.send(&Gift::Tickets(offer.clone()), &[])?;
        }
        if let Some(moves) = &bequest.moves {
            self.0.send(&Gift::Moves(moves.clone()), &[])?;
        }
        self.0.send(&Gift::All, &[])
    }

    fn report(&self) -> Result<Report, String> {
        match self.0.receive(STARTING) {
            Ok((report, _none)) => Ok(report),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("the new process did not start within {STARTING:?}"))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err("the new process ended: the log has the reason".to_owned())
            }
            Err(error) => Err(format!("invalid message from the new process: {error}")),
        }
    }

    /// Waits until the new process has ended, which closes its end of the channel and all
    /// descriptors that were passed to it. Kills the process if it does not end in time.
    pub(in crate::agent) fn wait_until_ended(&self, process: u32) {
        if !self.has_ended() {
            self.kill(process);
        }
    }

    fn kill(&self, process: u32) {
        if let Ok(number) = i32::try_from(process) {
            // `kill` fails if the process ended just before.
            let _gone = signal::kill(Pid::from_raw(number), Signal::SIGKILL);
        }
        self.has_ended();
    }

    fn has_ended(&self) -> bool {
        let end = Instant::now() + ENDING;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.0.receive::<Report>(left.max(Duration::from_millis(1))) {
                Err(error) => return error.kind() == io::ErrorKind::UnexpectedEof,
                // The new process has repeated the report of its failure, so this process continues
                // waiting for its end.
                Ok(_) if Instant::now() < end => {}
                Ok(_) => return false,
            }
        }
    }
}

fn cannot_pass(what: &str, error: &io::Error) -> String {
    format!("cannot pass {what} to the new process: {error}")
}

fn serving(report: Report) -> Result<(), String> {
    match report {
        Report::Serving => Ok(()),
        other => Err(refusal(other)),
    }
}

fn refusal(report: Report) -> String {
    match report {
        Report::Failed(reason) => reason,
        Report::Ready(_) | Report::WantsPair | Report::Serving => {
            "the new process sent its reports out of order".to_owned()
        }
    }
}
