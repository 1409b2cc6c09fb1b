//! Virtual IPs: addresses that move between the hosts of the pair, on this host's interface.
//!
//! [`Addresses`] keeps the interface in the wanted state: an address that another program removes
//! is added again while it is wanted here, and one that another program adds is removed while it is
//! not wanted here. `reconcile` computes the changes, `interface` makes them, `announce` informs
//! the neighbours, and `task` runs all of it.

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

/// The moving addresses, and the task that reconciles them. Dropping it ends the task and leaves
/// the interface as it is.
#[derive(Debug)]
pub struct Addresses {
    orders: watch::Sender<Wanted>,
    view: watch::Receiver<AddressesView>,
    task: JoinHandle<()>,
}

/// The wanted state of the moving addresses, and how many times a wanted state was set earlier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Wanted {
    want: Want,
    turn: u64,
}

/// The state of the moving addresses, and the number of changes since the agent started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressesView {
    /// The name of the interface that the moving addresses are added to.
    pub interface: String,
    /// The addresses that move, each with whether it is on the interface now.
    pub addresses: Vec<(InterfaceAddress, bool)>,
    /// Whether the moving addresses should be on this host's interface.
    pub want: Want,
    /// Since when the interface is in the wanted state; `None` while it is not.
    pub since: Option<SystemTime>,
    /// Why the interface is not in the wanted state, or the announcement failed, as a sentence. The
    /// agent retries in either case. `None` if there is no fault.
    pub problem: Option<String>,
    /// Number of addresses that were added to the interface since the agent started.
    pub added: u64,
    /// Number of addresses that were removed from the interface since the agent started.
    pub removed: u64,
    /// Number of those additions and removals, counted in `added` and `removed`, that undid a
    /// change of another program.
    pub repaired: u64,
    /// Number of gratuitous ARPs and unsolicited neighbour advertisements that were sent.
    pub announced: u64,
    /// The number (`Wanted::turn`) of the last wanted state that this view reflects.
    turn: u64,
}

impl AddressesView {
    /// Returns the state of the moving addresses before the interface was read: none of them counts
    /// as being on the interface.
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

    /// Returns whether every moving address is wanted on this host and is on its interface.
    #[must_use]
    pub fn held(&self) -> bool {
        self.want == Want::Held && self.addresses.iter().all(|(_, here)| *here)
    }
}

impl Addresses {
    /// Starts to reconcile these addresses of an interface with the wanted state. If they are not
    /// wanted here, addresses that an earlier agent left are removed before this returns, if
    /// possible. Must be called within a tokio runtime, in the network namespace of the interface.
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

    /// Sets whether the moving addresses are wanted on this host, and does not wait until they are
    /// added or removed.
    pub fn want(&self, want: Want) {
        self.order(want);
    }

    /// Sets that the moving addresses are wanted on this host, and waits until they are added to
    /// the interface and announced.
    ///
    /// # Errors
    /// Why the moving addresses could not be added or announced. The agent retries until another
    /// state is wanted.
    pub async fn hold(&self) -> Result<(), Error> {
        self.reach(Want::Held).await
    }

    /// Sets that the moving addresses are not wanted on this host, and waits until they are removed
    /// from the interface.
    ///
    /// # Errors
    /// Why the moving addresses could not be removed. The agent retries until another state is
    /// wanted.
    pub async fn release(&self) -> Result<(), Error> {
        self.reach(Want::Released).await
    }

    /// Returns whether every moving address is wanted on this host and is on its interface.
    #[must_use]
    pub fn held(&self) -> bool {
        self.view.borrow().held()
    }

    /// Returns the current state of the moving addresses.
    #[must_use]
    pub fn view(&self) -> AddressesView {
        self.view.borrow().clone()
    }

    /// Returns a receiver of the moving addresses' state, with which a caller can wait for changes.
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
                "a newer order for the addresses replaced this one before it was carried out",
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
