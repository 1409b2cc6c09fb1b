//! The measured proxies, each configured as its documentation recommends for this load.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use super::{
    namespace::{ADDRESS, INTERFACE, OTHER_INTERFACES},
    running::Running,
    site::{BACKEND_PORTS, Site},
};
use crate::child;

/// A proxy that the HTTPS benchmark measures.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `lb`.
    Lb,
    /// `lb` with the access log: a line of JSON per request, to a file.
    Logged,
    /// An earlier build of `lb`.
    Before,
    /// nginx, from the distribution.
    Nginx,
    /// HAProxy, from the distribution.
    #[value(name = "haproxy")]
    HaProxy,
}

/// Paths of the builds of `lb` that a benchmark measures.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The build that is measured.
    pub(crate) lb: PathBuf,
    /// An earlier build that is measured too; `None` if none is compared.
    pub(crate) before: Option<PathBuf>,
}

/// A proxy that runs during a measurement.
pub(crate) struct Proxy {
    /// Which of the measured proxies this is.
    pub(crate) kind: Kind,
    running: Running,
}

impl Kind {
    /// `lb` and the proxies that it is compared with.
    pub(crate) const PEERS: [Self; 3] = [Self::Lb, Self::Nginx, Self::HaProxy];

    /// Returns the name of the proxy in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Logged => "lb with access log",
            Self::Before => "lb before",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    /// Returns the port on which the proxy accepts HTTPS.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Lb => 8_443,
            Self::Nginx => 8_444,
            Self::HaProxy => 8_445,
            Self::Logged => 8_446,
            Self::Before => 8_447,
        }
    }

    /// Returns the first line that the program prints about its version.
    ///
    /// # Errors
    /// The program could not be run.
    pub(crate) fn version(self, programs: &Programs) -> anyhow::Result<String> {
        let mut command = self.program(programs)?;
        command.arg(match self {
            Self::Lb | Self::Logged | Self::Before => "--version",
            Self::Nginx | Self::HaProxy => "-v",
        });
        let output = command.output()?;
        // lb and HAProxy print their version to standard output, nginx to standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Starts the proxy and waits until it listens.
    ///
    /// # Errors
    /// The proxy did not start; the error contains its output.
    pub(crate) fn start(
        self,
        programs: &Programs,
        site: &Site,
        workers: u32,
    ) -> anyhow::Result<Proxy> {
        let room = site.room(self.name())?;
        let file = room.join("configuration");
        let text = match self {
            Self::Lb | Self::Logged | Self::Before => lb(self, site, &room, workers),
            Self::Nginx => nginx(site, &room, workers),
            Self::HaProxy => haproxy(site, workers),
        };
        fs::write(&file, text)?;
        let mut command = self.program(programs)?;
        match self {
            Self::Lb | Self::Logged | Self::Before => command.args(["run", "--config"]),
            Self::Nginx => command.arg("-e").arg(room.join("error.log")).arg("-c"),
            Self::HaProxy => command.args(["-db", "-f"]),
        };
        command.arg(file);
        Ok(Proxy {
            kind: self,
            running: Running::start(command, &room, (ADDRESS, self.port()))?,
        })
    }

    fn program(self, programs: &Programs) -> anyhow::Result<Command> {
        let path = match self {
            Self::Lb | Self::Logged => &programs.lb,
            Self::Before => {
                let before = programs.before.as_ref();
                before
                    .context("`--proxy before` needs `--before BINARY`, an earlier build of lb")?
            }
            Self::Nginx => Path::new("/usr/sbin/nginx"),
            Self::HaProxy => Path::new("/usr/sbin/haproxy"),
        };
        Ok(child::command(path))
    }

    /// Returns the interface, the pin directory and the admin port of this proxy's agent, which
    /// differ because several agents may run at once.
    fn place(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Logged => (OTHER_INTERFACES[0], "/sys/fs/bpf/lb-logged", 9_146),
            Self::Before => (OTHER_INTERFACES[1], "/sys/fs/bpf/lb-before", 9_147),
            Self::Lb | Self::Nginx | Self::HaProxy => (INTERFACE, "/sys/fs/bpf/lb", 9_145),
        }
    }
}

impl Proxy {
    /// Returns the ID of the proxy's main process, whose descendants are the workers.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }
}

fn lb(kind: Kind, site: &Site, room: &Path, workers: u32) -> String {
    let (interface, pins, admin) = kind.place();
    let log = match kind {
        Kind::Logged => format!("[log.access]\nto = \"{}/access.log\"\n", room.display()),
        _ => String::new(),
    };
    let backends = BACKEND_PORTS
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .join(", ");
    format!(
        r#"[node]
name = "bench"
interface = "{interface}"

[dataplane]
pin_path = "{pins}"

[admin]
listen = "127.0.0.1:{admin}"
socket = "{room}/lb.sock"

[http]
workers = {workers}

[[pool]]
name = "web"
balance = "round_robin"
check = {{ type = "http", path = "/1k", interval = "2s", timeout = "1s", rise = 1, fall = 3 }}
backends = [{backends}]

[[service]]
name = "https"
listen = "{ADDRESS}:{port}"
mode = "https"
pool = "web"
certificates = ["{certificate}"]

{log}"#,
        room = room.display(),
        port = kind.port(),
        certificate = site.certificate_and_key().display(),
    )
}

fn nginx(site: &Site, room: &Path, workers: u32) -> String {
    let servers = BACKEND_PORTS
        .map(|port| format!("server 127.0.0.1:{port};"))
        .join(" ");
    format!(
        r#"daemon off;
user root;
worker_processes {workers};
pid {room}/pid;
error_log {room}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    proxy_temp_path {room}/temporary;
    upstream web {{
        {servers}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {ADDRESS}:{port} ssl http2 backlog=4096;
        server_name bench.example;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:sessions:10m;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_buffers 16 8k;
        }}
    }}
}}
"#,
        room = room.display(),
        port = Kind::Nginx.port(),
        certificate = site.certificate().display(),
        key = site.key().display(),
    )
}

fn haproxy(site: &Site, workers: u32) -> String {
    let servers: String = (1..)
        .zip(BACKEND_PORTS)
        .map(|(number, port)| format!("    server web{number} 127.0.0.1:{port} check inter 2s\n"))
        .collect();
    format!(
        r"global
    nbthread {workers}
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option http-keep-alive

frontend https
    bind {ADDRESS}:{port} ssl crt {certificate} alpn h2,http/1.1 backlog 4096
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend web

backend web
    balance roundrobin
    http-reuse always
{servers}",
        port = Kind::HaProxy.port(),
        certificate = site.certificate_and_key().display(),
    )
}
