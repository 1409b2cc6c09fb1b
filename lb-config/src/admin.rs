//! `[admin]`: the listeners for the operator and Prometheus.

use std::{net::SocketAddr, path::PathBuf};

use toml::Spanned;

use super::{
    Admin,
    address::ADMIN_LISTEN,
    kind::Text,
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static ADMIN: Schema = Schema {
    name: "admin",
    header: "[admin]",
    about: "Where the operator and Prometheus reach the agent.",
    presence: "Optional.",
    keys: &[&ADMIN_LISTEN_KEY, &ADMIN_CERTIFICATE, &TOKEN_FILE, &SOCKET],
    tables: &[],
};

static ADMIN_LISTEN_KEY: Key<Text<SocketAddr>> = Key {
    name: "listen",
    kind: ADMIN_LISTEN,
    absent: Absent::Is("\"127.0.0.1:9145\""),
    meaning: "HTTP: `/metrics`, `/healthz`, the status page at `/` and the JSON status, without a \
              password: everyone who reaches the address can read the status. Nothing can be \
              changed here without `token_file`.",
};

static ADMIN_CERTIFICATE: Key<Text<PathBuf>> = Key {
    name: "certificate",
    kind: text::PATH,
    absent: Absent::Means("plain HTTP"),
    meaning: "A PEM file with a certificate chain and its key: `listen` then speaks HTTPS alone. A \
              new certificate in the file is used without a reload.",
};

static TOKEN_FILE: Key<Text<PathBuf>> = Key {
    name: "token_file",
    kind: text::PATH,
    absent: Absent::Means("the status page changes nothing"),
    meaning: "A file of mode 0600 with the operator token, 16 to 512 characters on one line: whoever \
              has it can drain backends and hand over from the status page. The file is read again \
              for each such request. Use it with `certificate`, or on a listener of this host alone: \
              plain HTTP shows the token to the network.",
};

static SOCKET: Key<Text<PathBuf>> = Key {
    name: "socket",
    kind: text::SOCKET,
    absent: Absent::Is("\"/run/lb/lb.sock\""),
    meaning: "The Unix socket of `lb status`, `lb backend`, `lb failover` and `lb reload`. Its \
              mode is 0600.",
};

/// `[admin]`, with the place of its listen address for the check for overlapping listeners.
pub(super) struct AdminDraft {
    /// The values of `[admin]`.
    pub(super) admin: Admin,
    /// The listen address of `[admin]`, with its place in the file.
    pub(super) listen: Spanned<SocketAddr>,
    /// Whether the file sets `listen`; otherwise the address is the default.
    pub(super) listen_given: bool,
}

/// Reads the section `[admin]`.
pub(super) fn read(section: &Section<'_>) -> Result<AdminDraft, Reported> {
    let listen = section.value(&ADMIN_LISTEN_KEY);
    let socket = section.value(&SOCKET);
    let certificate = section.optional(&ADMIN_CERTIFICATE);
    let token_file = section.optional(&TOKEN_FILE);
    let listen = listen?;
    Ok(AdminDraft {
        admin: Admin {
            listen: *listen.get_ref(),
            socket: socket?.into_inner(),
            certificate: certificate?.map(Spanned::into_inner),
            token_file: token_file?.map(Spanned::into_inner),
        },
        listen,
        listen_given: section.place(ADMIN_LISTEN_KEY.name).is_some(),
    })
}
