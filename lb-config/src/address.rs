//! Kinds of values that are addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    kind::{Complaint, Text},
    model::InterfaceAddress,
};

/// A value that is the listen address of a service: an address of this host or a wildcard, and a
/// port.
pub(super) const LISTEN: Text<SocketAddr> = Text {
    what: "`\"IP:PORT\"`",
    parse: |text| listen(text, 80),
};

/// A value that is the address and port on which the agent itself listens.
pub(super) const ADMIN_LISTEN: Text<SocketAddr> = Text {
    what: "`\"IP:PORT\"`",
    parse: |text| listen(text, 9145),
};

/// A value that is the address and port of a backend. The address must be that of one host.
pub(super) const BACKEND: Text<SocketAddr> = Text {
    what: "`\"IP:PORT\"`",
    parse: backend,
};

/// A value that is an IP address without a port.
pub(super) const IP: Text<IpAddr> = Text {
    what: "IP address",
    parse: ip,
};

/// A value that is an IPv4 address without a port.
pub(super) const IPV4: Text<Ipv4Addr> = Text {
    what: "IPv4 address",
    parse: |text| match ip(text)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Complaint::new(
            "is an IPv6 address",
            "an IPv4 address is needed, such as \"172.31.0.68\"",
        )),
    },
};

/// A value that is the IPv4 address of one host, without a port.
pub(super) const HOST_IPV4: Text<Ipv4Addr> = Text {
    what: "IPv4 address",
    parse: host_ipv4,
};

/// A value that is an IP address with the prefix length of its network.
pub(super) const WITH_PREFIX: Text<InterfaceAddress> = Text {
    what: "`\"IP/PREFIX\"`",
    parse: with_prefix,
};

/// Parses the address and port of a backend, such as `10.0.0.6:80` or `[2001:db8::6]:80`. The
/// address must be that of one host.
///
/// # Errors
/// The text is something else. The error says what was found and what to write, as the rest of a
/// sentence that begins with the text: `has no port; write "10.0.0.6:80"`.
pub fn parse_backend_address(text: &str) -> Result<SocketAddr, String> {
    backend(text).map_err(|Complaint { found, hint }| format!("{found}; {hint}"))
}

fn listen(text: &str, usual_port: u16) -> Result<SocketAddr, Complaint> {
    if text.starts_with(':') {
        let hint = format!("write \"0.0.0.0{text}\" for every IPv4 address, or one address");
        return Err(Complaint::new("has no address", hint));
    }
    let address = socket_address(text, usual_port)?;
    if is_of_many(address.ip()) {
        return Err(Complaint::new(
            "is a multicast or broadcast address, which nothing can listen on",
            "write an address of this host, or 0.0.0.0 for all its IPv4 addresses",
        ));
    }
    Ok(address)
}

fn backend(text: &str) -> Result<SocketAddr, Complaint> {
    let address = socket_address(text, 80)?;
    if address.ip().is_unspecified() || is_of_many(address.ip()) {
        return Err(Complaint::new(
            "is not the address of one host",
            "write the address that the backend itself has, such as \"10.0.0.6:80\"",
        ));
    }
    Ok(address)
}

/// Parses `IP:PORT`. The error says which of the usual mistakes was made; its hint uses
/// `usual_port`.
fn socket_address(text: &str, usual_port: u16) -> Result<SocketAddr, Complaint> {
    match text.parse::<SocketAddr>() {
        Ok(address) => one_meaning(address, text),
        Err(_) => Err(not_an_address(text, usual_port)),
    }
}

/// Refuses addresses that parse but cannot be used, such as one with port 0, with a zone, or an
/// IPv4 address in the form of IPv6.
fn one_meaning(address: SocketAddr, text: &str) -> Result<SocketAddr, Complaint> {
    if address.port() == 0 {
        return Err(Complaint::new("has port 0", "a port is 1 to 65535"));
    }
    let SocketAddr::V6(v6) = address else {
        return Ok(address);
    };
    if v6.scope_id() != 0 || text.contains('%') {
        return Err(Complaint::new(
            "has a zone",
            "link-local addresses are not supported: write a global or a private one",
        ));
    }
    if let Some(v4) = v6.ip().to_ipv4_mapped() {
        return Err(Complaint::new(
            "is an IPv4-mapped IPv6 address",
            format!("write \"{v4}:{}\"", address.port()),
        ));
    }
    Ok(address)
}

fn not_an_address(text: &str, usual_port: u16) -> Complaint {
    let example = "write an IP address and a port: \"10.0.0.6:80\", or \"[2001:db8::6]:80\"";
    if let Ok(ip) = text.parse::<IpAddr>() {
        let with_port = SocketAddr::new(ip, usual_port);
        return Complaint::new("has no port", format!("write \"{with_port}\""));
    }
    if text.contains("://") || text.contains('/') {
        return Complaint::new("is not an address and a port", example);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return no_ip(text, example);
    };
    if host.is_empty() {
        return Complaint::new("has no address", example);
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return bad_port(IpAddr::V4(ip), port, usual_port);
    }
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(ip) = bracketed.and_then(|host| host.parse().ok()) {
        return bad_port(ip, port, usual_port);
    }
    if bracketed.is_some() || host.contains(':') {
        return Complaint::new("is not an IPv6 address and a port", example);
    }
    no_ip(host, example)
}

fn bad_port(ip: IpAddr, port: &str, usual_port: u16) -> Complaint {
    let with_port = SocketAddr::new(ip, usual_port);
    let found = format!("has the invalid port {port:?}");
    Complaint::new(
        found,
        format!("a port is 1 to 65535: write, for example, \"{with_port}\""),
    )
}

fn no_ip(host: &str, example: &str) -> Complaint {
    let numeric = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if host.is_empty() || host.bytes().all(numeric) {
        let hint = format!("an IPv4 address is four numbers of 0 to 255; {example}");
        return Complaint::new("is not an IP address", hint);
    }
    let hint = format!("{example}; or let the agent resolve the name: dns in [pool.discover]");
    Complaint::new("has a host name in place of an IP address", hint)
}

fn ip(text: &str) -> Result<IpAddr, Complaint> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    Err(match text.parse::<SocketAddr>() {
        Ok(address) => {
            let hint = format!("write the address alone: \"{}\"", address.ip());
            Complaint::new("has a port", hint)
        }
        Err(_) if text.contains('/') => Complaint::new(
            "has a prefix",
            "write single addresses: networks are not supported here",
        ),
        Err(_) => Complaint::new(
            "is not an IP address",
            "write an address such as \"172.31.0.68\" or \"2001:db8::6\"",
        ),
    })
}

fn host_ipv4(text: &str) -> Result<Ipv4Addr, Complaint> {
    let address = (IPV4.parse)(text)?;
    if address.is_unspecified() || address.is_loopback() || is_of_many(address.into()) {
        let hint = "write an address that this host has on a network interface";
        return Err(Complaint::new("is not the address of one host", hint));
    }
    Ok(address)
}

fn with_prefix(text: &str) -> Result<InterfaceAddress, Complaint> {
    let example = "write an address and its prefix: \"172.31.0.200/20\"";
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(Complaint::new("has no prefix", example));
    };
    let address: IpAddr = ip(address)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = whole(prefix).filter(|prefix| (1..=longest).contains(prefix));
    let Some(prefix) = prefix else {
        let found = format!("has a prefix that is not 1 to {longest}");
        return Err(Complaint::new(found, example));
    };
    if address.is_unspecified() || address.is_loopback() || is_of_many(address) {
        let hint = "write an address that can be assigned to this host";
        return Err(Complaint::new("is not the address of one host", hint));
    }
    Ok(InterfaceAddress { address, prefix })
}

/// Parses a number that consists of digits only: `str::parse` alone would accept a leading `+`.
pub(super) fn whole<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn is_of_many(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}
