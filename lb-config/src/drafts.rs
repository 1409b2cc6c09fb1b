//! Pools and services with their valid parts only, for checks across sections of a file that has
//! errors.

use std::{net::SocketAddr, sync::Arc};

use toml::Spanned;

use super::{Balance, Name, Pool, Service, section::Section, suggest};

/// The parts of a pool that are valid: enough to check the sections that refer to it.
pub(super) struct PoolDraft {
    /// The name of the pool; `None` if it is not valid.
    pub(super) name: Option<Spanned<Name>>,
    /// How the pool balances; `None` if that key is not valid.
    pub(super) balance: Option<Balance>,
    /// The keys and tables of the pool that are for the HTTP front only, as the file writes them.
    pub(super) per_request: Vec<&'static str>,
    /// The valid addresses of the pool's backends.
    pub(super) addresses: Vec<Spanned<SocketAddr>>,
    /// The whole pool; `None` if any part of it is not valid.
    pub(super) pool: Option<Arc<Pool>>,
}

/// The parts of a service that are valid: enough to check for conflicts with other services.
pub(super) struct ServiceDraft {
    /// The name of the service; `None` if it is not valid.
    pub(super) name: Option<Spanned<Name>>,
    /// The listen address of the service; `None` if it is not valid.
    pub(super) listen: Option<Spanned<SocketAddr>>,
    /// The names of the pools that the service and its routes refer to, whether or not they exist.
    pub(super) pool_names: Vec<Name>,
    /// Whether the service has the key `domains`, valid or not.
    pub(super) has_domains: bool,
    /// The whole service; `None` if any part of it is not valid.
    pub(super) service: Option<Service>,
}

/// Finds the pool that a section refers to by its name, and reports if there is none.
pub(super) fn find_pool<'p>(
    section: &Section<'_>,
    wanted: &Spanned<Name>,
    pools: &'p [PoolDraft],
) -> Option<&'p PoolDraft> {
    let name_of = |pool: &'p PoolDraft| Some(pool.name.as_ref()?.get_ref());
    let found = known_pool(wanted.get_ref(), pools);
    // No missing pool is reported while any pool's name is invalid: that pool may be the one
    // referred to.
    if found.is_none() && pools.iter().all(|pool| pool.name.is_some()) {
        let mut names: Vec<_> = pools.iter().filter_map(name_of).map(Name::as_str).collect();
        names.dedup();
        let hint = match suggest::nearest(wanted.get_ref().as_str(), names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("the pools of this file: {}", names.join(", ")),
        };
        let message = format!("there is no pool \"{}\"", wanted.get_ref());
        section.source().error(wanted.span(), message, hint);
    }
    found
}

/// Returns the pool with the name `wanted`; `None` if there is none.
pub(super) fn known_pool<'p>(wanted: &Name, pools: &'p [PoolDraft]) -> Option<&'p PoolDraft> {
    let is_it = |pool: &&PoolDraft| {
        let name = pool.name.as_ref();
        name.is_some_and(|name| name.get_ref() == wanted)
    };
    pools.iter().find(is_it)
}
