//! Addresses that move between the hosts, on this host's interface.
//!
//! [`Addresses`] keeps the interface in the wanted state: an address that another program removes is
//! added again while it is wanted here, and one that it adds is removed while it is not. `reconcile`
//! computes the changes, `interface` makes them, `announce` informs the neighbours, and `task` runs
//! all of it.

mod announce;
mod interface;
mod reconcile;
mod schedule;
mod task;

use std::time::SystemTime;

use tokio::{sync::watch, task::JoinHandle};

pub use self::reconcile::Want;
use super::Error;
use crate::config::InterfaceAddress;

/// The moving addresses, and the task that reconciles them. Dropping it ends the task and leaves the
/// interface as it is.
#[derive(Debug)]
pub struct Addresses {
    orders: watch::Sender<Wanted>,
    view: watch::Receiver<AddressesView>,
    task: JoinHandle<()>,
}

/// The wanted state, and the number of times that it was set before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Wanted {
    want: Want,
    turn: u64,
}

/// The state of the addresses, and the changes since the start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressesView {
    /// The interface.
    pub interface: String,
    /// The addresses that move, each with whether it is on the interface.
    pub addresses: Vec<(InterfaceAddress, bool)>,
    /// The wanted state.
    pub want: Want,
    /// Since when the interface is in the wanted state; `None` while it is not.
    pub since: Option<SystemTime>,
    /// Why the interface is not in the wanted state, or the announcement failed, as a sentence. Both are
    /// retried.
    pub problem: Option<String>,
    /// Number of addresses added to the interface.
    pub added: u64,
    /// Number of addresses removed from the interface.
    pub removed: u64,
    /// Number of those additions and removals that undid a change of another program.
    pub repaired: u64,
    /// Gratuitous ARPs and unsolicited neighbour advertisements sent.
    pub announced: u64,
    /// The number of the wanted state that this view reflects.
    turn: u64,
}

impl AddressesView {
    /// Returns the state before the interface was read.
    pub(crate) fn unseen(interface: &str, moving: &[InterfaceAddress]) -> Self {
        Self {
            interface: interface.to_owned(),
            addresses: moving.iter().map(|address| (*address, false)).collect(),
            want: Want::Released,
            since: None,
            problem: None,
            added: 0,
            removed: 0,
            repaired: 0,
            announced: 0,
            turn: 0,
        }
    }

    /// Whether every address is wanted here and on the interface.
    #[must_use]
    pub fn held(&self) -> bool {
        self.want == Want::Held && self.addresses.iter().all(|(_, here)| *here)
    }
}

impl Addresses {
    /// Starts to reconcile these addresses of an interface. Where they are not wanted here, those that an
    /// earlier agent left are removed before this returns, if possible. Must be called within a tokio
    /// runtime, in the network namespace of the interface.
    ///
    /// # Errors
    /// There is no such interface, or this process may not subscribe to its changes.
    pub fn start(
        interface: &str,
        addresses: Vec<InterfaceAddress>,
        want: Want,
    ) -> Result<Self, Error> {
        let order = Wanted { want, turn: 0 };
        let task = task::AddressTask::open(interface, addresses, order)?;
        let (orders, ordered) = watch::channel(order);
        let (task, view) = task.start(ordered);
        Ok(Self { orders, view, task })
    }

    /// Sets the wanted state, without waiting for it.
    pub fn want(&self, want: Want) {
        self.order(want);
    }

    /// Wants the addresses here, and waits until they are added and announced.
    ///
    /// # Errors
    /// Why that failed; it is retried until another state is wanted.
    pub async fn hold(&self) -> Result<(), Error> {
        self.reach(Want::Held).await
    }

    /// Wants the addresses removed, and waits until they are.
    ///
    /// # Errors
    /// Why that failed; it is retried until another state is wanted.
    pub async fn release(&self) -> Result<(), Error> {
        self.reach(Want::Released).await
    }

    /// Whether every address is wanted here and on the interface.
    #[must_use]
    pub fn held(&self) -> bool {
        self.view.borrow().held()
    }

    /// Returns the state of the addresses.
    #[must_use]
    pub fn view(&self) -> AddressesView {
        self.view.borrow().clone()
    }

    /// Returns a receiver of the state, to wait for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<AddressesView> {
        self.view.clone()
    }

    async fn reach(&self, want: Want) -> Result<(), Error> {
        let turn = self.order(want);
        let mut view = self.view.clone();
        let reached = view.wait_for(|view| view.turn >= turn).await;
        let Ok(reached) = reached else {
            return Err(Error::new(
                "cannot move the addresses: their task has ended; restart lb",
            ));
        };
        match &reached.problem {
            _ if reached.want != want => Err(Error::new(
                "another order for the addresses replaced this one before it was carried out",
            )),
            Some(problem) => Err(Error::new(problem.clone())),
            None => Ok(()),
        }
    }

    fn order(&self, want: Want) -> u64 {
        let mut turn = 0;
        self.orders.send_modify(|order| {
            turn = order.turn + 1;
            *order = Wanted { want, turn };
        });
        turn
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.task.abort();
    }
}
