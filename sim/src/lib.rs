//! The pair in a simulated world.
//!
//! The state machines are the real ones ([`lb_ha::pair::Host`]); simulated is what the agent puts
//! around them: the network, the link, the EC2 API, clocks, crashes. A seed makes a [`plan`], the
//! [`world`] lives it, [`watch`] looks on, and [`bounds`] says what may take how long.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bounds;
pub mod chance;
pub mod cloud;
pub mod conditions;
pub mod draw;
pub mod figures;
mod link;
mod node;
mod overlap;
pub mod plan;
mod queue;
pub mod run;
mod watch;
pub mod world;
