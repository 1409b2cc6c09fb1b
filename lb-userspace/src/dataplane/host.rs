//! Checks what the data plane requires of the host: privileges, interfaces and addresses.

use std::{fs, net::Ipv4Addr};

use nix::ifaddrs::getifaddrs;

use super::Error;
use crate::config::Interfaces;

/// A network interface of this host.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

impl Interface {
    /// Finds all configured interfaces on this host. The error names the first one that is missing.
    pub(super) fn find_all(names: &Interfaces) -> Result<Vec<Self>, Error> {
        names.names().map(Self::find).collect()
    }

    /// Finds the interface of this name on this host.
    fn find(name: &str) -> Result<Self, Error> {
        match nix::net::if_::if_nametoindex(name) {
            Ok(index) => Ok(Self {
                name: name.to_owned(),
                index,
            }),
            Err(_no_such) => Err(Error::NoInterface {
                name: name.to_owned(),
                present: names(),
            }),
        }
    }
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = nix::net::if_::if_nameindex()
        .map(|all| {
            all.iter()
                .map(|one| one.name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// Checks that each source address is on an interface, because replies of backends to any other
/// address would not arrive at this host. The error names all addresses that are missing.
pub(super) fn require_addresses(wanted: &[Ipv4Addr]) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let present: Vec<Ipv4Addr> = getifaddrs()
        .map_err(Error::kernel("cannot list the addresses of this host"))?
        .filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip()))
        .collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|address| !present.contains(address))
        .map(Ipv4Addr::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NoSourceAddress { missing })
}

/// The capabilities that the agent needs: name, number, and what for (capabilities(7)).
const NEEDED: [(&str, u32, &str); 3] = [
    ("CAP_BPF", 39, "to load the XDP program and its maps"),
    ("CAP_NET_ADMIN", 12, "to attach it to the interfaces"),
    ("CAP_PERFMON", 38, "for the verifier to accept it"),
];

/// The number of the capability CAP_SYS_ADMIN, which includes CAP_BPF and CAP_PERFMON: those were
/// split from it in Linux 5.8.
const SYS_ADMIN: u32 = 21;

/// Returns an error if this process lacks capabilities that loading and attaching the program need.
pub(super) fn require_privileges() -> Result<(), Error> {
    let Some(effective) = effective_capabilities() else {
        return Ok(());
    };
    let missing = missing_of(effective);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Privileges { missing })
}

/// Returns the needed capabilities that the bit mask `effective` lacks, each with what it is needed
/// for.
pub(super) fn missing_of(effective: u64) -> Vec<String> {
    let has = |bit: u32| effective >> bit & 1 == 1;
    NEEDED
        .iter()
        .filter(|&&(name, bit, _why)| !has(bit) && (name == "CAP_NET_ADMIN" || !has(SYS_ADMIN)))
        .map(|(name, _bit, why)| format!("{name} is missing ({why})"))
        .collect()
}

/// Returns the effective capabilities of this process as a bit mask (proc_pid_status(5)); `None` if
/// they cannot be read.
fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named_with_its_use() {
        assert_eq!(missing_of(u64::MAX), Vec::<String>::new());
        assert_eq!(missing_of(1 << SYS_ADMIN | 1 << 12), Vec::<String>::new());
        let missing = missing_of(1 << 12 | 1 << 38);
        assert_eq!(
            missing,
            ["CAP_BPF is missing (to load the XDP program and its maps)"]
        );
        assert_eq!(missing_of(0).len(), 3);
    }

    #[test]
    fn source_addresses_that_no_interface_has_are_named_with_what_to_do() {
        let lost = [Ipv4Addr::new(240, 0, 0, 1), Ipv4Addr::new(240, 0, 0, 2)];
        assert!(require_addresses(&[Ipv4Addr::LOCALHOST]).is_ok());
        let error = require_addresses(&[lost[0], Ipv4Addr::LOCALHOST, lost[1]])
            .expect_err("no interface has these")
            .to_string();
        assert!(error.contains("has 240.0.0.1 and 240.0.0.2, of"), "{error}");
        assert!(error.contains("ip address add 240.0.0.1/32"), "{error}");
    }

    #[test]
    fn an_interface_that_does_not_exist_is_refused_with_those_that_do() {
        let error = Interface::find("nosuch0")
            .expect_err("there is none")
            .to_string();
        assert!(
            error.contains("\"nosuch0\"") && error.contains("lo"),
            "{error}"
        );
    }
}
