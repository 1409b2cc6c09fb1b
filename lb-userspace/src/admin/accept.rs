//! The accept loop of both admin servers.

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

/// Delay before the next attempt after `accept` fails, usually because the process is out of file
/// descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A signal for a server to stop accepting, sent by dropping the other end of the channel.
#[derive(Clone, Debug)]
pub(super) struct Shutdown(Option<watch::Receiver<()>>);

impl Shutdown {
    /// Returns a signal, and the sender whose drop sends it.
    pub(super) fn channel() -> (watch::Sender<()>, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(Some(receiver)))
    }

    /// Returns a signal that is never sent.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self(None)
    }

    async fn given(&mut self) {
        match &mut self.0 {
            // No value is ever sent; an error means that the sender was dropped.
            Some(receiver) => while receiver.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// A listening socket, TCP or Unix.
pub(super) trait Accept {
    /// An accepted connection.
    type Stream;

    /// Accepts the next connection.
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

/// Accepts connections until `shutdown` and runs `exchange` on each, at most `most` concurrently. Returns
/// when all exchanges in flight have ended.
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
