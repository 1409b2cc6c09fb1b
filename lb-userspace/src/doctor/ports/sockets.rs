//! Finds the listening TCP sockets of the host, and the processes that have them open.

use std::{
    collections::HashMap,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A listening TCP socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// The inode number of the socket, by which /proc/PID/fd names it.
    pub(super) inode: u64,
    /// IDs of the processes that have the socket open: two for a while after `lb upgrade`; empty if
    /// this process has no permission to see them.
    pub(super) pids: Vec<i32>,
    /// The name of the first process in `pids`; `None` if it cannot be read.
    pub(super) name: Option<String>,
}

impl Listener {
    /// Returns whether this socket keeps another socket from listening on `address`.
    pub(super) fn covers(&self, address: SocketAddr) -> bool {
        let (own, other) = (self.address.ip(), address.ip());
        let overlap = own == other
            || other.is_unspecified()
            || own == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || own == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && other.is_ipv4();
        self.address.port() == address.port() && overlap
    }

    /// Returns, as text, how the operator can stop the process that has the socket's port.
    pub(super) fn how_to_stop(&self) -> String {
        match self.pids.first() {
            Some(pid) => format!("stop it, by its unit or with `kill {pid}`"),
            None => format!(
                "find it with `ss -ltnp sport = :{}` as root, and stop it",
                self.address.port()
            ),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.pids.first()) {
            (Some(name), Some(pid)) => write!(f, "{name} (process {pid})"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            (_, None) => f.write_str("a process that is not visible to this user"),
        }
    }
}

/// Lists the listening sockets of this network namespace.
pub(super) fn listeners() -> Vec<Listener> {
    // `/proc/thread-self/net` is the network namespace of this thread; `/proc/net` would be that of
    // the process's main thread.
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let mut listeners: Vec<Listener> = tables
        .iter()
        .flat_map(|table| parse(&fs::read_to_string(table).unwrap_or_default()))
        .collect();
    let owners = owners();
    for listener in &mut listeners {
        listener.pids = owners.get(&listener.inode).cloned().unwrap_or_default();
        if let Some(pid) = listener.pids.first() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
            listener.name = name.map(|name| name.trim().to_owned());
        }
    }
    listeners
}

/// Parses the listening sockets in the content of /proc/net/tcp or /proc/net/tcp6.
fn parse(table: &str) -> Vec<Listener> {
    const LISTENS: &str = "0A";
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        (*fields.get(3)? == LISTENS).then_some(())?;
        Some(Listener {
            address: SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?),
            inode: fields.get(9)?.parse().ok()?,
            pids: Vec::new(),
            name: None,
        })
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Parses an IP address as the kernel prints it in /proc/net/tcp: words of 32 bits in the machine's
/// byte order, in hexadecimal.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |place: usize| {
        let digits = text.get(place..place + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for (number, part) in octets.chunks_mut(4).enumerate() {
                part.copy_from_slice(&word(number * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// Returns the IDs of the processes that have a socket open, by the socket's inode number, as far
/// as this process has permission to see them.
fn owners() -> HashMap<u64, Vec<i32>> {
    let mut owners: HashMap<u64, Vec<i32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if let Some(inode) = target.to_str().and_then(socket_number) {
                let pids = owners.entry(inode).or_default();
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    owners
}

/// Parses the inode number of a socket in the target of a link in /proc/PID/fd, such as
/// `socket:[4711]`.
fn socket_number(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_parsed_with_their_addresses() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 44001FAC:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0
   1: 0100007F:A1B2 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713
";
        let found = parse(table);
        let addresses: Vec<String> = found.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(addresses, ["172.31.0.68:443", "[::1]:80"]);
        assert_eq!(found[0].inode, 4711);
        assert_eq!(found[1].inode, 4713);
    }

    #[test]
    fn a_listener_of_this_process_is_found_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = socket.local_addr().expect("its address");
        let found = listeners();
        let found = found
            .iter()
            .find(|one| one.address == address)
            .expect("listed");
        assert_eq!(found.pids, [std::process::id().cast_signed()]);
        assert!(found.name.is_some());
    }

    #[test]
    fn only_sockets_have_a_number() {
        assert_eq!(socket_number("socket:[4711]"), Some(4711));
        assert_eq!(socket_number("pipe:[4711]"), None);
        assert_eq!(socket_number("/dev/null"), None);
    }
}
