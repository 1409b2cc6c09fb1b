//! Adverts on the wire: one raw socket that both sends and receives them.
//!
//! Nothing that the network does makes this module fail: failed sends are counted and logged, refused
//! packets are counted by reason, and a socket whose interface was removed is reopened when the
//! interface is back.

mod counters;
mod listen;
mod quiet;
mod settings;
mod socket;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_ha::advert::{Advert, Encoder, Priority, Wire};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

pub use self::{
    counters::Counters,
    settings::{Error, KeyFileProblem},
};
use self::{
    quiet::Quiet,
    socket::{Refused, Route, Socket},
};
use crate::config::{Ha, Node};

/// Adverts that wait for the agent. It takes them immediately; more than these wait only in a flood of
/// forgeries that cannot be distinguished from the peer's adverts, or when it does not run for seconds.
const WAITING: usize = 64;

/// Sends this host's adverts. Dropping it also ends the listening.
#[derive(Debug)]
pub struct Adverts {
    shared: Arc<Shared>,
    speaker: Mutex<Speaker>,
    listening: JoinHandle<()>,
}

/// A valid advert of this virtual router.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The content of the advert.
    pub advert: Advert,
    /// The address of the sender.
    pub from: IpAddr,
    /// When it was taken from the socket.
    pub at: Instant,
}

#[derive(Debug)]
struct Speaker {
    encoder: Encoder,
    quiet: Quiet,
    failing: bool,
}

/// The state that the sender and the listening task share.
#[derive(Debug)]
struct Shared {
    wire: Wire,
    route: Route,
    /// The socket; `None` while it cannot be opened.
    socket: Mutex<Option<Arc<Socket>>>,
    /// Notified when a send failed: the listening task checks the socket.
    trouble: Notify,
    counters: Mutex<Counters>,
}

impl Adverts {
    /// Opens the socket and starts to listen. Received adverts come out of the channel, which ends only
    /// with the `Adverts`. An interface or address that does not exist yet is waited for.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// The settings are inconsistent, the key file is invalid, or the kernel refuses a raw socket, which
    /// takes `CAP_NET_RAW`.
    pub fn open(ha: &Ha, node: &Node) -> Result<(Self, mpsc::Receiver<Received>), Error> {
        let wire = settings::wire(ha)?;
        let shared = Arc::new(Shared {
            route: Route::new(&wire, node.interfaces.first()),
            wire: wire.clone(),
            socket: Mutex::new(None),
            trouble: Notify::new(),
            counters: Mutex::new(Counters::default()),
        });
        let mut quiet = Quiet::default();
        shared.open_socket(&mut quiet)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let listening = tokio::spawn(listen::listen(Arc::clone(&shared), sender, quiet));
        let speaker = Speaker {
            encoder: Encoder::new(wire),
            quiet: Quiet::default(),
            failing: false,
        };
        let adverts = Self {
            shared,
            speaker: Mutex::new(speaker),
            listening,
        };
        Ok((adverts, receiver))
    }

    /// Sends an advert with this priority now; [`Priority::GOODBYE`] announces that this host stops. Does
    /// not wait: a failed send is counted and logged.
    pub fn send(&self, priority: Priority) {
        let mut speaker = locked(&self.speaker);
        let advert = speaker.encoder.encode(priority, utc());
        let sent = match &*locked(&self.shared.socket) {
            Some(socket) => socket.send(&advert),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(()) => {
                locked(&self.shared.counters).sent += 1;
                speaker.say_that_it_works(&self.shared.route);
            }
            Err(error) => {
                locked(&self.shared.counters).send_errors += 1;
                speaker.say_that_it_fails(&self.shared.route, &error);
                self.shared.trouble.notify_one();
            }
        }
    }

    /// Returns the numbers of adverts sent, received and refused.
    #[must_use]
    pub fn counters(&self) -> Counters {
        locked(&self.shared.counters).clone()
    }
}

impl Drop for Adverts {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Speaker {
    fn say_that_it_works(&mut self, route: &Route) {
        if self.failing {
            self.failing = false;
            tracing::info!(peer = %route.destination, "adverts are sent again");
        }
    }

    fn say_that_it_fails(&mut self, route: &Route, error: &io::Error) {
        self.failing = true;
        let Some(suppressed) = self.quiet.may_say("send") else {
            return;
        };
        let Route {
            source,
            destination,
            interface,
        } = route;
        let hint = match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::AddrNotAvailable => {
                "; ha.source must be an address of this host"
            }
            io::ErrorKind::NotConnected => "; the socket waits for the interface",
            _ => "",
        };
        tracing::warn!(
            %source,
            peer = %destination,
            %interface,
            error = %format_args!("{error}{hint}"),
            suppressed,
            "cannot send adverts: the peer will take over"
        );
    }
}

impl Shared {
    /// Reopens the socket, or leaves none if that is not possible now.
    ///
    /// # Errors
    /// A failure that a retry cannot cure.
    fn open_socket(&self, quiet: &mut Quiet) -> Result<(), Error> {
        let opened = Socket::open(&self.route);
        let (socket, refused) = match opened {
            Ok(socket) => (Some(Arc::new(socket)), None),
            Err(refused) => (None, Some(refused)),
        };
        *locked(&self.socket) = socket;
        match refused {
            None => Ok(()),
            Some(Refused::ForGood(error)) => Err(error),
            Some(Refused::ForNow { step, error }) => {
                if let Some(suppressed) = quiet.may_say("open") {
                    tracing::warn!(
                        interface = %self.route.interface,
                        step,
                        %error,
                        suppressed,
                        "cannot listen for adverts; retrying"
                    );
                }
                Ok(())
            }
        }
    }

    fn socket(&self) -> Option<Arc<Socket>> {
        locked(&self.socket).clone()
    }
}

/// Returns the time since 1970, or zero for a clock before that.
fn utc() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Locks a mutex. Its state is consistent even after a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
