//! State of the fake AWS account, and the effect of each action of the API, as documented by AWS.

use std::net::Ipv4Addr;

use super::{FakeFleet, Interface, refusal::Refusal};

/// The state of the account: one Elastic IP, the interfaces that it may be associated with, and
/// other instances.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// Allocation ID of the Elastic IP.
    pub allocation_id: String,
    /// The public address that the Elastic IP is.
    pub public_ip: Ipv4Addr,
    /// The network interfaces of the balancers, one for each.
    pub interfaces: Vec<Interface>,
    /// The secondary private addresses of each interface, in the order of `interfaces`.
    pub secondary: Vec<Vec<Ipv4Addr>>,
    /// The association of the Elastic IP; `None` if it is not associated.
    pub association: Option<Association>,
    /// Instances and Auto Scaling groups, apart from the balancers.
    pub fleet: FakeFleet,
    associations: u32,
}

/// An association of the Elastic IP with an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Association {
    /// Association ID, `eipassoc-…`, new for each association.
    pub id: String,
    /// Index of the interface in [`Cloud::interfaces`].
    pub interface: usize,
    /// The private address of the interface to which the Elastic IP is translated, primary or
    /// secondary.
    pub private_ip: Ipv4Addr,
}

impl Cloud {
    /// Returns the state of an account whose Elastic IP is not associated.
    pub(super) fn new(public_ip: Ipv4Addr, interfaces: Vec<Interface>) -> Self {
        Self {
            allocation_id: "eipalloc-0123456789abcdef0".to_owned(),
            public_ip,
            secondary: vec![Vec::new(); interfaces.len()],
            interfaces,
            association: None,
            fleet: FakeFleet::default(),
            associations: 0,
        }
    }

    /// `AssociateAddress`: returns the association's ID.
    pub(super) fn associate(
        &mut self,
        interface: usize,
        private_ip: Option<Ipv4Addr>,
        may_move: bool,
    ) -> Result<String, Refusal> {
        let private_ip = private_ip.unwrap_or(self.interfaces[interface].private_ip);
        if !self.has(interface, private_ip) {
            return Err(Refusal::invalid(format!(
                "The private IP address {private_ip} is not assigned to interface '{}'",
                self.interfaces[interface].id
            )));
        }
        match &self.association {
            Some(now) if now.interface == interface && now.private_ip == private_ip => {
                return Ok(now.id.clone());
            }
            Some(now) if !may_move => {
                return Err(Refusal::new(
                    400,
                    "Resource.AlreadyAssociated",
                    format!(
                        "resource {} is already associated with associate-id {}",
                        self.allocation_id, now.id
                    ),
                ));
            }
            _ => {}
        }
        self.associations += 1;
        let id = format!("eipassoc-{:017x}", self.associations);
        self.association = Some(Association {
            id: id.clone(),
            interface,
            private_ip,
        });
        Ok(id)
    }

    /// `DisassociateAddress`: ends the association with this ID.
    pub(super) fn disassociate(&mut self, association: &str) -> Result<(), Refusal> {
        let here = |now: &Association| now.id == association;
        if !self.association.as_ref().is_some_and(here) {
            return Err(Refusal::new(
                400,
                "InvalidAssociationID.NotFound",
                format!("The association ID '{association}' does not exist"),
            ));
        }
        self.association = None;
        Ok(())
    }

    /// `AssignPrivateIpAddresses`: assigns a secondary address to an interface. If another
    /// interface had the address, an Elastic IP that is associated with the address moves too.
    pub(super) fn assign(
        &mut self,
        interface: usize,
        address: Ipv4Addr,
        may_move: bool,
    ) -> Result<(), Refusal> {
        if self.has(interface, address) {
            return Ok(());
        }
        if self.interfaces.iter().any(|one| one.private_ip == address) {
            return Err(Refusal::invalid(format!(
                "{address} is the primary address of another interface"
            )));
        }
        if let Some(holder) = self.holder_of_secondary(address) {
            if !may_move {
                return Err(Refusal::invalid(format!(
                    "[{address}] is already assigned to another interface"
                )));
            }
            self.secondary[holder].retain(|other| *other != address);
        }
        self.secondary[interface].push(address);
        if let Some(association) = &mut self.association
            && association.private_ip == address
        {
            association.interface = interface;
        }
        Ok(())
    }

    /// `UnassignPrivateIpAddresses`: removes a secondary address from an interface, and ends an
    /// Elastic IP's association with that address.
    pub(super) fn unassign(&mut self, interface: usize, address: Ipv4Addr) -> Result<(), Refusal> {
        if !self.secondary[interface].contains(&address) {
            return Err(Refusal::invalid(format!(
                "Some of the addresses [{address}] are not assigned to interface '{}'",
                self.interfaces[interface].id
            )));
        }
        self.secondary[interface].retain(|other| *other != address);
        self.association
            .take_if(|association| association.private_ip == address);
        Ok(())
    }

    /// Returns the index of the interface with this ID.
    pub(super) fn interface(&self, id: &str) -> Result<usize, Refusal> {
        self.interfaces
            .iter()
            .position(|interface| interface.id == id)
            .ok_or_else(|| {
                Refusal::new(
                    400,
                    "InvalidNetworkInterfaceID.NotFound",
                    format!("The networkInterface ID '{id}' does not exist"),
                )
            })
    }

    /// Returns the index of the interface that belongs to the instance with this ID.
    pub(super) fn interface_of_instance(&self, id: &str) -> Result<usize, Refusal> {
        self.interfaces
            .iter()
            .position(|interface| interface.instance_id == id)
            .ok_or_else(|| {
                Refusal::new(
                    400,
                    "InvalidInstanceID.NotFound",
                    format!("The instance ID '{id}' does not exist"),
                )
            })
    }

    /// Returns the ID of the Elastic IP's association.
    pub(super) fn association_id(&self) -> Result<String, Refusal> {
        let association = self.association.as_ref();
        association
            .map(|association| association.id.clone())
            .ok_or_else(|| {
                Refusal::new(
                    400,
                    "InvalidAssociationID.NotFound",
                    format!("The address '{}' is not associated", self.public_ip),
                )
            })
    }

    /// Checks that this address is the Elastic IP.
    pub(super) fn known_public_ip(&self, address: Ipv4Addr) -> Result<(), Refusal> {
        if address == self.public_ip {
            return Ok(());
        }
        Err(Refusal::new(
            400,
            "InvalidAddress.NotFound",
            format!("Address '{address}' not found."),
        ))
    }

    /// Checks that this is the allocation ID of the Elastic IP.
    pub(super) fn known_allocation(&self, id: &str) -> Result<(), Refusal> {
        if id == self.allocation_id {
            return Ok(());
        }
        Err(Refusal::new(
            400,
            "InvalidAllocationID.NotFound",
            format!("The allocation ID '{id}' does not exist"),
        ))
    }

    /// Whether an interface has this private address, as its primary or a secondary one.
    pub(super) fn has(&self, interface: usize, address: Ipv4Addr) -> bool {
        self.interfaces[interface].private_ip == address
            || self.secondary[interface].contains(&address)
    }

    fn holder_of_secondary(&self, address: Ipv4Addr) -> Option<usize> {
        self.secondary
            .iter()
            .position(|addresses| addresses.contains(&address))
    }
}
