//! Waiting for a condition with a deadline, instead of sleeping for a fixed time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Pause between two calls of the closure `look`: short enough to measure times to about 2 ms.
const PAUSE: Duration = Duration::from_millis(2);

/// Calls `look` repeatedly until it returns a value, and returns that value.
///
/// # Errors
/// When `limit` has passed; the error says what was waited for. An error of `look` ends the waiting
/// at once.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} for this and it did not come: {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Calls `look` repeatedly until it returns true.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}
