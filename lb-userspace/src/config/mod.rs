//! The configuration: TOML in, a [`Config`] that cannot be wrong out.

mod model;

pub use model::{
    Admin, Backend, Balance, Check, CheckKind, Config, Dataplane, Forward, Http, Mode, Name, Node,
    Pool, Service, Weight, XdpModeChoice,
};
