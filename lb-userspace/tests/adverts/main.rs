//! Adverts between this host's socket and what else is on the network: real keepalived, tshark,
//! forgers, and cables that are pulled.

mod captured;
mod forged;
mod interfaces;
mod keepalived;
mod signed;
mod stage;
