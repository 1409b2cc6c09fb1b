//! A fake EC2 API with controllable faults.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;

use super::{
    Call, Cloud, Ec2, FakeFleet, Faults, Interface, Owner,
    api::Api,
    http::{self, Server},
};
use crate::{Host, elastic_ip::ELASTIC_IP};

/// A fake EC2 and Auto Scaling API: the actions that a balancer needs, with AWS's semantics and
/// optional [`Faults`]. Dropping it stops it.
pub struct FakeEc2 {
    endpoint: String,
    place: (Option<Host>, SocketAddr),
    allocation_id: String,
    interfaces: Vec<Interface>,
    api: Arc<Api>,
    server: Mutex<Option<Server>>,
}

impl FakeEc2 {
    /// Starts the fake EC2 API at `address`, with an interface for each of `balancers` and an
    /// unassociated Elastic IP. It listens in the network namespace of `host`; if that is `None`,
    /// in that of this process.
    ///
    /// # Errors
    /// When the API cannot listen at the address.
    pub fn start(
        host: Option<&Host>,
        address: SocketAddr,
        balancers: &[(&str, Ipv4Addr)],
    ) -> Result<Self> {
        let interfaces: Vec<_> = (1..)
            .zip(balancers)
            .map(|(number, (_, address))| interface(number, *address))
            .collect();
        let cloud = Cloud::new(ELASTIC_IP, interfaces.clone());
        let allocation_id = cloud.allocation_id.clone();
        let api = Arc::new(Api::new(cloud));
        let listener = http::listen(host, address)?;
        let address = listener.local_addr()?;
        let server = Api::serve(&api, listener);
        Ok(Self {
            endpoint: format!("http://{address}"),
            place: (host.cloned(), address),
            allocation_id,
            interfaces,
            api,
            server: Mutex::new(Some(server)),
        })
    }

    /// Changes the faults that calls meet from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.api.state().faults);
    }

    /// Makes the fake EC2 API refuse an action, such as `AssociateAddress`, because the caller
    /// lacks the permission.
    pub fn deny(&self, action: &str) {
        self.faults(|faults| {
            faults.denied.insert(action.to_owned());
        });
    }

    /// Removes all faults of the fake EC2 API.
    pub fn restore(&self) {
        self.faults(|faults| *faults = Faults::default());
    }

    /// Moves the Elastic IP to the primary address of an interface, or disassociates it, as a
    /// person could in AWS's console. This is not recorded as a call.
    pub fn move_to(&self, interface: Option<usize>) {
        self.api.change(|cloud| match interface {
            Some(interface) => drop(cloud.associate(interface, None, true)),
            None => cloud.association = None,
        });
    }

    /// Assigns a secondary private address to an interface, as a person could in AWS's console.
    /// This is not recorded as a call.
    pub fn give_secondary(&self, interface: usize, address: Ipv4Addr) {
        self.api
            .change(|cloud| drop(cloud.assign(interface, address, true)));
    }

    /// Changes or reads the instances and Auto Scaling groups, as a person could in AWS's console.
    /// This is not recorded as a call.
    pub fn fleet<T>(&self, change: impl FnOnce(&mut FakeFleet) -> T) -> T {
        self.api.change(|cloud| change(&mut cloud.fleet)).0
    }

    /// Returns a copy of the account's current state.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.api.state().cloud.clone()
    }

    /// Returns every recorded call so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.api.state().calls.clone()
    }

    /// Removes the completed calls from the record of calls.
    pub fn forget_calls(&self) {
        self.api.state().calls.retain(|call| call.ended.is_none());
    }

    /// Returns two calls of one caller that overlapped in time; `None` if there were none.
    #[must_use]
    pub fn overlap(&self) -> Option<(Call, Call)> {
        let calls = self.calls();
        let of_one_caller = calls.iter().enumerate().flat_map(|(index, earlier)| {
            let later = &calls[index + 1..];
            later
                .iter()
                .filter(|later| later.from == earlier.from)
                .map(move |later| (earlier, later))
        });
        of_one_caller
            .filter(|(earlier, later)| earlier.is_under_way_at(later.began))
            .map(|(earlier, later)| (earlier.clone(), later.clone()))
            .next()
    }

    /// Returns the number of calls that changed the owner of the Elastic IP.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.calls().iter().filter(|call| call.moved).count()
    }

    /// Stops listening for calls of the fake EC2 API and closes every connection, so callers are
    /// refused. The state of the account is kept.
    pub fn close(&self) {
        drop(self.server().take());
    }

    /// Listens again for calls of the fake EC2 API after [`Self::close`].
    ///
    /// # Errors
    /// When the address is in use.
    pub fn open(&self) -> Result<()> {
        let mut server = self.server();
        if server.is_none() {
            let (host, address) = &self.place;
            let listener = http::listen(host.as_ref(), *address)?;
            *server = Some(Api::serve(&self.api, listener));
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ec2 for FakeEc2 {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn allocation_id(&self) -> &str {
        &self.allocation_id
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let state = self.api.state();
        let association = &state.as_of(state.faults.settling).association;
        Ok(association.as_ref().map(|association| Owner {
            interface: association.interface,
            private_ip: association.private_ip,
        }))
    }
}

impl fmt::Debug for FakeEc2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEc2")
            .field("endpoint", &self.endpoint)
            .field("cloud", &self.cloud())
            .finish_non_exhaustive()
    }
}

fn interface(number: u8, address: Ipv4Addr) -> Interface {
    Interface {
        id: format!("eni-0123456789abcdef{number:x}"),
        instance_id: format!("i-0123456789abcdef{number:x}"),
        private_ip: address,
        mac: format!("02:00:00:00:00:{number:02x}"),
    }
}
