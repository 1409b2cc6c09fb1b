//! Allocates the numbers that services, backends and rows of source ports have in the BPF maps.
//!
//! A row is an inner map of the map `source_ports`: the source ports of the connections to one
//! backend from one address of the balancer.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use lb_common::{
    backend::{Backend, BackendId},
    limits,
    service::{ServiceId, ServiceKey},
};

use super::{Error, id_allocator::IdAllocator};
use crate::config::{self, Forward, Mode};

/// The numbers that are allocated to services, to backends, and to the rows of the map
/// `source_ports` (each has the source ports to one backend).
#[derive(Clone, Debug)]
pub(super) struct MapIds {
    pub(super) services: IdAllocator<ServiceKey, ServiceId>,
    pub(super) backends: IdAllocator<BackendIdentity, BackendId>,
    /// The blocks of rows in the map `source_ports`. Each backend has one block, with a row for
    /// each address that the backend sees. A block stays allocated when its backend is removed,
    /// because connections continue to use it.
    blocks: IdAllocator<RowIdentity, u16>,
    /// Number of rows of source ports in a block: one row for the service's address, and one for
    /// each additional source address.
    rows_each: u16,
    /// For each backend's address and port: the address of the service whose connections may use
    /// the additional source addresses there. A backend together with one of these addresses has
    /// one row of source ports, so services at different addresses cannot share them.
    owners: HashMap<([u8; 4], u16), [u8; 4]>,
}

impl Default for MapIds {
    fn default() -> Self {
        Self::with_rows(1)
    }
}

/// What identifies a backend: the number of its service, its address and its port.
pub(super) type BackendIdentity = (ServiceId, [u8; 4], u16);

/// What identifies a block of rows of source ports: a backend's address and port, and the address
/// of the services whose connections share these source ports.
pub(super) type RowIdentity = ([u8; 4], u16, [u8; 4]);

impl MapIds {
    /// Creates allocators that have allocated no numbers yet. Each backend gets `each` rows of the
    /// map `source_ports`: one for each address that it sees.
    pub(super) fn with_rows(each: u16) -> Self {
        Self {
            services: IdAllocator::new(limits::SERVICES),
            backends: IdAllocator::new(limits::BACKENDS),
            blocks: IdAllocator::new(limits::ROWS / u32::from(each)),
            rows_each: each,
            owners: HashMap::new(),
        }
    }

    pub(super) fn service(&mut self, key: ServiceKey) -> Result<ServiceId, Error> {
        self.services.allocate(key).ok_or(Error::TooManyServices)
    }

    /// Returns the number of a backend's first row in the map `source_ports`, and how many rows the
    /// backend has: one for each address that it sees. Allocates the rows if necessary.
    pub(super) fn rows(&mut self, identity: RowIdentity) -> Result<(u16, u16), Error> {
        let first = self
            .blocks
            .allocate(identity)
            .map(|block| block * self.rows_each)
            .ok_or_else(|| Error::TooManyRows {
                limit: limits::ROWS / u32::from(self.rows_each),
            })?;
        let (address, port, service) = identity;
        let owner = *self.owners.entry((address, port)).or_insert(service);
        let count = if owner == service { self.rows_each } else { 1 };
        Ok((first, count))
    }

    /// Frees the rows of all backends except those at these addresses and ports. Connections to the
    /// other backends may still hold source ports in the freed rows until they end.
    pub(super) fn retain_rows(&mut self, used: &HashSet<([u8; 4], u16)>) {
        let stays = |&(address, port, _): &RowIdentity| used.contains(&(address, port));
        self.blocks.retain(stays);
    }

    /// Restores the numbers of the rows in the map `source_ports` that an earlier agent allocated
    /// to a backend.
    pub(super) fn keep_rows(&mut self, backend: &Backend) {
        let (address, port, service) = (backend.address, backend.port, backend.service_address);
        let block = backend.row / self.rows_each;
        self.blocks.restore((address, port, service), block);
        if backend.rows > 1 {
            self.owners.insert((address, port), service);
        }
    }

    /// Takes the additional source addresses away from services that are not in `services` or do
    /// not use NAT.
    pub(super) fn keep_owners(&mut self, services: &[(&config::Service, ServiceKey)]) {
        let used: HashSet<_> = services
            .iter()
            .filter(|(service, _key)| {
                matches!(
                    service.mode,
                    Mode::Tcp {
                        forward: Forward::Nat
                    }
                )
            })
            .flat_map(|(service, key)| {
                let backends = service.pool.iter().flat_map(|pool| &pool.backends);
                backends.map(|one| (one.address, key.address))
            })
            .collect();
        self.owners.retain(|&(address, port), service| {
            used.contains(&(SocketAddr::from((address, port)), *service))
        });
    }

    pub(super) fn backend(&mut self, identity: BackendIdentity) -> Result<BackendId, Error> {
        self.backends
            .allocate(identity)
            .ok_or(Error::TooManyBackends)
    }
}
