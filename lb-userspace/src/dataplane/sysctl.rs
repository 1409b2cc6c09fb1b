//! Sets the sysctls of the host that steering depends on.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    ops::RangeInclusive,
};

use super::{Error, host::Interface, ports::PortSet};

/// The file with the kernel's list of ports that it does not allocate to connections.
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Enables forwarding on each of these interfaces, because the kernel answers no route lookups for
/// packets that arrive on an interface without forwarding. Also reserves the source ports of NAT.
pub(super) fn prepare(interfaces: &[Interface], source_ports: &PortSet) -> Result<(), Error> {
    for Interface { name, .. } in interfaces {
        write(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"), "1")?;
    }
    let reserved = read(RESERVED_PORTS).unwrap_or_default();
    let list = source_ports
        .ranges()
        .iter()
        .fold(reserved.trim().to_owned(), |list, range| {
            with_range(&list, range)
        });
    write(RESERVED_PORTS, &list)
}

/// Returns a list of reserved ports with `range` added, unless the list has it already.
fn with_range(list: &str, range: &RangeInclusive<u16>) -> String {
    let own = format!("{}-{}", range.start(), range.end());
    if list.is_empty() {
        return own;
    }
    if list.split(',').any(|entry| covers(entry, range)) {
        return list.to_owned();
    }
    format!("{list},{own}")
}

fn covers(entry: &str, range: &RangeInclusive<u16>) -> bool {
    let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
    let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else {
        return false;
    };
    first <= *range.start() && last >= *range.end()
}

/// Reads the whole value of a sysctl with one system call, because the kernel returns end-of-file
/// to a second one. `fs::read_to_string` would begin with a read of only 32 bytes.
fn read(path: &str) -> io::Result<String> {
    // There is room for the longest list of ports, which has every second port.
    let mut value = vec![0; 256 << 10];
    let length = File::open(path)?.read(&mut value)?;
    value.truncate(length);
    String::from_utf8(value).map_err(io::Error::other)
}

fn write(path: &str, value: &str) -> Result<(), Error> {
    if read(path).is_ok_and(|present| present.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(Error::kernel(format!("cannot write \"{value}\" to {path}")))
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_list_of_more_than_32_bytes_is_read_whole() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of this thread");
        let list = "1024-8052,8054,8056-9144,9146-52807,61000-65535";
        fs::write(RESERVED_PORTS, list).expect("written");
        assert_eq!(read(RESERVED_PORTS).expect("read").trim(), list);
    }

    #[test]
    fn what_others_reserved_stays_reserved() {
        assert_eq!(with_range("", &(10_240..=32_767)), "10240-32767");
        assert_eq!(
            with_range("8080,9000-9010", &(10_240..=32_767)),
            "8080,9000-9010,10240-32767"
        );
        assert_eq!(
            with_range("8080,10000-40000", &(10_240..=32_767)),
            "8080,10000-40000"
        );
    }
}
