//! haproxy.cfg: its lines, sections and conditions.

pub(crate) mod acl;
mod criterion;
pub(crate) mod environment;
pub(crate) mod format;
pub(crate) mod lexer;
pub(crate) mod model;
pub(crate) mod words;
