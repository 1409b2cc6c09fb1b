//! The configuration that the lab gives an agent.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::CERTIFICATE_FILE;
use crate::{Lab, topology::BALANCERS, web::Web};

/// Where the agent's metrics are, on its host.
pub const ADMIN: &str = "127.0.0.1:9145";

/// What a test may want different in the design's configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From one check to the next.
    pub interval: Duration,
    /// After this a check has failed.
    pub timeout: Duration,
    /// Successes that bring a backend up.
    pub rise: u32,
    /// Failures that take it down.
    pub fall: u32,
    /// The backends: name and address.
    pub backends: Vec<(String, SocketAddr)>,
}

impl Settings {
    /// All web servers of the lab, checked five times a second.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let backend = |web: &Web| (web.name().to_owned(), web.address());
        Self {
            interval: Duration::from_millis(200),
            timeout: Duration::from_millis(100),
            rise: 2,
            fall: 3,
            backends: lab.webs.iter().map(backend).collect(),
        }
    }

    /// The same with only these backends.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.backends.retain(|(name, _)| names.contains(&&**name));
        self
    }

    /// The longest time from a backend's death to its being out: every check that must fail, begun
    /// one interval after the other, the first of them a whole interval after the death.
    #[must_use]
    pub fn detection(&self) -> Duration {
        self.interval * self.fall
    }

    /// The configuration file.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self { rise, fall, .. } = self;
        let (interval, timeout) = (self.interval.as_millis(), self.timeout.as_millis());
        let (name, address) = BALANCERS[0];
        let mut toml = format!(
            r#"[node]
name = "{name}"
interface = "eth0"

[admin]
listen = "{ADMIN}"

[[service]]
name = "http"
listen = "{address}:80"
mode = "tcp"
forward = "nat"
pool = "web"

[[service]]
name = "https"
listen = "{address}:443"
mode = "https"
pool = "web"
certificates = ["{CERTIFICATE_FILE}"]

[[pool]]
name = "web"
balance = "round_robin"
check = {{ type = "http", path = "/", interval = "{interval}ms", timeout = "{timeout}ms", rise = {rise}, fall = {fall} }}
"#
        );
        for (name, address) in &self.backends {
            // Writing to a String cannot fail.
            let _ = write!(
                toml,
                "\n[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n"
            );
        }
        toml
    }
}
