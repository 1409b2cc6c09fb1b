//! Discovery: finds the backends of pools while the agent runs, in DNS, in EC2 or in a file.
//!
//! [`Source`] asks one source once. [`Membership`] decides which backends a pool has after each
//! answer, without I/O and without a clock. [`Queries`] runs a task for each pool, which asks the
//! pool's source at intervals. The agent passes the outcomes to [`Discovered`], which has the
//! membership of every pool, and puts the backends in force.

mod answer;
mod counts;
mod discovered;
mod membership;
mod metrics;
mod now;
mod queries;
mod saved;
mod schedule;
mod source;

pub use answer::{Answer, ListedBackend, SourceError};
pub use counts::QueryCounts;
pub use discovered::{Discovered, PoolDiscovery};
pub use membership::{Membership, MembershipChange, SourceState};
pub(crate) use metrics::FAMILIES as METRICS;
pub use metrics::{DiscoveryMetrics, DiscoveryReading};
pub use now::Now;
pub use queries::{Queries, QueryOutcome};
pub use saved::{SavedBackend, SavedBackends, SavedBackendsFile};
pub use schedule::Schedule;
pub use source::Source;
