//! The web servers: real nginx, each of which sends its name in every response.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::{host::Host, process::Process, wait};

/// Directory on the host that nginx serves files from and stores uploads in.
pub const WWW: &str = "/run/nginx/www";

/// Size in bytes of `/slow` and `/100k`, which consist of this many `y`.
pub const SLOW_BYTES: usize = 100 << 10;

/// Path of a file on the host: while it exists, `/app` answers with status 500.
pub const BROKEN: &str = "/run/nginx/broken";

/// Number of concurrent requests for `/limited` that a web server accepts.
pub const LIMITED: usize = 2;

/// Time-out for nginx to start listening.
const STARTING: Duration = Duration::from_secs(10);

/// A web server, on a host of its own in the end-to-end tests.
///
/// | path | what |
/// |---|---|
/// | `/` | the server's name and a line end |
/// | `/headers` | the `X-Forwarded-*` headers that arrived, a line each |
/// | `/real-ip` | the `X-Real-IP` that arrived |
/// | `/1k`, `/100k` | that many bytes, the same from every server |
/// | `/slow` | the 100 KiB at 20 KiB a second |
/// | `/echo` | the request's `X-App`, `X-Gone`, `X-Real-IP`, a line each; response: `X-Inner` |
/// | `/check` | 200, always |
/// | `/app` | as `/`; 500 while the file [`BROKEN`] exists |
/// | `/limited` | the 100 KiB in a second or so; 429 while [`LIMITED`] others are sent |
/// | `PUT /upload/NAME` | stores the body as a file of that name |
/// | any other | a file of [`WWW`] |
///
/// Every response has the server's name in the header field `X-Backend`.
#[derive(Debug)]
pub struct Web {
    host: Host,
    address: Ipv4Addr,
    access_log: bool,
    nginx: Option<Process>,
}

impl Web {
    pub(crate) fn new(host: Host, address: Ipv4Addr) -> Self {
        Self {
            host,
            address,
            access_log: true,
            nginx: None,
        }
    }

    /// Returns the host that nginx runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the server's name, `web1` to `web4`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.address, 80))
    }

    /// Starts nginx and waits until it listens.
    ///
    /// # Errors
    /// When nginx is missing, or does not listen in time; the error contains its log.
    pub fn start(&mut self) -> Result<()> {
        self.begin()?;
        self.wait_until_up()
    }

    pub(crate) fn begin(&mut self) -> Result<()> {
        self.host.script(&format!(
            "mkdir -p {WWW}/upload /run/nginx/tmp\n\
             head -c 1024 /dev/zero | tr '\\0' x >{WWW}/1k\n\
             head -c {SLOW_BYTES} /dev/zero | tr '\\0' y >{WWW}/100k"
        ))?;
        self.host
            .write("/run/nginx/nginx.conf", self.configuration())?;
        let arguments = ["-e", "/run/nginx/error.log", "-c", "/run/nginx/nginx.conf"];
        self.nginx = Some(self.host.spawn("nginx", "nginx", &arguments)?);
        Ok(())
    }

    /// Restarts nginx without its access log, which would cost time and memory under heavy load.
    ///
    /// # Errors
    /// When nginx is not running; or as [`Web::start`].
    pub fn restart_without_access_log(&mut self) -> Result<()> {
        self.kill()?;
        self.access_log = false;
        self.start()
    }

    pub(crate) fn wait_until_up(&self) -> Result<()> {
        self.host
            .wait_for_port(self.address(), STARTING)
            .with_context(|| format!("nginx on {} said: {}", self.name(), self.log()))
    }

    /// Kills all processes of nginx together, as a power failure would, without closing connections
    /// gracefully.
    ///
    /// # Errors
    /// When nginx is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut nginx = self
            .nginx
            .take()
            .with_context(|| format!("nginx does not run on {}", self.name()))?;
        // The master process is killed first, because it would start new workers.
        nginx.signal(Signal::SIGKILL)?;
        self.host.run("pkill", &["-KILL", "-x", "nginx"])?;
        nginx.wait(STARTING)?;
        // The port stays open until the kernel has removed the killed workers.
        wait::until_true("the port being closed", STARTING, || {
            let listeners = self.host.run("ss", &["-Htln", "sport = :80"])?;
            Ok(listeners.trim().is_empty())
        })
    }

    /// Stops nginx gracefully. Its port is then closed, and the host answers new connections to it
    /// with RST.
    ///
    /// # Errors
    /// When nginx is not running, or does not exit in time.
    pub fn stop(&mut self) -> Result<()> {
        let mut nginx = self
            .nginx
            .take()
            .with_context(|| format!("nginx does not run on {}", self.name()))?;
        nginx.signal(Signal::SIGTERM)?;
        nginx.wait(STARTING).map(drop)
    }

    /// Disconnects the server from the network: packets to it are lost silently.
    ///
    /// # Errors
    /// The kernel refuses to change an interface.
    pub fn pull_cable(&self) -> Result<()> {
        self.host.script("ip link set eth0 down").map(drop)
    }

    /// Reconnects the server to the network.
    ///
    /// # Errors
    /// The kernel refuses to change an interface.
    pub fn plug_cable(&self) -> Result<()> {
        self.host
            .script("ip link set eth0 up\nip route replace default via 10.0.0.1")
            .map(drop)
    }

    /// Returns nginx's error log.
    #[must_use]
    pub fn log(&self) -> String {
        self.host.read("/run/nginx/error.log").unwrap_or_default()
    }

    /// Returns the requests that nginx answered, a line each: `client "request line" status
    /// agent="User-Agent" xff="X-Forwarded-For" xfp="X-Forwarded-Proto" xfh="X-Forwarded-Host"`.
    ///
    /// # Errors
    /// When nginx has no access log.
    pub fn access_log(&self) -> Result<Vec<String>> {
        let log = self.host.read("/run/nginx/access.log")?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// Returns the lines of the access log with this `User-Agent`, which distinguishes a test's
    /// requests from health checks.
    ///
    /// # Errors
    /// When nginx has no access log.
    pub fn requests_of(&self, agent: &str) -> Result<Vec<String>> {
        let mut lines = self.access_log()?;
        lines.retain(|line| line.contains(&format!("agent=\"{agent}\"")));
        Ok(lines)
    }

    fn configuration(&self) -> String {
        let log = match self.access_log {
            true => "/run/nginx/access.log lab",
            false => "off",
        };
        configuration(self.name(), log)
    }
}

fn configuration(name: &str, access_log: &str) -> String {
    format!(
        r#"user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid /run/nginx/nginx.pid;
error_log /run/nginx/error.log warn;
events {{ worker_connections 8192; }}
http {{
    log_format lab '$remote_addr "$request" $status agent="$http_user_agent" xff="$http_x_forwarded_for" xfp="$http_x_forwarded_proto" xfh="$http_x_forwarded_host"';
    access_log {access_log};
    client_body_temp_path /run/nginx/tmp/body;
    proxy_temp_path /run/nginx/tmp/proxy;
    fastcgi_temp_path /run/nginx/tmp/fastcgi;
    uwsgi_temp_path /run/nginx/tmp/uwsgi;
    scgi_temp_path /run/nginx/tmp/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    keepalive_timeout 10m;
    sendfile on;
    tcp_nopush on;
    default_type text/plain;
    limit_conn_zone $server_port zone=all:64k;
    server {{
        listen 80 backlog=4096;
        root {WWW};
        add_header X-Backend {name} always;
        location = / {{ return 200 "{name}\n"; }}
        location = /headers {{
            return 200 "x-forwarded-for: $http_x_forwarded_for\nx-forwarded-proto: $http_x_forwarded_proto\nx-forwarded-host: $http_x_forwarded_host\nhost: $http_host\n";
        }}
        location = /real-ip {{ return 200 "$http_x_real_ip\n"; }}
        location = /echo {{
            add_header X-Backend {name} always;
            add_header X-Inner nginx always;
            return 200 "app: $http_x_app\ngone: $http_x_gone\nreal-ip: $http_x_real_ip\n";
        }}
        location = /check {{ return 200 "well\n"; }}
        location = /app {{
            if (-f {BROKEN}) {{ return 500 "broken\n"; }}
            return 200 "{name}\n";
        }}
        location = /limited {{
            limit_conn all {LIMITED};
            limit_conn_status 429;
            alias {WWW}/100k;
            limit_rate 60k;
        }}
        location = /slow {{ alias {WWW}/100k; limit_rate 20k; }}
        location /upload/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"#
    )
}
