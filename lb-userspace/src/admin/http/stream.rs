//! The status page as server-sent events (WHATWG HTML, section "Server-sent events").

use std::{fmt::Write as _, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use super::{ANSWER_DEADLINE, response};
use crate::admin::accept::Shutdown;

/// How long a browser waits before it connects again after the stream of updates broke off.
const RETRY: Duration = Duration::from_secs(2);

/// Sends each rendering of the status page as an event, until `shutdown` is given, or until the
/// client has gone or does not read for 10 s.
pub(super) async fn serve(
    mut stream: impl AsyncWrite + Unpin,
    mut pages: watch::Receiver<Arc<str>>,
    mut shutdown: Shutdown,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{}\r\nretry: {}\n\n",
        response::COMMON,
        RETRY.as_millis(),
    );
    send(&mut stream, head.as_bytes()).await?;
    loop {
        tokio::select! {
            biased;
            () = shutdown.given() => return stream.shutdown().await,
            changed = pages.changed() => if changed.is_err() {
                return stream.shutdown().await;
            },
        }
        let page = Arc::clone(&pages.borrow_and_update());
        send(&mut stream, event(&page).as_bytes()).await?;
    }
}

/// Formats an event: a `data` line for each line of the text, then an empty line.
fn event(text: &str) -> String {
    let mut event = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        // Writing to a string does not fail.
        let _written = writeln!(event, "data: {line}");
    }
    event + "\n"
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    timeout(ANSWER_DEADLINE, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await?
}
