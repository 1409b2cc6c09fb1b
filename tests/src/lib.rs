//! The lab, which is the network in which the end-to-end tests run: each host is a network
//! namespace, real nginx, HAProxy and keepalived run as processes on the hosts, and the IP
//! addresses are those of a small set-up on AWS.
//!
//! [`Lab::raise`] starts a lab within a second or two; it ends when it is dropped, or when the
//! process exits in any way. Labs are isolated from each other.

pub mod advert;
pub mod agent;
pub mod capture;
pub mod certificate;
pub mod cpu;
pub mod debian;
pub mod ec2;
mod effort;
mod elastic_ip;
pub mod flood;
pub mod forward;
pub mod gateway;
pub mod host;
pub mod keepalived;
pub mod load;
pub mod monitoring;
pub mod name_server;
pub mod numbers;
pub mod partition;
pub mod scene;
pub mod segment;
mod spawner;
pub mod stall;
pub mod streams;
pub mod tcp;
pub mod throng;
pub mod topology;
pub mod transfer;
pub mod trickle;
pub mod wait;
pub mod web;

pub use effort::{THOROUGH, effort};
pub use host::{Host, cable, process};
pub use process::Process;
pub use scene::Scene;
pub use topology::Lab;
