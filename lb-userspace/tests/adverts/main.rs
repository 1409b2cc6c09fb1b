//! Tests of the agent's socket for adverts on a real network: with keepalived, tshark, senders of
//! forged packets, and cables that are pulled.

mod captured;
mod forged;
mod interfaces;
mod keepalived;
mod signed;
mod stage;
