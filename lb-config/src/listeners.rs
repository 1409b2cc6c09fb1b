//! The check for listeners that overlap.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::source::Source;

/// A listener of the configuration, with its name in messages.
pub(super) struct Listener {
    /// The listener's name in messages, such as `service "http"` or `[admin]`.
    pub(super) label: String,
    /// The address and port of the listener, with their place in the file.
    pub(super) address: Spanned<SocketAddr>,
    /// Whether the file sets the address; otherwise it is a default.
    pub(super) given: bool,
}

/// Reports every listener that overlaps with an earlier one.
pub(super) fn refuse_clashes(listeners: &[Listener], source: &Source<'_>) {
    for (index, listener) in listeners.iter().enumerate() {
        let before = listeners[..index].iter();
        let mut clashing = before.filter(|other| overlap(&listener.address, &other.address));
        if let Some(other) = clashing.next() {
            report(listener, other, source);
        }
    }
}

fn report(listener: &Listener, other: &Listener, source: &Source<'_>) {
    let (address, taken) = (listener.address.get_ref(), other.address.get_ref());
    let Listener { label, .. } = listener;
    let message = if address == taken {
        format!("{label} listens on {address}, as {} does", other.label)
    } else {
        let other = &other.label;
        format!("{label} listens on {address}, which overlaps with {taken} of {other}")
    };
    let hint = if other.given {
        let line = source.line(&other.address.span());
        format!("give one of them another address or port; the other is on line {line}")
    } else {
        format!(
            "{taken} is the default address of {0}: give {0} or {label} another address or port",
            other.label
        )
    };
    source.error(listener.address.span(), message, hint);
}

/// Whether a connection could belong to both listeners. A wildcard address includes only the
/// addresses of its family: the HTTP front binds `[::]` for IPv6 only.
fn overlap(one: &Spanned<SocketAddr>, other: &Spanned<SocketAddr>) -> bool {
    let (one, other) = (one.get_ref(), other.get_ref());
    one.port() == other.port()
        && (one.ip() == other.ip() || takes(one.ip(), other.ip()) || takes(other.ip(), one.ip()))
}

fn takes(wildcard: IpAddr, address: IpAddr) -> bool {
    match wildcard {
        IpAddr::V4(wildcard) => wildcard.is_unspecified() && address.is_ipv4(),
        IpAddr::V6(wildcard) => wildcard.is_unspecified() && address.is_ipv6(),
    }
}
