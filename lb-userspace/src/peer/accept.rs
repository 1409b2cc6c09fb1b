//! The side of the link between the agents that accepts connections: the host with the higher
//! address.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{
    Error, Refusal, Shared,
    greet::{Greeted, greet},
    session::Outlets,
    set_up,
};

/// Highest number of connections whose TLS handshake is in progress at the same time.
const SHAKING_HANDS: usize = 8;
/// Backlog of the listening socket, in connections.
const BACKLOG: i32 = 16;
/// How long the task waits after accepting a connection failed, for instance because no file
/// descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the socket that listens for connections of the peer.
pub(super) fn bind(address: SocketAddr) -> Result<StdListener, Error> {
    let bind = || {
        let domain = socket2::Domain::for_address(address);
        let kind = socket2::Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new(domain, kind, None)?;
        // Without this option, binding fails while connections of an earlier agent are in
        // TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| Error::Listen { address, source })
}

/// Accepts connections of the peer and runs the newest one, for as long as the agent runs.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: StdListener,
    config: Arc<ServerConfig>,
    outlets: Outlets,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            let sentence = format!("cannot listen for the peer: {error}; restart lb");
            tracing::error!(%error, "cannot listen for the peer: restart lb");
            shared.counters.problem(&sentence);
            return;
        }
    };
    let acceptor = TlsAcceptor::from(config);
    let (greeted, next) = mpsc::channel(1);
    tokio::select! {
        () = take_in(&shared, &listener, &acceptor, &greeted) => {}
        () = hold_newest(&shared, next, &outlets) => {}
    }
}

/// Runs the connection that completed its greeting last, while the agent listens: a newer
/// connection replaces the one that runs.
async fn hold_newest(shared: &Shared, mut next: mpsc::Receiver<Greeted>, outlets: &Outlets) {
    let mut waiting = None;
    loop {
        let greeted = match waiting.take() {
            Some(greeted) => greeted,
            None => match next.recv().await {
                Some(greeted) => greeted,
                None => return,
            },
        };
        let replaced = async { waiting = next.recv().await };
        if shared.run(greeted, outlets, replaced).await.is_none() {
            return;
        }
    }
}

/// Accepts connections and runs their handshakes, at most [`SHAKING_HANDS`] at the same time.
async fn take_in(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    greeted: &mpsc::Sender<Greeted>,
) {
    // Dropping this future drops the tasks with it, so no handshake outlives the listener.
    let mut tasks = JoinSet::new();
    let mut shaking: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the port for the peer");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        shaking.retain(|task| !task.is_finished());
        if shared.settings.check_source && address.ip() != shared.settings.peer.ip() {
            refuse_address(shared, address);
            continue;
        }
        make_room(shared, &mut shaking);
        let task = shake_hands(
            Arc::clone(shared),
            stream,
            acceptor.clone(),
            greeted.clone(),
        );
        shaking.push_back(tasks.spawn(task));
    }
}

/// Aborts the oldest handshake if the highest number is in progress: a peer that reconnects is
/// quick, and must not wait for stalled handshakes.
fn make_room(shared: &Shared, shaking: &mut VecDeque<AbortHandle>) {
    if shaking.len() < SHAKING_HANDS {
        return;
    }
    if let Some(oldest) = shaking.pop_front() {
        oldest.abort();
        let sentence =
            format!("more than {SHAKING_HANDS} TLS handshakes for the link are in progress");
        shared.refused(Refusal::Crowded, &sentence);
    }
}

fn refuse_address(shared: &Shared, address: SocketAddr) {
    let (found, peer) = (address.ip(), shared.settings.peer.ip());
    let sentence = format!("a connection to the link came from {found} instead of the peer {peer}");
    shared.refused(Refusal::Address, &sentence);
}

async fn shake_hands(
    shared: Arc<Shared>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    greeted: mpsc::Sender<Greeted>,
) {
    let rhythm = shared.settings.rhythm;
    let handshake = async {
        set_up(&stream, rhythm)?;
        let stream = acceptor.accept(stream).await?;
        io::Result::Ok(TlsStream::from(stream))
    };
    match greet(handshake, &shared.settings).await {
        Ok(newest) => {
            // Sending fails if the agent has dropped the link to the peer, in which case this task
            // ends too.
            let _held = greeted.send(newest).await;
        }
        Err((refusal, sentence)) => shared.refused(refusal, &sentence),
    }
}
