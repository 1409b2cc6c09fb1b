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
            one lost path is not a split brain, and the way of flows, session-ticket keys and \
            drains to the peer.",
    presence: "May be left out: for keepalived as the peer, which has none. Otherwise there is a \
               warning.",
    keys: &[&SECRET_FILE, &PORT, &SHARE_CERTIFICATES],
    tables: &[],
};

static SECRET_FILE: Key<Text<PathBuf>> = Key {
    name: "secret_file",
    kind: text::PATH,
    absent: Absent::Refused("\"/etc/lb/peer.secret\""),
    meaning: "What both hosts have and nobody else, made by `lb peer init`. Mode \
              0600, of the agent's user (`chown lb:`).",
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
    meaning: "Whether the host with the newer certificate in a file gives it, with its key, to the \
              other one. Both hosts must say so. The agent's user must be able to write the \
              certificates' folder; `deploy/lb.service` lets it write `/etc/lb/tls` alone. \
              Certificates that are symbolic links are not replaced.",
};

/// `[ha.link]` as far as it could be read.
pub(super) struct LinkDraft {
    /// The section, if all of it is valid and it is there.
    pub(super) link: Result<Option<PeerLink>, Reported>,
    /// Where the agent listens for the peer.
    pub(super) listen: Option<Spanned<SocketAddr>>,
}

/// Reads `[ha.link]`, if the file has it.
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

/// Warns of a pair whose hosts know of each other by adverts alone.
pub(super) fn warn_of_none(section: &Section<'_>, ha: &Ha) {
    let message = "[ha] has no [ha.link]: adverts are the only path between the hosts";
    let mut hint = "when that path is lost, both act as active; flows, session tickets and drains \
                    do not reach the peer: make a secret with `lb peer init` and add [ha.link]"
        .to_owned();
    // keepalived refuses to start without an address in version 3.
    let bare = ha.advertised_addresses.is_empty() && ha.version == VrrpVersion::V3;
    if bare && !matches!(ha.moves, Moves::VirtualIp(_)) {
        hint.push_str(
            "\nfor keepalived as the peer, which has no link, add advertised_addresses with the \
             address that its virtual_ipaddress has",
        );
    }
    section.source().warning(section.span(), message, hint);
}
