//! VRRP adverts on the wire: one raw socket that both sends and receives them.
//!
//! Nothing that the network does makes this module fail: failed sends are counted and logged,
//! refused packets are counted by reason, and a socket whose interface was removed is reopened when
//! the interface is back.

mod counters;
mod listen;
mod log_limit;
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
    log_limit::LogLimit,
    socket::{Refused, Route, Socket},
};
use crate::config::{Ha, Node};

/// Capacity of the channel of received adverts. The agent normally takes each advert immediately;
/// the channel fills only in a flood of forgeries that cannot be distinguished from the peer's
/// adverts, or when the agent does not run for seconds.
const WAITING: usize = 64;

/// Sends this host's VRRP adverts. Dropping it also ends the task that receives the peer's.
#[derive(Debug)]
pub struct Adverts {
    shared: Arc<Shared>,
    speaker: Mutex<Speaker>,
    listening: JoinHandle<()>,
}

/// A valid advert of this host's virtual router that was received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The content of the advert.
    pub advert: Advert,
    /// The source address of the packet.
    pub from: IpAddr,
    /// When the advert was taken from the socket.
    pub at: Instant,
}

#[derive(Debug)]
struct Speaker {
    encoder: Encoder,
    log_limit: LogLimit,
    failing: bool,
}

/// The state that the sender and the receiving task share.
#[derive(Debug)]
struct Shared {
    wire: Wire,
    route: Route,
    /// The raw socket; `None` while it cannot be opened.
    socket: Mutex<Option<Arc<Socket>>>,
    /// Notified when an advert could not be sent, so that the receiving task checks the socket.
    trouble: Notify,
    counters: Mutex<Counters>,
}

impl Adverts {
    /// Opens the socket and starts to listen. The returned channel delivers the received adverts,
    /// and ends only when the `Adverts` are dropped. If the interface or address does not exist
    /// yet, this succeeds, and the socket is opened when it exists.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The settings are inconsistent, the key file is invalid, or the kernel refuses a raw socket,
    /// which takes `CAP_NET_RAW`.
    pub fn open(ha: &Ha, node: &Node) -> Result<(Self, mpsc::Receiver<Received>), Error> {
        let wire = settings::wire(ha)?;
        let shared = Arc::new(Shared {
            route: Route::new(&wire, node.interfaces.first()),
            wire: wire.clone(),
            socket: Mutex::new(None),
            trouble: Notify::new(),
            counters: Mutex::new(Counters::default()),
        });
        let mut log_limit = LogLimit::default();
        shared.open_socket(&mut log_limit)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let listening = tokio::spawn(listen::listen(Arc::clone(&shared), sender, log_limit));
        let speaker = Speaker {
            encoder: Encoder::new(wire),
            log_limit: LogLimit::default(),
            failing: false,
        };
        let adverts = Self {
            shared,
            speaker: Mutex::new(speaker),
            listening,
        };
        Ok((adverts, receiver))
    }

    /// Sends an advert with this priority immediately; [`Priority::GOODBYE`] says that this host
    /// stops. Does not wait: an advert that cannot be sent is counted and logged.
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

    /// Returns how many adverts were sent, received and refused.
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
        let Some(suppressed) = self.log_limit.permit("send") else {
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
    /// Opens the socket again. Succeeds also if that is impossible now but a retry may succeed;
    /// there is no socket then.
    ///
    /// # Errors
    /// The kernel's refusal is permanent, so a retry cannot succeed.
    fn open_socket(&self, log_limit: &mut LogLimit) -> Result<(), Error> {
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
                if let Some(suppressed) = log_limit.permit("open") {
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

/// Returns the time since the Unix epoch (1970), or zero if the system clock is set to an earlier
/// time.
fn utc() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Locks a mutex, even if a thread panicked while it held the lock: the protected state is
/// consistent then, too.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
