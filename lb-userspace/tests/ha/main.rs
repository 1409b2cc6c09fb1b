//! Tests of the room `ha` in private network namespaces: addresses that move, tracking, and notify
//! commands.

mod address;
mod namespace;
mod notify;
mod track;
