//! Errors of starting and configuring the HTTP front.

use std::{io, net::SocketAddr, path::PathBuf};

use nix::unistd::Gid;

use super::{
    pem::{Contents, PemProblem},
    routing::PageProblem,
};
use crate::{
    access_log, acme,
    config::Name,
    private_file::{PrivateFileError, group_name},
};

/// Why the front could not start, or could not apply a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A worker thread could not be started.
    #[error(
        "cannot start a worker of the HTTP front: {0}; is a limit of threads or files reached?"
    )]
    Worker(#[source] io::Error),
    /// The access log could not be opened.
    #[error(transparent)]
    AccessLog(access_log::Error),
    /// A worker thread has exited, and cannot carry out the command that it was sent.
    #[error(
        "a worker of the HTTP front has ended; restart lb and report the last lines of its log"
    )]
    WorkerGone,
    /// The address of a service could not be listened on.
    #[error("service \"{service}\": cannot listen on {address}: {}", listen_hint(.source))]
    Listen {
        /// The name of the service.
        service: Name,
        /// The address that the service listens on.
        address: SocketAddr,
        /// The error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// Two services listen on the same address.
    #[error("services \"{first}\" and \"{second}\" both listen on {address}; give each its own")]
    SameAddress {
        /// The name of the first of the two services.
        first: Name,
        /// The name of the second of the two services.
        second: Name,
        /// The address that both services listen on.
        address: SocketAddr,
    },
    /// The certificate file at this path cannot be used.
    #[error("certificate file {}: {problem}", path.display())]
    Certificate {
        /// The path of the certificate file.
        path: PathBuf,
        /// What is wrong with the certificate file.
        problem: CertificateProblem,
    },
    /// The verifier of a listener's client certificates could not be set up.
    #[error("{listener}: cannot verify certificates of clients: {what}")]
    ClientCertificates {
        /// The listener: `service "NAME"` or `[admin]`.
        listener: String,
        /// The error of the TLS library.
        what: String,
    },
    /// rustls rejected the TLS settings of a service.
    #[error("service \"{service}\": cannot set up TLS: {source}")]
    Tls {
        /// The name of the service.
        service: Name,
        /// The error that rustls returned.
        #[source]
        source: rustls::Error,
    },
    /// A file for a fixed answer or an error page cannot be used.
    #[error("service \"{service}\": file {} for an answer: {problem}", path.display())]
    Page {
        /// The name of the service.
        service: Name,
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        problem: PageProblem,
    },
    /// The key for a pool's session cookies cannot be used.
    #[error("pool \"{pool}\": key file {} for sticky sessions: {problem}", path.display())]
    SessionKey {
        /// The name of the pool.
        pool: Name,
        /// The path of the key file.
        path: PathBuf,
        /// What is wrong with the key file.
        problem: SessionKeyProblem,
    },
    /// A pool that a service names was not passed to the front.
    #[error("service \"{service}\": its pool \"{pool}\" is not known")]
    NoPool {
        /// The name of the service.
        service: Name,
        /// The name of the pool.
        pool: Name,
    },
    /// A service that the kernel steers was passed to the front.
    #[error("service \"{0}\" is not served by the HTTP front: its mode is not http or https")]
    WrongMode(Name),
}

/// A problem with a certificate file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// The certificate file does not exist.
    #[error("there is no such file")]
    Missing,
    /// The file is meant to hold certificate authorities or revocation lists, and holds no valid
    /// ones.
    #[error("{0}")]
    BadAuthority(String),
    /// The certificate file cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] io::Error),
    /// The agent's user has no permission to read the certificate file.
    #[error("{0}")]
    Denied(#[source] PrivateFileError),
    /// The path of the certificate file is not that of a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Users other than the agent's could read the private key in the file.
    #[error(
        "its mode is {mode:04o} and its group {}, so that users other than the agent can read the private key; run: chmod 600 {path}, or chmod 640 and give it a group that the agent is in",
        group_name(Gid::from_raw(*group)),
        path = path.display()
    )]
    Open {
        /// The permission bits of the file.
        mode: u32,
        /// The ID of the file's group.
        group: u32,
        /// The path of the file.
        path: PathBuf,
    },
    /// The content of the file is not valid PEM.
    #[error("it is not valid PEM: {0}")]
    Pem(#[source] PemProblem),
    /// The file has no certificate in it.
    #[error(
        "it contains no certificate; it must hold the certificate chain and its key, both as PEM; {0}"
    )]
    NoCertificate(Contents),
    /// The file has no private key in it.
    #[error(
        "there is no private key in it; it must hold the certificate chain and its key (EC, RSA or PKCS #8), both as PEM; {0}"
    )]
    NoKey(Contents),
    /// The file has more than one private key, where one is expected.
    #[error(
        "there is more than one private key in it; keep the one that belongs to the first certificate; {0}"
    )]
    SeveralKeys(Contents),
    /// The private key in the file cannot be used.
    #[error("its private key cannot be used: {0}")]
    BadKey(rustls::Error),
    /// A certificate in the file cannot be parsed.
    #[error("certificate {number} in it, on line {line}, cannot be parsed: {what}; {contents}")]
    BadCertificate {
        /// Number of the certificate in the file, counted from 1.
        number: usize,
        /// The line of the file in which the certificate begins.
        line: usize,
        /// The error of the certificate's parser, as text.
        what: String,
        /// Description of all blocks of the file.
        contents: Contents,
    },
    /// The agent has not obtained the certificate yet, and no placeholder for it could be created.
    #[error("{0}")]
    Placeholder(#[source] acme::SelfSignedError),
    /// The private key in the file belongs to none of the file's certificates.
    #[error("its private key does not match its first certificate; {0}")]
    Mismatch(Contents),
    /// The private key belongs to a certificate of the file other than the first.
    #[error(
        "its private key belongs to certificate {number}, on line {line}, which must be the first; {contents}"
    )]
    NotFirst {
        /// Number, from 1, of the certificate that the key belongs to.
        number: usize,
        /// The line of the file in which that certificate begins.
        line: usize,
        /// Description of the blocks of the file.
        contents: Contents,
    },
}

/// A problem with the file of the key for session cookies.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyProblem {
    /// No file exists at the path.
    #[error(
        "there is no such file; `openssl rand -hex 32` makes a key, which both hosts of a pair need"
    )]
    Missing,
    /// Other users can read or change the file, or the agent cannot read it.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// The key is so short that it could be guessed; the number is its length in bytes.
    #[error(
        "it is too short for a key (length in bytes: {0}); generate one with `openssl rand -hex 32`"
    )]
    Short(usize),
}

fn listen_hint(source: &io::Error) -> String {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; `ss -ltnp` names it",
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have that address; `ip address` lists what it has"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        _ => return source.to_string(),
    };
    format!("{source}: {hint}")
}
