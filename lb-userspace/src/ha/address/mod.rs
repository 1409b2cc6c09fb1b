//! Addresses that move between the hosts, on this host's interface.
//!
//! [`Addresses`] is told what is wanted and keeps the interface that way: an address that somebody
//! takes off comes back while it is wanted here, and one that somebody puts on is taken off while
//! it is not. `reconcile` says what is to be changed, `interface` changes it, `announce` tells the
//! neighbours, `task` is the task that does all of it.

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

/// The addresses that move, and the task that keeps them where they are wanted. Dropping it ends
/// the task and leaves the interface as it is.
#[derive(Debug)]
pub struct Addresses {
    orders: watch::Sender<Wanted>,
    view: watch::Receiver<AddressesView>,
    task: JoinHandle<()>,
}

/// What is wanted, and how many times that was said before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Wanted {
    want: Want,
    turn: u64,
}

/// How the addresses are, and what was done for them since the start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressesView {
    /// The interface.
    pub interface: String,
    /// The addresses that move, each with whether it is on the interface.
    pub addresses: Vec<(InterfaceAddress, bool)>,
    /// What is wanted of them.
    pub want: Want,
    /// Since when the interface is as it is wanted; `None` while it is not.
    pub since: Option<SystemTime>,
    /// Why the interface is not as it is wanted, or the neighbours were not told, as a sentence. It
    /// is tried again.
    pub problem: Option<String>,
    /// Addresses put on the interface.
    pub added: u64,
    /// Addresses taken off it.
    pub removed: u64,
    /// Of those, the ones that somebody else had changed meanwhile.
    pub repaired: u64,
    /// Gratuitous ARPs and unsolicited neighbour advertisements sent.
    pub announced: u64,
    /// The order that it reflects.
    turn: u64,
}

impl AddressesView {
    /// Before the interface was looked at.
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
    /// Looks after these addresses of an interface. Where they are not wanted here, what an earlier
    /// agent left is taken off before this returns, as far as that can be done. Must be called within
    /// a tokio runtime, in the network namespace of the interface.
    ///
    /// # Errors
    /// There is no such interface, or the kernel lets this process have no news of it.
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

    /// Says what is wanted; returns at once.
    pub fn want(&self, want: Want) {
        self.order(want);
    }

    /// Wants the addresses here, and waits until they are, and the neighbours were told.
    ///
    /// # Errors
    /// Why they are not yet; it is tried again and again until something else is wanted.
    pub async fn hold(&self) -> Result<(), Error> {
        self.reach(Want::Held).await
    }

    /// Wants the addresses gone from here, and waits until they are.
    ///
    /// # Errors
    /// Why they are not yet; it is tried again and again until something else is wanted.
    pub async fn release(&self) -> Result<(), Error> {
        self.reach(Want::Released).await
    }

    /// Whether every address is wanted here and on the interface.
    #[must_use]
    pub fn held(&self) -> bool {
        self.view.borrow().held()
    }

    /// How the addresses are.
    #[must_use]
    pub fn view(&self) -> AddressesView {
        self.view.borrow().clone()
    }

    /// The same, to wait for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<AddressesView> {
        self.view.clone()
    }

    async fn reach(&self, want: Want) -> Result<(), Error> {
        let turn = self.order(want);
        let mut view = self.view.clone();
        let reached = view.wait_for(|view| view.turn >= turn).await;
        let Ok(reached) = reached else {
            return Err(Error::new("the task that looks after the addresses ended"));
        };
        match &reached.problem {
            _ if reached.want != want => Err(Error::new(
                "the addresses were ordered elsewhere before they came to where they were wanted",
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
