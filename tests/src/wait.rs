//! Waiting for a condition with a deadline, in place of sleeping and hoping.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// The pause between two looks: short enough to time things to the millisecond or two.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until `look` finds something and returns it.
///
/// # Errors
/// When `limit` has passed: says what was waited for. An error of `look` ends the waiting at once.
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

/// Looks until `look` says yes.
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
