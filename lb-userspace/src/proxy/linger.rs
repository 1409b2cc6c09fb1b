//! Lingering close: after a response that was sent before the request was complete, what the client
//! still sends is read and discarded for a while. Many clients read no response before they have
//! sent everything, and closing a socket with unread bytes resets the connection, which can discard
//! the response (RFC 9112 §9.6, RFC 9113 §8.1).

use std::time::Duration;

use tokio::time::Instant;

use super::{
    front::Front,
    watchdog::{Expired, Watchdog},
};

/// The longest total time for which data that the client sends is discarded.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause between two reads of the client's data, before the connection is closed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Calls `read`, which reads and discards data of the client, until it returns false or a time
/// limit is reached. A service that is draining does not linger.
pub(super) async fn linger(
    front: &Front,
    watchdog: &mut Watchdog,
    mut read: impl AsyncFnMut() -> bool,
) {
    let end = Instant::now() + LONGEST;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let read = watchdog.limit(left.min(LONGEST_PAUSE), read()).await;
        if matches!(read, Ok(false) | Err(Expired)) || left.is_zero() || front.drain.has_begun() {
            return;
        }
    }
}
