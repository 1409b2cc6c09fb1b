//! The side of the link between the agents that connects: the host with the lower address.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{
    Settings, Shared,
    greet::{Greeted, greet},
    session::Outlets,
    set_up, tls,
};

/// Time limit for establishing the TCP connection to the peer.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// The first pause between two attempts to dial, and the longest. The pause doubles with each
/// attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection must have lasted for the pause between attempts to start at its minimum
/// again.
const GOOD: Duration = Duration::from_secs(1);

/// Dials the peer again and again, and runs each connection to its end, for as long as the agent
/// runs.
pub(super) async fn run(shared: Arc<Shared>, config: Arc<ClientConfig>, outlets: Outlets) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        if let Some(greeted) = dial(&shared, &config).await {
            let began = Instant::now();
            if shared.hold(greeted, &outlets).await.is_none() {
                return;
            }
            if began.elapsed() >= GOOD {
                pause = FIRST_PAUSE;
            }
        }
        // The pause counts from the start of the attempt to dial: a slow attempt is followed only
        // by the shortest pause.
        let rest = jittered(pause).saturating_sub(began.elapsed());
        sleep(rest.max(FIRST_PAUSE / 2)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn dial(shared: &Shared, config: &Arc<ClientConfig>) -> Option<Greeted> {
    let settings = &shared.settings;
    let stream = match timeout(CONNECT_LIMIT, connect(settings)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unreached(shared, &unreachable(settings.peer, &error)),
        Err(_) => {
            let (peer, port) = (settings.peer, settings.peer.port());
            let sentence = format!(
                "the peer {peer} does not answer; check that lb runs there, and that firewalls \
                 and security groups allow TCP port {port}"
            );
            return unreached(shared, &sentence);
        }
    };
    match greet(handshake(stream, config), settings).await {
        Ok(greeted) => Some(greeted),
        Err((refusal, sentence)) => {
            shared.refused(refusal, &sentence);
            None
        }
    }
}

async fn connect(settings: &Settings) -> io::Result<TcpStream> {
    let socket = match settings.source {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(settings.source.ip(), 0))?;
    let stream = socket.connect(settings.peer).await?;
    set_up(&stream, settings.rhythm)?;
    Ok(stream)
}

async fn handshake(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = tls::server_name().map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await?;
    Ok(stream.into())
}

fn unreached(shared: &Shared, sentence: &str) -> Option<Greeted> {
    shared.counters.unreached.fetch_add(1, Relaxed);
    if shared.counters.problem(sentence) {
        tracing::warn!(peer = %shared.settings.peer, error = %sentence, "cannot reach the peer");
    }
    None
}

fn unreachable(peer: SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "; check that lb runs there, with [ha.link]",
        io::ErrorKind::AddrNotAvailable => "; `ha.source` must be an address of this host",
        _ => "",
    };
    format!("cannot connect to the peer {peer}: {error}{hint}")
}

/// Returns a random duration between 75 and 125 % of a pause.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128];
    // If there are no random numbers, the pause has a fixed length, which is harmless.
    let _filled = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    pause * 3 / 4 + pause / 2 * u32::from(byte) / 255
}
