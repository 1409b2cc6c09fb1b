//! Both hosts of a pair in a simulated world.
//!
//! The state machines are the real ones ([`lb_ha::pair::Host`]). What the agent puts around them is
//! simulated: the network, the link between the agents, the EC2 API, clocks, crashes. A [`plan`] is
//! drawn from a seed, the [`world`] runs it, [`watch`] checks the invariants after every step, and
//! [`bounds`] states how long each thing may take.

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
