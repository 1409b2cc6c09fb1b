//! The part of an upgrade that the new process carries out.

use std::{
    collections::HashMap,
    env,
    fmt::Display,
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use super::{
    DETACHED, Gift, Report,
    channel::{Channel, duplicate},
};
use crate::{
    agent::pair::{Left, Moving},
    tickets::Offer,
};

/// How long the old process may take to answer.
const ANSWERING: Duration = Duration::from_secs(10);

/// Highest number of characters of the reason for a failure, so that it fits into one message.
const MAX_REASON: usize = 4_000;

/// The new process's end of the channel to the old process.
#[derive(Debug)]
pub(in crate::agent) struct Predecessor(Channel);

/// The sockets and state that this process took over from its predecessor; empty if it has no
/// predecessor.
#[derive(Debug, Default)]
pub(in crate::agent) struct Inherited {
    listeners: HashMap<SocketAddr, Vec<TcpListener>>,
    admin: Option<(SocketAddr, TcpListener)>,
    lock: Option<(PathBuf, File)>,
    tickets: Option<Offer>,
    moves: Option<Moving>,
    /// The channel to the old process, which serves until this process does; `None` if there is
    /// none.
    predecessor: Option<Arc<Predecessor>>,
}

/// Returns whether this process is not a child of the agent that it takes over from, as [`detach`]
/// makes it.
pub(in crate::agent) fn is_detached() -> bool {
    env::var_os(DETACHED).is_some()
}

/// Starts this program again with the same arguments and the same standard input. When this process
/// ends, the service manager becomes the parent of the process that this starts.
///
/// # Errors
/// The system cannot start a process.
pub(in crate::agent) fn detach() -> io::Result<()> {
    Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DETACHED, "1")
        .spawn()
        .map(drop)
}

impl Predecessor {
    /// Takes the channel to the old process from this process's standard input.
    ///
    /// # Errors
    /// Standard input is closed.
    pub(in crate::agent) fn at_standard_input() -> io::Result<Self> {
        let end = duplicate(&io::stdin())?;
        // Standard input is replaced, because programs that this process starts must not inherit
        // the channel.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(Channel::from_end(end)))
    }

    /// Reports to the old process that the configuration is valid, and receives what this process
    /// takes over.
    ///
    /// # Errors
    /// The old process has ended or does not answer, or standard input is not a channel to such a
    /// process.
    pub(in crate::agent) fn inherit(self: &Arc<Self>) -> io::Result<Inherited> {
        self.0.send(&Report::Ready(process::id()), &[])?;
        let mut inherited = Inherited {
            predecessor: Some(Arc::clone(self)),
            ..Inherited::default()
        };
        loop {
            let (gift, descriptors) = self.0.receive(ANSWERING)?;
            if gift == Gift::All {
                return Ok(inherited);
            }
            inherited.take(gift, descriptors);
        }
    }

    /// Reports to the old process that this process serves, or why it does not.
    ///
    /// # Errors
    /// The old process has ended.
    pub(in crate::agent) fn report<E: Display>(&self, started: Result<(), &E>) -> io::Result<()> {
        let report = match started {
            Ok(()) => Report::Serving,
            Err(error) => Report::Failed(error.to_string().chars().take(MAX_REASON).collect()),
        };
        self.0.send(&report, &[])
    }
}

impl Inherited {
    fn take(&mut self, gift: Gift, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        match gift {
            Gift::Listeners(address) => {
                let listeners = self.listeners.entry(address).or_default();
                listeners.extend(descriptors.map(TcpListener::from));
            }
            Gift::Admin(address) => {
                self.admin = descriptors.next().map(|one| (address, one.into()));
            }
            Gift::Lock(path) => self.lock = descriptors.next().map(|one| (path, one.into())),
            Gift::Tickets(offer) => self.tickets = Some(offer),
            Gift::Moves(moves) => self.moves = Some(moves),
            Gift::All | Gift::Pair(_) => {}
        }
    }

    /// Returns whether this process takes over from another one.
    pub(in crate::agent) fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Reports to the old process immediately that this process failed, so that the old one resumes
    /// while this one cleans up.
    pub(in crate::agent) fn failed<E: Display>(&self, error: &E) {
        if let Some(predecessor) = &self.predecessor {
            // Sending fails if the old process has ended.
            let _gone = predecessor.report(Err(error));
        }
    }

    /// Returns the addresses that the old process moves between the hosts; `None` if it has no
    /// pair, or there is no old process.
    pub(in crate::agent) fn moves(&self) -> Option<&Moving> {
        self.moves.as_ref()
    }

    /// Makes the old process leave the pair; this process has to join the pair immediately after.
    /// Returns the state to resume from; `None` if the old process had no pair, or there is no old
    /// process.
    ///
    /// # Errors
    /// The old process has ended, or does not answer.
    pub(in crate::agent) fn pair(&self) -> io::Result<Option<Left>> {
        let Some(Predecessor(channel)) = self.predecessor.as_deref() else {
            return Ok(None);
        };
        channel.send(&Report::WantsPair, &[])?;
        match channel.receive(ANSWERING)? {
            (Gift::Pair(left), _none) => Ok(left),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Takes the inherited listening sockets of the services out of this value, by address.
    pub(in crate::agent) fn listeners(&mut self) -> HashMap<SocketAddr, Vec<TcpListener>> {
        std::mem::take(&mut self.listeners)
    }

    /// Takes the inherited listening socket of the HTTP admin server, if it is bound to this
    /// address.
    pub(in crate::agent) fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let admin = self.admin.take_if(|(held, _)| *held == address);
        admin.map(|(_, listener)| listener)
    }

    /// Takes the inherited keys of TLS session tickets, with which clients resume their sessions.
    pub(in crate::agent) fn tickets(&mut self) -> Option<Offer> {
        self.tickets.take()
    }

    /// Takes the inherited lock on the pins, if it is for this directory.
    pub(in crate::agent) fn lock(&mut self, directory: &Path) -> Option<File> {
        let lock = self.lock.take_if(|(held, _)| held == directory);
        lock.map(|(_, file)| file)
    }
}
