//! The agent's socket for adverts against a real network: keepalived, tshark, senders of forged packets,
//! and cables that are pulled.

mod captured;
mod forged;
mod interfaces;
mod keepalived;
mod signed;
mod stage;
