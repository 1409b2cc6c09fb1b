//! Certificates that the agent obtains by ACME (RFC 8555).

#![forbid(unsafe_code)]

mod renewal;

pub use renewal::{MOST_ORDERS_AN_HOUR, Outcome, Record, Renewal, Step, Validity, Window};
