//! Settings of the lab's agents, and the configuration files made from them.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{CERTIFICATE_FILE, LINK_SECRET_FILE};
use crate::{
    Lab,
    ec2::{Ec2, REGION},
    topology::{BALANCERS, BALANCERS_PREFIX, VIRTUAL_IP},
    web::Web,
};

/// Address of the agent's admin port, on the agent's host.
pub const ADMIN: &str = "127.0.0.1:9145";

/// Address of the agent's admin port if Prometheus scrapes it: every address, [`ADMIN`] included.
const MONITORED_ADMIN: &str = "0.0.0.0:9145";

/// Port of the service of [`Settings::with_app`].
pub const APP_PORT: u16 = 8443;

/// Settings of an agent in the lab, the test network, that a test may change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Index of the balancer in [`BALANCERS`].
    pub balancer: usize,
    /// Names of the interfaces that the XDP program is attached to.
    pub interfaces: Vec<String>,
    /// IP address that the services listen on.
    pub listen: Ipv4Addr,
    /// Address and port of `[admin]`.
    pub admin: &'static str,
    /// Additional keys of `[admin]`, which are written as they are.
    pub admin_more: &'static str,
    /// Interval between the health checks of a backend.
    pub interval: Duration,
    /// Time-out of a health check.
    pub timeout: Duration,
    /// Number of successful health checks in a row after which a backend is healthy.
    pub rise: u32,
    /// Number of failed health checks in a row after which a backend is unhealthy.
    pub fall: u32,
    /// How the `tcp` service forwards: `nat` or `dnat`.
    pub forward: &'static str,
    /// Range of the statuses by which a health check succeeds, `FROM-TO`.
    pub expect: &'static str,
    /// What happens to new connections while no backend is up: `try_all` or `refuse`.
    pub when_all_down: &'static str,
    /// Name and address of each backend.
    pub backends: Vec<(String, SocketAddr)>,
    /// The settings of `[ha]`; `None` for a balancer without a peer.
    pub ha: Option<HaSettings>,
    /// Additional tables of the configuration file, which are appended to it as they are.
    pub more: String,
}

/// Settings of the table `[ha]` of one host.
#[derive(Clone, Debug)]
pub struct HaSettings {
    /// Priority of the host, 1 to 254.
    pub priority: u8,
    /// Time from one advert to the next.
    pub advert_interval: Duration,
    /// Whether the host takes over from a peer with a lower priority.
    pub preempt: bool,
    /// The address that moves to the active host: the Elastic IP, or a virtual IP address.
    pub moves: Moves,
    /// Whether the two agents connect to each other: `[ha.link]`.
    pub link: bool,
    /// Additional keys of `[ha]`, and tables below it, which are written as they are.
    pub more: String,
}

/// The address that moves to the active host (the Elastic IP, or a virtual IP address), and what
/// moves it.
#[derive(Clone, Debug)]
pub enum Moves {
    /// The Elastic IP, which an EC2 API moves.
    ElasticIp {
        /// Allocation ID of the Elastic IP, `eipalloc-…`.
        allocation_id: String,
        /// The region that the Elastic IP belongs to.
        region: String,
        /// The URL of the EC2 API.
        endpoint: String,
        /// ID of the host's network interface, `eni-…`; `None` if the agent is to ask the metadata
        /// service.
        network_interface_id: Option<String>,
        /// Whether [`VIRTUAL_IP`] moves with the Elastic IP, as a secondary private address.
        takes_private_ip: bool,
    },
    /// [`VIRTUAL_IP`], which gratuitous ARP moves.
    VirtualIp,
}

impl Settings {
    /// Returns the settings of a single balancer, `lb-a`, with all web servers of the test network
    /// as backends, each checked five times a second.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let backend = |web: &Web| (web.name().to_owned(), web.address());
        Self {
            balancer: 0,
            interfaces: vec!["eth0".to_owned()],
            listen: BALANCERS[0].1,
            admin: ADMIN,
            admin_more: "",
            interval: Duration::from_millis(200),
            timeout: Duration::from_millis(100),
            rise: 2,
            fall: 3,
            forward: "nat",
            expect: "200-399",
            when_all_down: "try_all",
            backends: lab.webs.iter().map(backend).collect(),
            ha: None,
            more: String::new(),
        }
    }

    /// Adds an HTTPS service `app` at port [`APP_PORT`], whose pool `app` has all web servers,
    /// checked at `/check` with time limits that suit a busy machine. `lines` are additional keys
    /// of the pool.
    #[must_use]
    pub fn with_app(mut self, lines: &str) -> Self {
        let listen = self.listen;
        let mut backends = String::new();
        for (name, address) in &self.backends {
            // Writing to a String cannot fail, so the result is ignored.
            let _ = write!(
                backends,
                "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n"
            );
        }
        self.more = format!(
            r#"[[pool]]
name = "app"
check = {{ type = "http", path = "/check", interval = "1s", timeout = "1s", rise = 1, fall = 2 }}
{lines}
{backends}
[[service]]
name = "app"
listen = "{listen}:{APP_PORT}"
mode = "https"
pool = "app"
certificates = ["{CERTIFICATE_FILE}"]
"#
        );
        self
    }

    /// Makes the admin port reachable from other hosts, for Prometheus.
    #[must_use]
    pub fn monitored(self) -> Self {
        Self {
            admin: MONITORED_ADMIN,
            ..self
        }
    }

    /// Turns the settings into those of one balancer of a pair, with adverts ten times a second and
    /// a link between the agents. The first balancer has the higher priority; both preempt.
    #[must_use]
    pub fn paired(self, balancer: usize, moves: Moves) -> Self {
        let listen = match moves {
            Moves::ElasticIp {
                takes_private_ip: false,
                ..
            } => BALANCERS[balancer].1,
            Moves::ElasticIp { .. } | Moves::VirtualIp => VIRTUAL_IP,
        };
        let ha = HaSettings {
            priority: if balancer == 0 { 110 } else { 100 },
            advert_interval: Duration::from_millis(100),
            preempt: true,
            moves,
            link: true,
            more: String::new(),
        };
        Self {
            balancer,
            listen,
            ha: Some(ha),
            ..self
        }
    }

    /// Returns the settings of both balancers of a pair between which the Elastic IP of an EC2 API
    /// moves.
    #[must_use]
    pub fn elastic_pair(lab: &Lab, ec2: &(impl Ec2 + ?Sized)) -> [Self; 2] {
        [0, 1].map(|balancer| Self::of(lab).paired(balancer, Moves::elastic_ip(ec2, balancer)))
    }

    /// Returns the settings of both balancers of a pair between which the Elastic IP of an EC2 API
    /// and [`VIRTUAL_IP`] move together.
    #[must_use]
    pub fn elastic_pair_with_address(lab: &Lab, ec2: &(impl Ec2 + ?Sized)) -> [Self; 2] {
        [0, 1].map(|balancer| {
            let mut moves = Moves::elastic_ip(ec2, balancer);
            if let Moves::ElasticIp {
                takes_private_ip, ..
            } = &mut moves
            {
                *takes_private_ip = true;
            }
            Self::of(lab).paired(balancer, moves)
        })
    }

    /// Returns the settings of both balancers of a pair between which [`VIRTUAL_IP`] moves.
    #[must_use]
    pub fn virtual_pair(lab: &Lab) -> [Self; 2] {
        [0, 1].map(|balancer| Self::of(lab).paired(balancer, Moves::VirtualIp))
    }

    /// Replaces the interfaces that the XDP program is attached to by these.
    #[must_use]
    pub fn on(self, interfaces: &[&str]) -> Self {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned());
        Self {
            interfaces: interfaces.collect(),
            ..self
        }
    }

    /// Removes all backends but those with these names.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.backends.retain(|(name, _)| names.contains(&&**name));
        self
    }

    /// Returns the maximum time from the failure of a backend until it is down: `fall` health
    /// checks must fail, one interval apart, and the first of them may be a whole interval after
    /// the failure.
    #[must_use]
    pub fn detection(&self) -> Duration {
        self.interval * self.fall
    }

    /// Formats the settings as a configuration file.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self {
            listen,
            admin,
            admin_more,
            rise,
            fall,
            forward,
            expect,
            when_all_down,
            more,
            ..
        } = self;
        // Without additional keys the line numbers are those that tests of messages expect.
        let admin_more = match *admin_more {
            "" => String::new(),
            keys => format!("\n{keys}"),
        };
        let (interval, timeout) = (self.interval.as_millis(), self.timeout.as_millis());
        let (name, _) = BALANCERS[self.balancer];
        let interfaces = match self.interfaces.as_slice() {
            [one] => format!("interface = \"{one}\""),
            several => format!("interfaces = {several:?}"),
        };
        let mut toml = format!(
            r#"[node]
name = "{name}"
{interfaces}

[admin]
listen = "{admin}"{admin_more}

[[service]]
name = "http"
listen = "{listen}:80"
mode = "tcp"
forward = "{forward}"
pool = "web"

[[service]]
name = "https"
listen = "{listen}:443"
mode = "https"
pool = "web"
certificates = ["{CERTIFICATE_FILE}"]

[[pool]]
name = "web"
balance = "round_robin"
when_all_down = "{when_all_down}"
check = {{ type = "http", path = "/", expect = "{expect}", interval = "{interval}ms", timeout = "{timeout}ms", rise = {rise}, fall = {fall} }}
"#
        );
        for (name, address) in &self.backends {
            // Writing to a String cannot fail, so the result is ignored.
            let _ = write!(
                toml,
                "\n[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n"
            );
        }
        if !more.is_empty() {
            let _ = write!(toml, "\n{}\n", more.trim());
        }
        if let Some(ha) = &self.ha {
            let _ = write!(toml, "\n{}", ha.toml(self.balancer, self.listen));
        }
        toml
    }
}

impl HaSettings {
    /// Returns the Master_Down_Interval: the time without an advert after which this host, as a
    /// standby, takes over (RFC 9568, section 6.1).
    #[must_use]
    pub fn takeover(&self) -> Duration {
        let skew = self.advert_interval * (256 - u32::from(self.priority)) / 256;
        self.advert_interval * 3 + skew
    }

    fn toml(&self, balancer: usize, listen: Ipv4Addr) -> String {
        let Self {
            priority,
            preempt,
            more,
            ..
        } = self;
        let interval = self.advert_interval.as_millis();
        let (source, peer) = (BALANCERS[balancer].1, BALANCERS[1 - balancer].1);
        let mut toml = format!(
            r#"[ha]
peer = "{peer}"
source = "{source}"
virtual_router_id = 41
priority = {priority}
advert_interval = "{interval}ms"
preempt = {preempt}
{more}

"#
        );
        toml += &self.moves.toml(listen);
        if self.link {
            let _ = write!(toml, "\n[ha.link]\nsecret_file = \"{LINK_SECRET_FILE}\"\n");
        }
        toml
    }
}

impl Moves {
    /// Returns the settings by which an EC2 API moves its Elastic IP to this balancer's network
    /// interface.
    #[must_use]
    pub fn elastic_ip(ec2: &(impl Ec2 + ?Sized), balancer: usize) -> Self {
        Self::ElasticIp {
            allocation_id: ec2.allocation_id().to_owned(),
            region: REGION.to_owned(),
            endpoint: ec2.endpoint().to_owned(),
            network_interface_id: Some(ec2.interfaces()[balancer].id.clone()),
            takes_private_ip: false,
        }
    }

    fn toml(&self, private_ip: Ipv4Addr) -> String {
        match self {
            Self::VirtualIp => {
                format!("[ha.virtual_ip]\naddresses = [\"{VIRTUAL_IP}/{BALANCERS_PREFIX}\"]\n")
            }
            Self::ElasticIp {
                allocation_id,
                region,
                endpoint,
                network_interface_id,
                takes_private_ip,
            } => {
                let mut interface = network_interface_id
                    .as_ref()
                    .map_or_else(String::new, |id| {
                        format!("network_interface_id = \"{id}\"\nprivate_ip = \"{private_ip}\"\n")
                    });
                if *takes_private_ip {
                    interface += "moves_private_ip = true\n";
                }
                format!(
                    "[ha.elastic_ip]\nallocation_id = \"{allocation_id}\"\nregion = \"{region}\"\n\
                     endpoint = \"{endpoint}\"\n{interface}"
                )
            }
        }
    }
}
