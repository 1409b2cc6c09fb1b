//! The old process's side of an upgrade.

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

/// How long the new process may take to read its configuration, and again to serve.
const STARTING: Duration = Duration::from_secs(45);

/// How long a new process that fails may take to end: it lets connections end that it has accepted.
const ENDING: Duration = Duration::from_secs(5);

/// What the new process takes over.
#[derive(Debug)]
pub(in crate::agent) struct Bequest {
    /// The listening sockets of each address of a service.
    pub(in crate::agent) listeners: Vec<(SocketAddr, Vec<OwnedFd>)>,
    /// The listening socket of `admin.listen`.
    pub(in crate::agent) admin: (SocketAddr, OwnedFd),
    /// The lock on the directory of the pins; `None`: there is none.
    pub(in crate::agent) lock: Option<(PathBuf, OwnedFd)>,
    /// The keys of session tickets.
    pub(in crate::agent) tickets: Option<Offer>,
    /// What moves between the hosts of the pair; `None`: the host is alone.
    pub(in crate::agent) moves: Option<Moving>,
}

/// A new process that was started.
#[derive(Debug)]
pub(in crate::agent) struct Successor(Channel);

/// Starts the binary that this process was started from, as it is installed now, with the arguments of
/// this process.
///
/// # Errors
/// A sentence that says what is wrong.
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
        // It starts the process that takes over, and ends.
        .status()
        .map_err(failed)?;
    Ok(Successor(channel))
}

/// Where this process's binary was installed. A package manager puts the next version in its place, so
/// that the kernel calls the file that runs deleted.
fn installed_binary() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(match text.strip_suffix(" (deleted)") {
        Some(installed) => PathBuf::from(installed),
        None => path.clone(),
    })
}

impl Successor {
    /// Waits until the new process has read its configuration. Returns its number.
    ///
    /// # Errors
    /// A sentence that says why it will not take over.
    pub(in crate::agent) fn wait_until_ready(&self) -> Result<u32, String> {
        match self.report()? {
            Report::Ready(process) => Ok(process),
            other => Err(refusal(other)),
        }
    }

    /// Gives it everything, and waits until it serves. Where it asks for the pair, this process leaves
    /// that by `leave`: the second value says whether it has, and how.
    ///
    /// # Errors
    /// A sentence that says why it does not. It may not have ended: see [`Self::wait_until_ended`].
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
            // What it holds of the pair is not known.
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
                Err("the new process ended: the log says why".to_owned())
            }
            Err(error) => Err(format!("the new process cannot be understood: {error}")),
        }
    }

    /// Waits until the process has ended, with its end of the channel and everything that it was given;
    /// kills it where it takes too long.
    pub(in crate::agent) fn wait_until_ended(&self, process: u32) {
        if !self.has_ended() {
            self.kill(process);
        }
    }

    fn kill(&self, process: u32) {
        if let Ok(number) = i32::try_from(process) {
            // It may have ended just now.
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
                // It says once more why it failed.
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
            "the new process reports out of order".to_owned()
        }
    }
}
