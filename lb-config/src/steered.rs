//! Checks that the kernel can steer a service of mode `tcp`, with its listen address and backends,
//! in this version of lb.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::{
    AddressFamily, DiscoverySource, drafts::PoolDraft, section::Section, source::Reported,
};

/// Reports a listen address or a backend that a service of mode `tcp` cannot have, because the
/// kernel cannot steer it.
pub(super) fn check(
    section: &Section<'_>,
    listen: Option<&Spanned<SocketAddr>>,
    pool: Option<&PoolDraft>,
) -> Result<(), Reported> {
    let mut steerable = listen.map_or(Ok(()), |listen| check_listener(section, listen));
    for backend in pool.map(|pool| &*pool.addresses).unwrap_or_default() {
        steerable = steerable.and(check_backend(section, backend));
    }
    steerable = steerable.and(check_discovery(section, pool));
    steerable
}

/// Reports a pool of a service of mode `tcp` whose backends are discovered by their IPv6 addresses.
fn check_discovery(section: &Section<'_>, pool: Option<&PoolDraft>) -> Result<(), Reported> {
    let pool = pool.and_then(|draft| draft.pool.as_ref());
    let Some((pool, discover)) = pool.and_then(|pool| Some((pool, pool.discover.as_ref()?))) else {
        return Ok(());
    };
    let (DiscoverySource::Dns { family, .. } | DiscoverySource::Srv { family, .. }) =
        &discover.source
    else {
        return Ok(());
    };
    if *family == AddressFamily::Ipv4 {
        return Ok(());
    }
    let message = format!(
        "{} has mode \"tcp\", and its pool \"{}\" discovers IPv6 addresses",
        section.label(),
        pool.name
    );
    let hint = "this version of lb steers only IPv4 in the kernel: write family = \"ipv4\" in \
                [pool.discover], or let the agent serve it with mode = \"http\" or \"https\"";
    Err(section.error(message, hint.to_owned()))
}

fn check_listener(section: &Section<'_>, listen: &Spanned<SocketAddr>) -> Result<(), Reported> {
    let label = section.label();
    let (found, hint) = match listen.get_ref().ip() {
        IpAddr::V6(_) => (
            format!(
                "{label} listens on IPv6, but this version of lb steers only IPv4 in the kernel"
            ),
            "write an IPv4 address, or let the agent serve it with mode = \"http\" or \"https\"",
        ),
        ip if ip.is_unspecified() => (
            format!("{label} has mode \"tcp\" and listens on a wildcard address"),
            "the kernel finds a service by the destination address of packets: write that address",
        ),
        ip if ip.is_loopback() => (
            format!("{label} has mode \"tcp\" and listens on loopback"),
            "the kernel steers packets from the network: write an address of this host",
        ),
        IpAddr::V4(_) => return Ok(()),
    };
    Err(section
        .source()
        .error(listen.span(), found, hint.to_owned()))
}

fn check_backend(section: &Section<'_>, backend: &Spanned<SocketAddr>) -> Result<(), Reported> {
    let address = backend.get_ref();
    let used_by = format!("{} with mode \"tcp\" uses this backend", section.label());
    let (found, hint) = match address.ip() {
        IpAddr::V6(_) => (
            "is IPv6, but this version of lb steers only IPv4 in the kernel",
            "write an IPv4 address, or let the agent serve it with mode = \"http\" or \"https\"",
        ),
        ip if ip.is_loopback() => (
            "is a loopback address, which the kernel cannot steer to",
            "write an address that packets reach over the network",
        ),
        IpAddr::V4(_) => return Ok(()),
    };
    let message = format!("backend address \"{address}\" {found}");
    let hint = format!("{used_by}: {hint}");
    Err(section.source().error(backend.span(), message, hint))
}
