//! The shell of the pair on a network of its own: addresses, what is tracked, commands.

mod address;
mod namespace;
mod notify;
mod track;
