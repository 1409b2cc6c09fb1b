//! Errors of starting and configuring the HTTP front.

use std::{io, net::SocketAddr, path::PathBuf};

use super::{
    pem::{Contents, PemProblem},
    routing::PageProblem,
};
use crate::{access_log, acme, config::Name, private_file::PrivateFileError};

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
    /// A worker thread has exited.
    #[error("a worker of the HTTP front has ended; restart lb and report what its log said last")]
    WorkerGone,
    /// An address could not be bound.
    #[error("service \"{service}\": cannot listen on {address}: {}", listen_hint(.source))]
    Listen {
        /// The service.
        service: Name,
        /// The address to listen on.
        address: SocketAddr,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// Two services have the same address.
    #[error("services \"{first}\" and \"{second}\" both listen on {address}; give each its own")]
    SameAddress {
        /// The first of the two services.
        first: Name,
        /// The second of the two services.
        second: Name,
        /// The address.
        address: SocketAddr,
    },
    /// A certificate file cannot be used.
    #[error("certificate file {}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: CertificateProblem,
    },
    /// The verifier of client certificates could not be set up.
    #[error("service \"{service}\": cannot verify certificates of clients: {what}")]
    ClientCertificates {
        /// The service.
        service: Name,
        /// The library's error.
        what: String,
    },
    /// rustls rejected the settings.
    #[error("service \"{service}\": cannot set up TLS: {source}")]
    Tls {
        /// The service.
        service: Name,
        /// The error of rustls.
        #[source]
        source: rustls::Error,
    },
    /// A file for a fixed answer or an error page cannot be used.
    #[error("service \"{service}\": file {} for an answer: {problem}", path.display())]
    Page {
        /// The service.
        service: Name,
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: PageProblem,
    },
    /// The key for a pool's session cookies cannot be used.
    #[error("pool \"{pool}\": key file {} for sticky sessions: {problem}", path.display())]
    SessionKey {
        /// The pool.
        pool: Name,
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: SessionKeyProblem,
    },
    /// A pool that a service names was not passed to the front.
    #[error("service \"{service}\": its pool \"{pool}\" is not known")]
    NoPool {
        /// The service.
        service: Name,
        /// The pool.
        pool: Name,
    },
    /// A service that the kernel steers was passed to the front.
    #[error("service \"{0}\" is not served by the HTTP front: its mode is not http or https")]
    WrongMode(Name),
}

/// A problem with a certificate file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// The file does not exist.
    #[error("there is no such file")]
    Missing,
    /// The file holds no valid authorities or revocation lists.
    #[error("{0}")]
    BadAuthority(String),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] io::Error),
    /// The path is not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Other users could read the private key.
    #[error(
        "its mode is {mode:04o} and its group {group}, so that others than the agent can reach the private key; run: chmod 600 {path}, or chmod 640 and give it a group that the agent is in",
        path = path.display()
    )]
    Open {
        /// The permission bits.
        mode: u32,
        /// The group ID.
        group: u32,
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM.
    #[error("it is not valid PEM: {0}")]
    Pem(#[source] PemProblem),
    /// The file has no certificate.
    #[error(
        "there is no certificate in it; it must hold the certificate chain and its key, both as PEM; {0}"
    )]
    NoCertificate(Contents),
    /// The file has no private key.
    #[error(
        "there is no private key in it; it must hold the certificate chain and its key (EC, RSA or PKCS #8), both as PEM; {0}"
    )]
    NoKey(Contents),
    /// The file has more than one private key.
    #[error(
        "there is more than one private key in it; keep the one that belongs to the first certificate; {0}"
    )]
    SeveralKeys(Contents),
    /// The private key cannot be used.
    #[error("its private key cannot be used: {0}")]
    BadKey(rustls::Error),
    /// A certificate cannot be parsed.
    #[error("certificate {number} in it, in line {line}, cannot be parsed: {what}; {contents}")]
    BadCertificate {
        /// Number of the certificate in the file, from 1.
        number: usize,
        /// The line that the certificate begins in.
        line: usize,
        /// The parser's error.
        what: String,
        /// Description of the file's contents.
        contents: Contents,
    },
    /// No certificate has been obtained yet, and no placeholder could be created.
    #[error("{0}")]
    Placeholder(#[source] acme::SelfSignedError),
    /// The private key belongs to none of the certificates.
    #[error("its private key does not match its first certificate; {0}")]
    Mismatch(Contents),
    /// The private key belongs to a certificate other than the first.
    #[error(
        "its private key belongs to certificate {number}, in line {line}, which must be the first; {contents}"
    )]
    NotFirst {
        /// Number of the certificate in the file, from 1.
        number: usize,
        /// The line that the certificate begins in.
        line: usize,
        /// Description of the file's contents.
        contents: Contents,
    },
}

/// A problem with the key for session cookies.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyProblem {
    /// The file does not exist.
    #[error(
        "there is no such file; `openssl rand -hex 32` makes a key, which both hosts of a pair need"
    )]
    Missing,
    /// Other users could read or change the file, or it cannot be read.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// The key is short enough to be guessed.
    #[error("it has only {0} bytes, too short for a key; generate one with `openssl rand -hex 32`")]
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
