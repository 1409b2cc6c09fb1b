//! A forwarder from the machine's loopback to a host of the lab.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::Result;

use crate::Host;

/// Listens on the machine's loopback and forwards every connection to `target`, as seen from
/// `host`, until this process ends. Returns its address.
///
/// # Errors
/// When no port is available.
pub fn open(host: &Host, target: SocketAddr) -> Result<SocketAddr> {
    // The listener is bound here, in the machine's network; the connections to the target are
    // opened below, in the host's network.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    // A connection that arrives while the test network ends is refused.
    drop(host.inside(move || {
        for outer in listener.incoming().flatten() {
            thread::spawn(move || pass_on(&outer, target));
        }
        Ok(())
    }));
    Ok(address)
}

fn pass_on(outer: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let inner = TcpStream::connect(target)?;
    let (from_inner, to_outer) = (inner.try_clone()?, outer.try_clone()?);
    let back = thread::spawn(move || copy(&from_inner, &to_outer));
    copy(outer, &inner);
    drop(back.join());
    Ok(())
}

/// Copies data until the side `from` ends, then closes the side `to`. Errors are ignored.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}
