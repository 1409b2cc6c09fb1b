//! `[ha.link]`: the connection between the two agents.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use toml::Spanned;

use super::super::{
    Ha, Moves, PeerLink, VrrpVersion,
    kind::{Bool, Text, Whole},
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static LINK: Schema = Schema {
    name: "link",
    header: "[ha.link]",
    about: "The connection between the two agents, over TLS: a second path for heartbeats, so that \
            the loss of one path does not cause a split brain, and the channel for flows, \
            session-ticket keys and drains.",
    presence: "Optional, because keepalived as the peer has no link; with any other peer, omitting \
               it gives a warning.",
    keys: &[&SECRET_FILE, &PORT, &SHARE_CERTIFICATES],
    tables: &[],
};

static SECRET_FILE: Key<Text<PathBuf>> = Key {
    name: "secret_file",
    kind: text::PATH,
    absent: Absent::Refused("\"/etc/lb/peer.secret\""),
    meaning: "The secret that only the two hosts share, made by `lb peer init`. Mode 0600, owned \
              by the agent's user (`chown lb:`).",
};

static PORT: Key<Whole<u16>> = Key {
    name: "port",
    kind: Whole(RangeInclusive::new(1, u16::MAX)),
    absent: Absent::Is("9146"),
    meaning: "The TCP port of the agent on `source`, the same on both hosts.",
};

static SHARE_CERTIFICATES: Key<Bool> = Key {
    name: "share_certificates",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether the host with the newer version of a certificate file sends it, with its \
              key, to the other one. Must be set on both hosts. The agent's user needs write \
              access to the certificates' folder; with `deploy/lb.service` it has that for \
              `/etc/lb/tls` only. Certificates that are symbolic links are not replaced.",
};

/// The parts of `[ha.link]` that are valid.
pub(super) struct LinkDraft {
    /// The section: `None` if the file does not have it, an error if any part of it is not valid.
    pub(super) link: Result<Option<PeerLink>, Reported>,
    /// The address on which the agent listens for the peer; `None` if it is not known.
    pub(super) listen: Option<Spanned<SocketAddr>>,
}

/// Reads the section `[ha.link]`, if the file has it.
pub(super) fn read(ha: &Section<'_>, source: Option<&Spanned<IpAddr>>) -> LinkDraft {
    let section = match ha.table(&LINK) {
        Ok(Some(section)) => section,
        other => {
            let link = other.map(|_none| None);
            return LinkDraft { link, listen: None };
        }
    };
    let port = section.value(&PORT);
    let listen = source.zip(port.as_ref().ok()).map(|(source, port)| {
        let listen = SocketAddr::new(*source.get_ref(), *port.get_ref());
        Spanned::new(port.span(), listen)
    });
    LinkDraft {
        link: read_link(&section, port).map(Some),
        listen,
    }
}

fn read_link(
    section: &Section<'_>,
    port: Result<Spanned<u16>, Reported>,
) -> Result<PeerLink, Reported> {
    let secret_file = section.value(&SECRET_FILE);
    let share_certificates = section.value(&SHARE_CERTIFICATES);
    Ok(PeerLink {
        secret_file: secret_file?.into_inner(),
        port: port?.into_inner(),
        share_certificates: share_certificates?.into_inner(),
    })
}

/// Warns if the file has no `[ha.link]`: the hosts of the pair then hear each other by adverts
/// only.
pub(super) fn warn_of_none(section: &Section<'_>, ha: &Ha) {
    let message = "[ha] has no [ha.link]: adverts are the only path between the hosts";
    let mut hint = "if adverts are lost, both hosts become active; flows, session tickets and \
                    drains do not reach the peer: make a secret with `lb peer init` and add \
                    [ha.link]"
        .to_owned();
    // In version 3 of VRRP, keepalived refuses to start without a virtual address.
    let bare = ha.advertised_addresses.is_empty() && ha.version == VrrpVersion::V3;
    if bare && !matches!(ha.moves, Moves::VirtualIp(_)) {
        hint.push_str(
            "\nfor keepalived as the peer, which has no link, add advertised_addresses with the \
             address of its virtual_ipaddress",
        );
    }
    section.source().warning(section.span(), message, hint);
}
