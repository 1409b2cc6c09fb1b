//! `[admin]`: the listeners for the operator and Prometheus.

use std::{net::SocketAddr, path::PathBuf};

use toml::Spanned;

use super::{
    Admin, ClientAuthorities,
    address::ADMIN_LISTEN,
    kind::Text,
    list::List,
    schema::{Absent, Entry as _, Key, Schema},
    section::Section,
    source::Reported,
    text,
    tls::{self, CLIENT_AUTHORITIES_KIND, CLIENT_AUTHORITIES_NAME, CLIENT_REVOCATIONS},
};

pub(super) static ADMIN: Schema = Schema {
    name: "admin",
    header: "[admin]",
    about: "Where the operator and Prometheus reach the agent.",
    presence: "Optional.",
    keys: &[
        &ADMIN_LISTEN_KEY,
        &ADMIN_CERTIFICATE,
        &TOKEN_FILE,
        &CLIENT_AUTHORITIES,
        &CLIENT_REVOCATIONS,
        &SOCKET,
    ],
    tables: &[],
};

static ADMIN_LISTEN_KEY: Key<Text<SocketAddr>> = Key {
    name: "listen",
    kind: ADMIN_LISTEN,
    absent: Absent::Is("\"127.0.0.1:9145\""),
    meaning: "HTTP: `/metrics`, `/healthz`, the status page at `/` and the JSON status, without a \
              password: everyone who reaches the address can read the status. Nothing can be \
              changed here without `token_file` or `client_authorities`.",
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

static CLIENT_AUTHORITIES: Key<List<Text<PathBuf>>> = Key {
    name: CLIENT_AUTHORITIES_NAME,
    kind: CLIENT_AUTHORITIES_KIND,
    absent: Absent::Means("none: clients are not asked for a certificate"),
    meaning: "PEM files with the certificates of the authorities that sign the client certificates \
              of operators: whoever has such a certificate can change from the status page what the \
              token of `token_file` allows, and is not asked for the token. Use authorities that \
              sign for operators alone. A client without a certificate can read as before; one with \
              an invalid certificate is refused. A changed file is read again without a reload. \
              Needs `certificate`.",
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
    let client_authorities = client_authorities(section);
    let listen = listen?;
    Ok(AdminDraft {
        admin: Admin {
            listen: *listen.get_ref(),
            socket: socket?.into_inner(),
            certificate: certificate?.map(Spanned::into_inner),
            token_file: token_file?.map(Spanned::into_inner),
            client_authorities: client_authorities?,
        },
        listen,
        listen_given: section.place(ADMIN_LISTEN_KEY.name).is_some(),
    })
}

/// Reads `client_authorities` and `client_revocations`; `None` if the file has neither.
fn client_authorities(section: &Section<'_>) -> Result<Option<ClientAuthorities>, Reported> {
    let authorities = tls::list(section.optional(&CLIENT_AUTHORITIES), Vec::new());
    let revocations = tls::list(section.optional(&CLIENT_REVOCATIONS), Vec::new());
    let read = ClientAuthorities {
        authorities: authorities?,
        revocations: revocations?,
    };
    if section.place(CLIENT_AUTHORITIES.name()).is_none() {
        let key = CLIENT_REVOCATIONS.name();
        if section.place(key).is_none() {
            return Ok(None);
        }
        let message = format!("{key} has no effect: clients are not asked for a certificate");
        let hint = "add: client_authorities = [\"/etc/lb/tls/operators-ca.pem\"]".to_owned();
        return Err(tls::wrong(section, key, &message, hint));
    }
    let key = CLIENT_AUTHORITIES.name();
    if read.authorities.is_empty() {
        let hint = "name at least one file, or leave client_authorities out".to_owned();
        return Err(tls::wrong(
            section,
            key,
            "client_authorities is empty",
            hint,
        ));
    }
    if section.place(ADMIN_CERTIFICATE.name()).is_none() {
        let message =
            "client_authorities needs certificate: clients can show theirs over HTTPS only";
        let hint = "add: certificate = \"/etc/lb/tls/admin.pem\"".to_owned();
        return Err(tls::wrong(section, key, message, hint));
    }
    Ok(Some(read))
}
