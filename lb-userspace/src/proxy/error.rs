//! What can go wrong before a client is served, each a sentence that says what to do.

use std::{io, net::SocketAddr, path::PathBuf};

use super::{
    pem::{Contents, PemProblem},
    routing::PageProblem,
};
use crate::{access_log, acme, config::Name, private_file::PrivateFileError};

/// Why the proxy could not start, or could not take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A worker thread could not be made.
    #[error(
        "cannot start a worker of the HTTP front: {0}; is a limit of threads or files reached?"
    )]
    Worker(#[source] io::Error),
    /// The access log could not be opened.
    #[error(transparent)]
    AccessLog(access_log::Error),
    /// A worker thread ended.
    #[error("a worker of the HTTP front has ended; restart lb and report what its log said last")]
    WorkerGone,
    /// An address could not be listened on.
    #[error("service \"{service}\": cannot listen on {address}: {}", listen_hint(.source))]
    Listen {
        /// The service.
        service: Name,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Two services have the same address.
    #[error("services \"{first}\" and \"{second}\" both listen on {address}; give each its own")]
    SameAddress {
        /// The service that comes first.
        first: Name,
        /// The other.
        second: Name,
        /// The address.
        address: SocketAddr,
    },
    /// A certificate file cannot be used.
    #[error("certificate file {}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// Certificates of clients cannot be verified.
    #[error("service \"{service}\": cannot verify certificates of clients: {what}")]
    ClientCertificates {
        /// The service.
        service: Name,
        /// What the library said.
        what: String,
    },
    /// The TLS library refused its own settings.
    #[error("service \"{service}\": cannot set up TLS: {source}")]
    Tls {
        /// The service.
        service: Name,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// A file for an answer cannot be used.
    #[error("service \"{service}\": file {} for an answer: {problem}", path.display())]
    Page {
        /// The service.
        service: Name,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PageProblem,
    },
    /// The key of a pool's cookies cannot be used.
    #[error("pool \"{pool}\": key file {} for sticky sessions: {problem}", path.display())]
    SessionKey {
        /// The pool.
        pool: Name,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: SessionKeyProblem,
    },
    /// A pool that a service names was not handed to the proxy.
    #[error("service \"{service}\": its pool \"{pool}\" is not known")]
    NoPool {
        /// The service.
        service: Name,
        /// The pool.
        pool: Name,
    },
    /// A service that the kernel steers was handed to the proxy.
    #[error("service \"{0}\" is not served by the HTTP front: its mode is not http or https")]
    WrongMode(Name),
}

/// What is wrong with a certificate file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// It is not there.
    #[error("there is no such file")]
    Missing,
    /// It is no file of authorities or of revoked certificates.
    #[error("{0}")]
    BadAuthority(String),
    /// It is there and cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] io::Error),
    /// It is no file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Others than its owner may read the key in it.
    #[error(
        "its mode is {mode:04o} and its group {group}, so that others than the agent can reach the private key; run: chmod 600 {path}, or chmod 640 and give it a group that the agent is in",
        path = path.display()
    )]
    Open {
        /// Its permission bits.
        mode: u32,
        /// The number of its group.
        group: u32,
        /// The file.
        path: PathBuf,
    },
    /// It is not PEM.
    #[error("it is not valid PEM: {0}")]
    Pem(#[source] PemProblem),
    /// It has no certificate.
    #[error(
        "there is no certificate in it, which must hold the certificate chain and its key, both as PEM; {0}"
    )]
    NoCertificate(Contents),
    /// It has no private key.
    #[error(
        "there is no private key in it, which must hold the certificate chain and its key (EC, RSA or PKCS #8), both as PEM; {0}"
    )]
    NoKey(Contents),
    /// It has more than one private key.
    #[error(
        "there is more than one private key in it; keep the one that belongs to the first certificate; {0}"
    )]
    SeveralKeys(Contents),
    /// The key cannot be used.
    #[error("its private key cannot be used: {0}")]
    BadKey(rustls::Error),
    /// A certificate cannot be parsed.
    #[error("certificate {number} in it, in line {line}, cannot be parsed: {what}; {contents}")]
    BadCertificate {
        /// Counted from 1.
        number: usize,
        /// The line that it begins in.
        line: usize,
        /// What the parser said.
        what: String,
        /// What is in the file.
        contents: Contents,
    },
    /// There is none yet, and none could be made to stand in for it.
    #[error("{0}")]
    Placeholder(#[source] acme::SelfSignedError),
    /// Key and certificate are no pair.
    #[error("its private key does not belong to its first certificate; {0}")]
    Mismatch(Contents),
    /// The key belongs to a certificate that is not the first.
    #[error(
        "its private key belongs to certificate {number}, in line {line}, which must be the first; {contents}"
    )]
    NotFirst {
        /// Counted from 1.
        number: usize,
        /// The line that it begins in.
        line: usize,
        /// What is in the file.
        contents: Contents,
    },
}

/// Why a key for cookies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyProblem {
    /// It is not there.
    #[error(
        "there is no such file; `openssl rand -hex 32` makes a key, which both hosts of a pair need"
    )]
    Missing,
    /// Others could have read or changed it, or it cannot be read.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// A key of that length can be guessed.
    #[error("it has {0} bytes, which is too short for a key; `openssl rand -hex 32` makes one")]
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
