//! The connection between the two agents.
