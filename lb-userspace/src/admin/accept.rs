//! The loop that accepts connections, for both admin servers (HTTP and Unix socket).

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, watch},
};

/// How long the server waits before it accepts again after `accept` failed, usually because the
/// process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// The signal at which a server stops accepting connections. It is given by dropping the sender of
/// the channel.
#[derive(Clone, Debug)]
pub(super) struct Shutdown(Option<watch::Receiver<()>>);

impl Shutdown {
    /// Returns a sender and the shutdown signal that dropping the sender gives.
    pub(super) fn channel() -> (watch::Sender<()>, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(Some(receiver)))
    }

    /// Returns a shutdown signal that is never given.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self(None)
    }

    /// Waits until the shutdown signal is given.
    pub(super) async fn given(&mut self) {
        match &mut self.0 {
            // No value is ever sent: an error means that the sender was dropped, which is the
            // signal.
            Some(receiver) => while receiver.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// A listening socket, for TCP or Unix connections, that the accept loop takes connections from.
pub(super) trait Accept {
    /// The type of an accepted connection.
    type Stream;

    /// Polls for the next incoming connection, and accepts it.
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

/// Accepts connections until `shutdown` is given and runs `exchange` on each, on at most `most`
/// connections at the same time. Returns when all exchanges in flight have ended.
pub(super) async fn accept<L: Accept, E: Future<Output = ()> + Send + 'static>(
    listener: L,
    most: u32,
    mut shutdown: Shutdown,
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
            () = shutdown.given() => break,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((_place, Err(_error))) => tokio::time::sleep(PAUSE).await,
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
