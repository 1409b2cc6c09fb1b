//! The new process's side of an upgrade.

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

/// Characters of a reason: it has to fit in a message.
const MAX_REASON: usize = 4_000;

/// The process that runs, as the new one sees it.
#[derive(Debug)]
pub(in crate::agent) struct Predecessor(Channel);

/// What a process took over from the one before it; nothing, where it was started by itself.
#[derive(Debug, Default)]
pub(in crate::agent) struct Inherited {
    listeners: HashMap<SocketAddr, Vec<TcpListener>>,
    admin: Option<(SocketAddr, TcpListener)>,
    lock: Option<(PathBuf, File)>,
    tickets: Option<Offer>,
    moves: Option<Moving>,
    /// The process that serves until this one does.
    predecessor: Option<Arc<Predecessor>>,
}

/// Whether this process's parent is not the agent that it takes over from.
pub(in crate::agent) fn is_detached() -> bool {
    env::var_os(DETACHED).is_some()
}

/// Starts this program again with the same arguments and the same standard input. When this process ends,
/// the other has no parent but the service manager.
///
/// # Errors
/// The system gave no process.
pub(in crate::agent) fn detach() -> io::Result<()> {
    Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DETACHED, "1")
        .spawn()
        .map(drop)
}

impl Predecessor {
    /// The process at the other end of standard input.
    ///
    /// # Errors
    /// Standard input is closed.
    pub(in crate::agent) fn at_standard_input() -> io::Result<Self> {
        let end = duplicate(&io::stdin())?;
        // Programs that this process starts have nothing to do with it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(Channel::from_end(end)))
    }

    /// Says that the configuration is valid, and receives what this process takes over.
    ///
    /// # Errors
    /// The old process has ended, is silent, or standard input is something else.
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

    /// Says that this process serves, and why not otherwise.
    ///
    /// # Errors
    /// The old process has ended.
    pub(in crate::agent) fn tell<E: Display>(&self, started: Result<(), &E>) -> io::Result<()> {
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

    /// Whether another process serves until this one does.
    pub(in crate::agent) fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Says at once that this process fails: the other one goes on while this one clears up.
    pub(in crate::agent) fn failed<E: Display>(&self, error: &E) {
        if let Some(predecessor) = &self.predecessor {
            // One that has ended goes on no more.
            let _gone = predecessor.tell(Err(error));
        }
    }

    /// What moves between the hosts, as the other process has it; `None`: it is in no pair.
    pub(in crate::agent) fn moves(&self) -> Option<&Moving> {
        self.moves.as_ref()
    }

    /// Has the other process leave the pair: this one is to go on at once. `None`: it was in none, or
    /// there is no other process.
    ///
    /// # Errors
    /// It has ended, or is silent.
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

    /// The listening sockets of the services, by address.
    pub(in crate::agent) fn listeners(&mut self) -> HashMap<SocketAddr, Vec<TcpListener>> {
        std::mem::take(&mut self.listeners)
    }

    /// The listening socket of the admin server, where it stays at this address.
    pub(in crate::agent) fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let admin = self.admin.take_if(|(held, _)| *held == address);
        admin.map(|(_, listener)| listener)
    }

    /// The keys of session tickets: clients go on with the sessions that they have.
    pub(in crate::agent) fn tickets(&mut self) -> Option<Offer> {
        self.tickets.take()
    }

    /// The lock on this directory.
    pub(in crate::agent) fn lock(&mut self, directory: &Path) -> Option<File> {
        let lock = self.lock.take_if(|(held, _)| held == directory);
        lock.map(|(_, file)| file)
    }
}
