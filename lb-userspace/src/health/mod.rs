//! Health checks: when to check, how to check, and what to make of the outcomes.
//!
//! [`Schedule`] (when) is pure, as is `lb_ha::streak` (rise and fall); [`probe()`] is one check on the
//! wire; [`Checks`] runs one task a backend, so that a check that hangs delays no other, and hands
//! every outcome to the agent at once; [`Records`] is what is known of each backend's checks.
//!
//! A backend that begins to refuse connections is out of the ring within `interval × fall`, since
//! a refusal is known at once. One that falls silent takes up to `timeout` longer.

mod checks;
mod probe;
mod records;
mod schedule;

pub use checks::{Checked, Checks};
pub use probe::{Failure, probe};
pub use records::{LastCheck, Records};
pub use schedule::Schedule;
