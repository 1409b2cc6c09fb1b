//! Places of backends in the configuration file, for errors that can be found only on the host.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Diagnostic, Location, Name, Severity, drafts::PoolDraft, source::Source};

/// The place of each backend in the configuration file.
#[derive(Clone, Debug)]
pub struct Places {
    file: PathBuf,
    /// The place of each backend in the file, by the name of its pool and its address.
    backends: HashMap<(Name, SocketAddr), Location>,
}

impl Places {
    /// Collects the places of the backends of these pools in the configuration file.
    pub(super) fn of(pools: &[PoolDraft], source: &Source<'_>, file: &Path) -> Self {
        let backends = pools.iter().flat_map(|pool| {
            let name = pool.name.as_ref().map(|name| name.get_ref().clone());
            let addresses = name.map(|name| (name, &pool.addresses));
            addresses.into_iter().flat_map(|(name, addresses)| {
                addresses.iter().map(move |address| {
                    let key = (name.clone(), *address.get_ref());
                    (key, source.locate(&address.span()))
                })
            })
        });
        Self {
            file: file.to_owned(),
            backends: backends.collect(),
        }
    }

    /// Makes an error about a backend, at its place in the file.
    #[must_use]
    pub fn backend_error(
        &self,
        pool: &Name,
        address: SocketAddr,
        message: String,
        hint: String,
    ) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: self.file.clone(),
            location: self.backends.get(&(pool.clone(), address)).cloned(),
            message,
            hint: Some(hint),
        }
    }
}
