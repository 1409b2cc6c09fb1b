//! What a source answers when it is asked for the backends of a pool.

use std::{net::SocketAddr, time::Duration};

use crate::config::{Backend, Name, Weight};

/// The backends that a source has at the moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// The backends, in any order. None if the source has none, which is not an error.
    pub backends: Vec<ListedBackend>,
    /// How long the answer is valid: the smallest TTL of the records in DNS. `None` if the source
    /// does not say.
    pub valid_for: Option<Duration>,
}

/// A backend as a source lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedBackend {
    /// The backend's address and port.
    pub address: SocketAddr,
    /// The backend's name; `None` to name it after its address.
    pub name: Option<Name>,
    /// The backend's share of the pool.
    pub weight: Weight,
    /// Whether the backend is used only while no other backend of the pool is up.
    pub backup: bool,
}

impl ListedBackend {
    /// Returns a backend with this address, and the defaults for everything else.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            name: None,
            weight: Weight::ONE,
            backup: false,
        }
    }
}

impl From<ListedBackend> for Backend {
    fn from(listed: ListedBackend) -> Self {
        let name = listed.name;
        Self {
            name: name.unwrap_or_else(|| Name::of_address(listed.address)),
            address: listed.address,
            weight: listed.weight,
            backup: listed.backup,
            leaving: false,
        }
    }
}

impl From<&Backend> for ListedBackend {
    fn from(backend: &Backend) -> Self {
        let is_named = backend.name != Name::of_address(backend.address);
        Self {
            address: backend.address,
            name: is_named.then(|| backend.name.clone()),
            weight: backend.weight,
            backup: backend.backup,
        }
    }
}

/// Why a source could not be asked, or its answer could not be read: a sentence for the operator.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
