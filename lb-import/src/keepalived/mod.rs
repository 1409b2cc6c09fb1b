//! keepalived.conf: its tokens and its tree.

pub(crate) mod lexer;
pub(crate) mod model;
