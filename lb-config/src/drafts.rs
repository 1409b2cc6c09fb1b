//! Pools and services as far as they could be read, for the checks across sections.

use std::{net::SocketAddr, sync::Arc};

use toml::Spanned;

use super::{Balance, Name, Pool, Service, section::Section, suggest};

/// What could be read of a pool: enough to go on checking what refers to it.
pub(super) struct PoolDraft {
    /// Its name, if that is valid.
    pub(super) name: Option<Spanned<Name>>,
    /// How it balances, if that is valid.
    pub(super) balance: Option<Balance>,
    /// What it has that is for the HTTP front only, as the file writes it.
    pub(super) per_request: Vec<&'static str>,
    /// Those of its addresses that are valid.
    pub(super) addresses: Vec<Spanned<SocketAddr>>,
    /// The pool, if all of it is valid.
    pub(super) pool: Option<Arc<Pool>>,
}

/// What could be read of a service: enough to go on checking what must not clash with it.
pub(super) struct ServiceDraft {
    /// Its name, if that is valid.
    pub(super) name: Option<Spanned<Name>>,
    /// Where it listens, if that is valid.
    pub(super) listen: Option<Spanned<SocketAddr>>,
    /// The pools that it refers to, its own and those of its routes, whether or not there are such.
    pub(super) pool_names: Vec<Name>,
    /// Whether it wants a certificate to be obtained, whether or not that is valid.
    pub(super) has_domains: bool,
    /// The service, if all of it is valid.
    pub(super) service: Option<Service>,
}

/// The pool of that name; reports that there is none.
pub(super) fn find_pool<'p>(
    section: &Section<'_>,
    wanted: &Spanned<Name>,
    pools: &'p [PoolDraft],
) -> Option<&'p PoolDraft> {
    let name_of = |pool: &'p PoolDraft| Some(pool.name.as_ref()?.get_ref());
    let found = known_pool(wanted.get_ref(), pools);
    // A pool whose name could not be read may be the one that is meant.
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

/// A pool that is there by that name.
pub(super) fn known_pool<'p>(wanted: &Name, pools: &'p [PoolDraft]) -> Option<&'p PoolDraft> {
    let is_it = |pool: &&PoolDraft| {
        let name = pool.name.as_ref();
        name.is_some_and(|name| name.get_ref() == wanted)
    };
    pools.iter().find(is_it)
}
