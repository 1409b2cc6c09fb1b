//! The servers of the operator and of Prometheus: how they accept, and how they end.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{AdminSocket, Command, Source, http};

/// How long answers that are under way may take when the servers end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// After an accept that failed (no file descriptors, as a rule).
const PAUSE: Duration = Duration::from_millis(100);

/// Both servers.
#[derive(Debug)]
pub struct Servers {
    tasks: JoinSet<()>,
    stop: watch::Sender<()>,
}

impl Servers {
    /// Serves at both. The operator's commands come out of the other end of `commands`. Must be called
    /// within a tokio runtime.
    #[must_use]
    pub fn start(
        (listener, socket): (TcpListener, AdminSocket),
        source: &Arc<dyn Source>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        let until = Until(Some(stopped));
        let by_socket = socket.serve(Arc::clone(source), commands, until.clone());
        let _handle = tasks.spawn(by_socket);
        let _handle = tasks.spawn(http::serve(listener, Arc::clone(source), until));
        Self { tasks, stop }
    }

    /// Accepts no more, and lets answers that are under way end: whoever asked an agent that ends is
    /// not left with half of one.
    pub async fn finish(self) {
        let Self { mut tasks, stop } = self;
        drop(stop);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, all).await.is_err() {
            tracing::warn!("an admin client did not take its answer within {LAST_ANSWERS:?}");
        }
    }
}

/// Until when a server accepts.
#[derive(Clone, Debug)]
pub(super) struct Until(Option<watch::Receiver<()>>);

impl Until {
    /// For ever.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self(None)
    }

    async fn stopped(&mut self) {
        match &mut self.0 {
            // The sender says nothing; it is dropped.
            Some(stopped) => while stopped.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// A socket that accepts.
pub(super) trait Accept {
    /// A connection.
    type Stream;

    /// The next one.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(context).map_ok(|(stream, _from)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.poll_accept(context).map_ok(|(stream, _from)| stream)
    }
}

/// Accepts, with at most so many exchanges at one time, until it is told to stop; then returns when
/// those under way have ended.
pub(super) async fn accept<L: Accept, E: Future<Output = ()> + Send + 'static>(
    listener: L,
    most: u32,
    mut until: Until,
    exchange: impl Fn(L::Stream) -> E,
) {
    let places = Arc::new(Semaphore::new(most as usize));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, poll_fn(|context| listener.poll_next(context)).await))
        };
        let accepted = tokio::select! {
            biased;
            () = until.stopped() => break,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((_place, Err(_none))) => tokio::time::sleep(PAUSE).await,
            Some((place, Ok(stream))) => {
                let exchange = exchange(stream);
                drop(tokio::spawn(async move {
                    let _place = place;
                    exchange.await;
                }));
            }
        }
    }
    drop(listener);
    let _all = places.acquire_many(most).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::admin::examples::Example;

    #[tokio::test]
    async fn answers_that_are_under_way_end_and_nothing_is_accepted_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = AdminSocket::bind(&folder.path().join("lb.sock")).expect("bound");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let source: Arc<dyn Source> = Arc::new(Example {
            problems: Vec::new(),
        });
        let (commands, _received) = mpsc::channel(1);
        let servers = Servers::start((listener, socket), &source, commands);
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"GET /healthz ").await.expect("sent");
        // Accepted, at the latest, when another one that came later is answered.
        let mut other = TcpStream::connect(address).await.expect("connected");
        other
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        other.read_to_end(&mut Vec::new()).await.expect("answered");

        let finished = tokio::spawn(servers.finish());
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        timeout(Duration::from_secs(5), refused)
            .await
            .expect("no listener");
        assert!(!finished.is_finished());
        client.write_all(b"HTTP/1.1\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop((client, other));
        let ended = timeout(Duration::from_secs(3), finished).await;
        ended.expect("soon").expect("no panic");
    }
}
