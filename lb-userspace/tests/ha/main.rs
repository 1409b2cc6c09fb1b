//! Tests of the room (module) `ha` of the agent in private network namespaces: addresses that move,
//! tracking, and notify commands.

mod address;
mod namespace;
mod notify;
mod track;
