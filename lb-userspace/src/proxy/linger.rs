//! A client that is answered before it has sent everything: what it goes on sending is read for a
//! while, and dropped. Many clients read no answer before that, and a connection that is closed with
//! bytes unread is reset, which can take the answer from them (RFC 9112 §9.6, RFC 9113 §8.1).

use std::time::Duration;

use tokio::time::Instant;

use super::{
    front::Front,
    watchdog::{Expired, Watchdog},
};

/// How long a client may go on sending, and the proxy go on reading.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause in it.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Calls `read` until it returns false, for as long as a client may go on sending. A front that
/// ends its connections does not wait for the end.
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
