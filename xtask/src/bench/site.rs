//! The site that all measured proxies serve: a certificate, the files, and the backends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::running::Running;
use crate::child;

/// Ports on loopback of the four nginx servers that are the backends of the proxies.
pub(crate) const BACKEND_PORTS: [u16; 4] = [18_001, 18_002, 18_003, 18_004];

/// A directory with the files and configurations of the measured proxies.
pub(crate) struct Site {
    directory: PathBuf,
    /// The nginx servers that are the backends of the proxies; they run until this value is
    /// dropped.
    _backends: Vec<Running>,
}

impl Site {
    /// Writes the certificate and the files, and starts the four nginx servers.
    ///
    /// # Errors
    /// A file could not be written, or an nginx did not start.
    pub(crate) fn raise(directory: &Path) -> anyhow::Result<Self> {
        let files = directory.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("1k"), vec![b'x'; 1_024])?;
        fs::write(files.join("100k"), vec![b'x'; 100 * 1_024])?;
        certificate(directory)?;
        let backends = BACKEND_PORTS
            .iter()
            .map(|port| backend(directory, &files, *port))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            directory: directory.to_owned(),
            _backends: backends,
        })
    }

    /// Returns the path of the certificate, which is self-signed with a P-256 key.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join(CERTIFICATE)
    }

    /// Returns the path of the certificate's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join(KEY)
    }

    /// Returns the path of the file with both the certificate and its key.
    pub(crate) fn certificate_and_key(&self) -> PathBuf {
        self.directory.join(BOTH)
    }

    /// Creates a directory for the configuration of one proxy, and returns its path.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub(crate) fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        let room = self.directory.join(name);
        fs::create_dir_all(&room)?;
        Ok(room)
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const BOTH: &str = "both.pem";

fn certificate(directory: &Path) -> anyhow::Result<()> {
    let made = child::output(
        child::command("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=bench.example"])
            .args(["-addext", "subjectAltName=DNS:bench.example"])
            .args(["-keyout", KEY, "-out", CERTIFICATE])
            .current_dir(directory),
    );
    made.context("cannot create a certificate for the measurement")?;
    let mut both = fs::read(directory.join(CERTIFICATE))?;
    both.extend(fs::read(directory.join(KEY))?);
    // openssl makes the key readable only by its owner, and the copied file keeps that mode.
    fs::copy(directory.join(KEY), directory.join(BOTH))?;
    fs::write(directory.join(BOTH), both)?;
    Ok(())
}

fn backend(directory: &Path, files: &Path, port: u16) -> anyhow::Result<Running> {
    let room = directory.join(format!("backend-{port}"));
    fs::create_dir_all(&room)?;
    let configuration = format!(
        "daemon off;
user root;
worker_processes 1;
pid {room}/pid;
error_log {room}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {files};
    }}
}}
",
        room = room.display(),
        files = files.display()
    );
    let path = room.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut nginx = child::command("/usr/sbin/nginx");
    nginx
        .arg("-e")
        .arg(room.join("error.log"))
        .arg("-c")
        .arg(path);
    Running::start(nginx, &room, ("127.0.0.1", port))
}
