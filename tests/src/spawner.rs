//! A thread that starts the holder processes of hosts and ends only with this process.
//!
//! `setpriv --pdeathsig` ties a child to the *thread* that started it: a host whose holder was
//! started on a short-lived thread would die with that thread.

use std::{
    io,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
    thread,
};

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a command on the thread that lives as long as this process does, and returns the child.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts hosts has ended");
    let (sender, receiver) = mpsc::channel();
    ORDERS
        .get_or_init(start)
        .send((command, sender))
        .map_err(|_| gone())?;
    receiver.recv().map_err(|_| gone())?
}

fn start() -> Sender<Order> {
    let (sender, orders) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, answer) in orders {
            // The thread that requested the child may have given up. Then the child's handle is
            // dropped, the child's standard input closes, and the host ends.
            drop(answer.send(command.spawn()));
        }
    });
    sender
}
