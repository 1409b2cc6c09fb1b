//! Health checks of backends: schedule, probes and results.
//!
//! [`Schedule`] is pure, as is `lb_ha::streak` (rise and fall); [`probe()`] checks a backend once;
//! [`Checks`] runs one task per backend, so that a check that hangs delays no other, and sends
//! every outcome to the agent immediately; [`Records`] keeps the results of each backend.
//!
//! A backend that refuses connections gets no new connections after at most `interval × fall`,
//! because a refusal is immediate. For a backend that does not reply, this takes up to `timeout`
//! longer.

mod checks;
mod probe;
mod records;
mod schedule;

pub use checks::{Checked, Checks};
pub use probe::{Failure, probe};
pub use records::{LastCheck, Records};
pub use schedule::Schedule;
