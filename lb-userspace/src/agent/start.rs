//! The start of an agent. Every step that can fail comes before the first step that is visible
//! outside of the process, and if a step fails, the steps before it are undone.

use std::{
    collections::{BTreeSet, HashMap},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};

use super::{
    Error,
    feeds::Feeds,
    file_watch::{FileWatch, Stamps},
    kernel::Kernel,
    pair::{Bound, Moving, Pair},
    run::{self, AdminListener, Agent, Discovery, Expiry, Handover},
    shared::{Shared, State, indices},
    upgrade::Inherited,
};
use crate::{
    acme::{Acme, Challenges},
    admin::{self, Access, AdminSocket, Servers},
    config::{self, Config},
    dataplane,
    discovery::{Discovered, Now},
    health::{Checked, Checks, Records},
    logging::Logging,
    peer::Certificates,
    pool::{BackendRegistry, PoolView, SavedStates, StateFile},
    proxy::{self, Proxy},
    tickets::TicketKeys,
};

/// Listening sockets of the HTTP front, by address.
type Listeners = HashMap<SocketAddr, Vec<TcpListener>>;

/// Number of operators' commands that can wait for the agent's loop.
const WAITING_COMMANDS: usize = 16;
/// Interval at which the agent's loop notifies systemd's watchdog and does its periodic work: see
/// `Agent::watchdog_tick`.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);
/// How long the connections that the HTTP front of a new process has accepted may continue after
/// the process failed to start or to take over.
const CLEARING: Duration = Duration::from_secs(4);
/// Interval at which TLS files are checked for changes on disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts an agent, with the sockets and state that it inherits from an earlier process. `open`
/// opens the packet path. Must be called within a tokio runtime.
pub(super) fn start<K: Kernel>(
    file: PathBuf,
    config: &Config,
    (mut inherited, logging): (Inherited, Logging),
    open: impl FnOnce(&config::Node, &config::Dataplane) -> Result<K, dataplane::Error>,
) -> Result<Agent<K>, Error> {
    refuse_other_moves(config, &inherited)?;
    let doors = Doors::open(&config.admin, &mut inherited)?;
    let mut discovery = Discovery::recall(state_path(config, "backends.json"));
    let discovered = Discovered::new(&config.pools, discovery.saved(), Now::read());
    let config = config.with_discovered(&discovered.backends()).config;
    let state_file = StateFile::beside(&config.admin.socket);
    let registry = BackendRegistry::new(&config.pools, &recall(&state_file), SystemTime::now());
    let feeds = Feeds::default().renewed(&registry);
    let tickets = TicketKeys::new()?;
    if let Some(offer) = inherited.tickets() {
        tickets.heard(offer);
    }
    // If there is a predecessor, it stays in the pair until everything else is ready in this
    // process.
    let early = (!inherited.is_successor())
        .then(|| Pair::bind_where_configured(&config, None, Arc::default()))
        .transpose()?;
    let challenges = Challenges::default();
    let parts = (&tickets, &challenges, inherited.listeners());
    let tls_files = Stamps::of(proxy::tls_files(&config.services));
    let proxy = start_proxy(&config, &feeds, parts)?;
    let (kernel, proxy) = open_kernel_behind(proxy, &config, &registry, open)?;
    let (bound, effects) = match early {
        Some(opened) => opened,
        None => match take_over_pair(&config, &inherited) {
            Ok(opened) => opened,
            Err(error) => {
                inherited.failed(&error);
                // The start has failed, but the HTTP front has accepted connections already: these
                // get some time to end.
                proxy.drain(CLEARING);
                return Err(error);
            }
        },
    };

    // None of the following steps of the start can fail.
    let journal = logging.journal.clone();
    let events_file = config.log.events_file.clone();
    journal.open(&events_file.unwrap_or_else(|| state_path(&config, "events.jsonl")));
    let flows = kernel.flows();
    let (checks, outcomes) = start_checks(&config);
    discovery.query(&config);
    let certificates = Certificates::new(shares_certificates(&config), run::inspect);
    let (mut acme, acme_news) = Acme::new(challenges, run::inspect_obtained, config.ha.is_some());
    acme.apply(&config);
    let (file_watch, changed_files) = FileWatch::start(LOOK_EVERY);
    file_watch.watch(tls_files);
    let snapshots = bound.as_ref().map(|bound| Arc::clone(bound.snapshots()));
    let shared = Arc::new(Shared::new(
        (kernel, proxy),
        state(config, discovered, registry),
        snapshots,
        (acme.statuses().clone(), journal),
    ));
    let (servers, commands, admin_listener) = doors.serve(&shared);
    let mut agent = Agent {
        file,
        shared,
        checks,
        outcomes,
        discovery,
        commands,
        feeds,
        state_file,
        servers,
        watchdog: watchdog(),
        pair: None,
        effects,
        lost_pair: false,
        handover: Handover::none(),
        all_checked: false,
        unremembered: false,
        tickets,
        certificates,
        acme,
        acme_news,
        file_watch,
        changed_files,
        admin_listener,
        upgrading: None,
        took_over: inherited.is_successor(),
        expiry: Expiry::default(),
        logging,
    };
    agent.send_certificates();
    agent.start_pair(bound, flows);
    Ok(agent)
}

/// The sockets for operators: the admin socket for commands, and the listener of the HTTP admin
/// server.
struct Doors {
    socket: AdminSocket,
    listener: tokio::net::TcpListener,
    access: Access,
    /// A second descriptor of `listener`, for the next process.
    admin_listener: AdminListener,
}

impl Doors {
    fn open(admin: &config::Admin, inherited: &mut Inherited) -> Result<Self, Error> {
        let socket = if inherited.is_successor() {
            // The predecessor answers at the socket's path until this process serves, so this
            // process binds its socket at another path first.
            AdminSocket::bind_beside(&admin.socket)?
        } else {
            // Binding fails if another agent is running, before this process could take that
            // agent's connections.
            AdminSocket::bind(&admin.socket)?
        };
        let access = Access::of(admin)?;
        let address = admin.listen;
        let listener = bind_admin(address, inherited.admin(address))?;
        let descriptor = listener.as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|source| Error::Listen { address, source })?;
        Ok(Self {
            socket,
            listener,
            access,
            admin_listener: AdminListener {
                address,
                descriptor,
            },
        })
    }

    /// Starts to serve on both sockets for operators: the admin socket and the listener of the HTTP
    /// admin server. The receiver yields the commands of operators.
    fn serve<K: Kernel>(
        mut self,
        shared: &Arc<Shared<K>>,
    ) -> (Servers, mpsc::Receiver<admin::Command>, AdminListener) {
        if let Err(error) = self.socket.put_in_place() {
            tracing::error!(error = %error, "cannot move the admin socket to its final path");
        }
        let source: Arc<dyn admin::Source> = Arc::<Shared<K>>::clone(shared);
        let (commands, received) = mpsc::channel(WAITING_COMMANDS);
        let servers = Servers::start((self.listener, self.access), self.socket, &source, commands);
        (servers, received, self.admin_listener)
    }
}

/// Opens the pair's sockets after the predecessor has left the pair.
fn take_over_pair(config: &Config, inherited: &Inherited) -> Result<Bound, Error> {
    let left = match config.ha {
        Some(_) => inherited.pair().map_err(Error::TakeOver)?,
        None => None,
    };
    Pair::bind_where_configured(config, left, Arc::default())
}

/// Refuses a configuration in which other addresses move between the hosts than in the
/// predecessor's. This is checked before the predecessor leaves the pair, as the addresses that it
/// holds would stay on the interface.
fn refuse_other_moves(config: &Config, inherited: &Inherited) -> Result<(), Error> {
    let ours = config.ha.as_ref().map(|ha| Moving::of(ha, &config.node));
    match (inherited.moves(), ours) {
        (Some(theirs), Some(ours)) if *theirs != ours => Err(Error::PairMoves),
        _ => Ok(()),
    }
}

fn start_checks(config: &Config) -> (Checks, mpsc::Receiver<Checked>) {
    let (mut checks, outcomes) = Checks::new();
    checks.apply(&config.pools);
    (checks, outcomes)
}

fn shares_certificates(config: &Config) -> bool {
    let link = config.ha.as_ref().and_then(|ha| ha.link.as_ref());
    link.is_some_and(|link| link.share_certificates)
}

/// Returns the state that is shared at the beginning, when the packet path has just been opened.
fn state(config: Config, discovered: Discovered, registry: BackendRegistry) -> State {
    State {
        records: Records::default().renewed(&config.pools, |id| {
            registry.status(id).is_none_or(|member| member.healthy)
        }),
        interfaces: indices(&config.node.interfaces),
        config,
        discovered,
        registry,
        unsettled: BTreeSet::new(),
        unusable: Vec::new(),
        differences: Vec::new(),
    }
}

/// Returns the path of a file that outlives a restart of the host: `name` in the folder that
/// systemd gives the agent (`StateDirectory=`), or else one beside the admin socket.
fn state_path(config: &Config, name: &str) -> PathBuf {
    let folders = std::env::var_os("STATE_DIRECTORY");
    let folder = folders.and_then(|folders| std::env::split_paths(&folders).next());
    let folder = folder.filter(|folder| folder.is_absolute());
    match folder {
        Some(folder) => folder.join(name),
        None => config.admin.socket.with_extension(name),
    }
}

fn watchdog() -> Interval {
    let mut watchdog = tokio::time::interval(WATCHDOG_INTERVAL);
    watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
    watchdog
}

fn bind_admin(
    address: SocketAddr,
    inherited: Option<TcpListener>,
) -> Result<tokio::net::TcpListener, Error> {
    let bind = || {
        let listener = inherited.map_or_else(|| TcpListener::bind(address), Ok)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    bind().map_err(|source| Error::Listen { address, source })
}

/// Returns the states of backends that an earlier agent saved. If the file cannot be read, that is
/// logged, and the agent starts without them.
fn recall(file: &StateFile) -> SavedStates {
    file.read().unwrap_or_else(|error| {
        let path = file.path().display();
        tracing::warn!(
            error = %error,
            path = %path,
            "cannot read the state file, operator overrides are lost"
        );
        SavedStates::default()
    })
}

fn start_proxy(
    config: &Config,
    feeds: &Feeds,
    (tickets, challenges, listeners): (&TicketKeys, &Challenges, Listeners),
) -> Result<Proxy, Error> {
    let proxy = Proxy::start(&config.http, tickets, challenges)
        .map_err(|error| Error::Proxy(vec![error]))?;
    proxy.inherit(listeners);
    match proxy.apply((&config.http, &config.log), feeds.frontends(config)) {
        Ok(()) => Ok(proxy),
        Err(errors) => {
            proxy.shutdown(Duration::ZERO);
            Err(Error::Proxy(errors))
        }
    }
}

/// Opens the packet path. If that fails, shuts the HTTP front down.
fn open_kernel_behind<K: Kernel>(
    proxy: Proxy,
    config: &Config,
    registry: &BackendRegistry,
    open: impl FnOnce(&config::Node, &config::Dataplane) -> Result<K, dataplane::Error>,
) -> Result<(K, Proxy), Error> {
    match open_kernel(config, registry, open) {
        Ok(kernel) => Ok((kernel, proxy)),
        Err(error) => {
            // No client was served yet, so there are no requests to wait for.
            proxy.shutdown(Duration::ZERO);
            Err(error.into())
        }
    }
}

fn open_kernel<K: Kernel>(
    config: &Config,
    registry: &BackendRegistry,
    open: impl FnOnce(&config::Node, &config::Dataplane) -> Result<K, dataplane::Error>,
) -> Result<K, dataplane::Error> {
    let mut kernel = open(&config.node, &config.dataplane)?;
    let views: Vec<Arc<PoolView>> = registry.views().cloned().collect();
    if let Err(error) = kernel.apply(&config.services, &views) {
        if let Err(error) = kernel.take_back() {
            tracing::error!(error = %error, "cannot detach the XDP program after a failed start");
        }
        return Err(error);
    }
    // An earlier agent may have put new connections on hold. If ending the hold fails here, it
    // expires by itself.
    if let Err(error) = kernel.hold(false) {
        tracing::warn!(error = %error, "cannot release the hold on new connections");
    }
    Ok(kernel)
}
