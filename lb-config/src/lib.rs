//! The configuration: parses TOML into a [`Config`] in which every value is valid, or returns all
//! errors together.
//!
//! A section is described once, by a `Schema` of typed keys: the parser, its hints and the
//! reference page ([`reference_page`]) all use it. Values are read one by one from a tree that has
//! the place of each in the file, so no error hides another. Checks across sections (duplicate
//! names, overlapping listeners, references) come last.

mod acme;
mod address;
mod admin;
mod aws;
mod capacity;
mod check;
mod content_type;
mod diagnostic;
mod discover;
mod document;
mod drafts;
mod duration;
mod effective;
mod ha;
mod hash_by;
mod header_edits;
mod host;
mod kind;
mod limit;
mod list;
mod listeners;
mod log;
mod map;
mod model;
mod outlier;
mod percent;
mod places;
mod pool;
mod redirect_target;
mod reference;
pub mod request_path;
mod retry_budget;

mod route;
mod route_text;
mod schema;
mod section;
mod service;
mod source;
mod steered;
mod sticky;
mod suggest;
mod syntax;
mod text;
mod timeouts;
mod tls;
mod unique;

pub use address::parse_backend_address;
pub use content_type::content_type;
pub use diagnostic::{Diagnostic, Errors, Location, Severity};
pub use document::Parsed;
pub use duration::spell as spell_duration;
pub use effective::{DiscoveredPools, Effective, Excluded, Exclusion};
pub use log::is_log_level;
pub use model::{
    AccessField, AccessFormat, AccessLog, Acme, AcmeChallenge, Action, AddressFamily, Admin,
    Authentication, Backend, Balance, Check, CheckKind, CipherSuite, ClientAuthorities,
    ClientCertificates, Config, Dataplane, Discover, DiscoverySource, DnsHook, ElasticIp,
    ExternalAccount, FormatPart, Forward, Ha, HashBy, HeaderEdits, HeaderRule, HeaderTest,
    HostRule, Http, InstanceFilter, InterfaceAddress, Interfaces, KeyExchange, LineFormat, Log,
    LogTarget, Mode, Moves, Name, Node, Notify, Obtained, Outlier, PathRule, Pattern, PeerLink,
    PerRequest, Percent, Pool, Redirect, RequestLimit, Respond, RespondBody, RetryBudget, Route,
    Routing, SameSite, Service, Sticky, Template, TemplatePart, Timeouts, Tls, TlsVersion,
    TrackScript, Transport, Variable, VrrpVersion, Weight, WhenAllDown, XdpModeChoice,
};
pub use places::Places;
pub use reference::reference_page;
