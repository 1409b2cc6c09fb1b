//! Checks whether the backends of `tcp` services, which the kernel steers, can be reached through
//! the XDP program's interfaces.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::Error;
use crate::{
    config::{Interfaces, Mode, Name, Service},
    netlink::{Rtnetlink, Way},
};

/// A backend of a `tcp` service to which the XDP program cannot forward packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreachable {
    /// The name of the backend's pool.
    pub pool: Name,
    /// The address and port of the backend.
    pub address: SocketAddr,
    /// Why the XDP program cannot forward packets to the backend: a sentence that begins with the
    /// backend and has no full stop.
    pub message: String,
    /// What the operator can do so that the backend is reached.
    pub hint: String,
}

/// Returns the backends of `tcp` services that no route reaches through these interfaces, in the
/// order of the configuration. Services that the agent serves are not checked, because their
/// packets go through sockets and not through the XDP program.
///
/// # Errors
/// The lookup of a route fails.
pub fn unreachable(
    interfaces: &Interfaces,
    services: &[Service],
) -> Result<Vec<Unreachable>, Error> {
    let failed =
        |error: std::io::Error| Error::kernel("cannot look up the routes to the backends")(error);
    let mut kernel = Rtnetlink::open().map_err(failed)?;
    let mut seen = HashSet::new();
    let mut unreachable = Vec::new();
    let steered = services
        .iter()
        .filter(|service| matches!(service.mode, Mode::Tcp { .. }));
    for pool in steered.filter_map(|service| service.pool.as_ref()) {
        for backend in &pool.backends {
            // The configuration rejects IPv6 backends of `tcp` services, so there is none here.
            let IpAddr::V4(ip) = backend.address.ip() else {
                continue;
            };
            if !seen.insert((&pool.name, backend.address)) {
                continue;
            }
            let way = kernel.way_to(ip).map_err(failed)?;
            if let Some((found, hint)) = obstacle(ip, &named(way), interfaces) {
                unreachable.push(Unreachable {
                    pool: pool.name.clone(),
                    address: backend.address,
                    message: format!("{}: {found}", label(&backend.name, backend.address)),
                    hint,
                });
            }
        }
    }
    Ok(unreachable)
}

/// Formats a backend as `backend web3 (10.9.0.7:80)`; without the parentheses if its name is its
/// address.
fn label(name: &Name, address: SocketAddr) -> String {
    match name.as_str() == address.to_string() {
        true => format!("backend {address}"),
        false => format!("backend {name} ({address})"),
    }
}

/// A [`Way`], the result of a route lookup, with the names of the interfaces instead of their
/// indices.
#[derive(Debug)]
enum NamedWay {
    Out(Vec<String>),
    Local,
    Nowhere(String),
}

fn named(way: Way) -> NamedWay {
    let name = |index: u32| {
        nix::net::if_::if_indextoname(index).map_or_else(
            |_gone| format!("interface {index}"),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    match way {
        Way::Out(indices) => NamedWay::Out(indices.into_iter().map(name).collect()),
        Way::Local => NamedWay::Local,
        Way::Nowhere(why) => NamedWay::Nowhere(why),
    }
}

/// Returns what prevents packets from being steered along this route, and a hint for the operator;
/// `None` if nothing does.
fn obstacle(
    address: Ipv4Addr,
    way: &NamedWay,
    interfaces: &Interfaces,
) -> Option<(String, String)> {
    match way {
        NamedWay::Local => Some((
            "it is an address of this host, but the XDP program steers to other hosts only"
                .to_owned(),
            "serve it with mode = \"http\" or \"https\", or name a backend on another host"
                .to_owned(),
        )),
        NamedWay::Nowhere(why) => Some((
            format!("this host has no route to it ({why})"),
            format!("see `ip route get {address}`: add a route, or correct the address"),
        )),
        NamedWay::Out(names) => {
            let has_program = |name: &str| interfaces.names().any(|one| one == name);
            let without: Vec<&str> = names
                .iter()
                .map(String::as_str)
                .filter(|name| !has_program(name))
                .collect();
            let (first, joined) = (without.first()?, without.join(" and "));
            Some((
                format!("its route leaves by {joined}, where lb has no XDP program"),
                match *first {
                    "lo" => {
                        "correct the route: the XDP program sends through network interfaces only"
                            .to_owned()
                    }
                    _ => format!("add {joined} to [node] interfaces, or correct the route"),
                },
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

    fn out(names: &[&str]) -> NamedWay {
        NamedWay::Out(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn found(way: &NamedWay) -> Option<(String, String)> {
        let interfaces = Interfaces::new(vec!["eth0".to_owned(), "eth1".to_owned()]);
        obstacle(BACKEND, way, &interfaces.expect("two interfaces"))
    }

    #[test]
    fn every_path_of_a_route_leaves_by_an_interface_with_the_program() {
        assert_eq!(found(&out(&["eth1"])), None);
        assert_eq!(found(&out(&["eth0", "eth1"])), None);
        let (message, hint) = found(&out(&["eth1", "eth2"])).expect("refused");
        assert_eq!(
            message,
            "its route leaves by eth2, where lb has no XDP program"
        );
        assert_eq!(hint, "add eth2 to [node] interfaces, or correct the route");
    }

    #[test]
    fn an_address_of_this_host_is_refused() {
        let (message, hint) = found(&NamedWay::Local).expect("refused");
        assert!(message.contains("address of this host"), "{message}");
        assert!(hint.contains("mode = \"http\""), "{hint}");
    }

    #[test]
    fn a_backend_without_a_route_is_refused_with_the_reason_of_the_kernel() {
        let way = NamedWay::Nowhere("Network is unreachable".to_owned());
        let (message, hint) = found(&way).expect("refused");
        assert!(message.contains("(Network is unreachable)"), "{message}");
        assert!(hint.contains("ip route get 10.9.0.7"), "{hint}");
    }

    #[test]
    fn a_backend_is_called_by_its_name_and_address() {
        let address = SocketAddr::from((BACKEND, 80));
        let name = |text: &str| Name::parse(text).expect("a name");
        assert_eq!(label(&name("web3"), address), "backend web3 (10.9.0.7:80)");
        assert_eq!(label(&name("10.9.0.7:80"), address), "backend 10.9.0.7:80");
    }
}
