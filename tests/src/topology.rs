//! The lab, which is the set of network namespaces that the end-to-end tests make: the hosts, the
//! cables between them, and their addresses.
//!
//! ```text
//! client 198.51.100.10 ── wan 198.51.100.1 ┐
//!                                          │ igw: Elastic IP 203.0.113.74 ⇄ its owner,
//!   lb-a 172.31.0.68 ──┬─────── 172.31.0.1 ┤      EC2 API 172.31.0.3,
//!   lb-b 172.31.15.233 ┘           │       │      instance metadata 169.254.169.254,
//!                                  │       │      name server 172.31.0.4
//!                                  │       ┘ (bridge, 172.31.0.0/20)
//!                       172.31.0.2 ┐
//!                                  │ router: the peering between the two networks
//!                         10.0.0.1 ┘ (bridge, 10.0.0.0/24)
//!                                  ├── web1 10.0.0.6
//!                                  ├── web2 10.0.0.7
//!                                  ├── web3 10.0.0.9
//!                                  └── web4 10.0.0.19
//! ```
//!
//! With [`Wiring::TwoInterfaces`] the balancers reach the router by a second interface:
//!
//! ```text
//!   lb-a eth0 172.31.0.68,   eth1 172.30.0.68  ┐ bridge, 172.30.0.0/24
//!   lb-b eth0 172.31.15.233, eth1 172.30.0.233 ┴── router 172.30.0.1
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};

pub use crate::elastic_ip::ELASTIC_IP;
use crate::{
    cable::{self, End},
    certificate::Authority,
    ec2::{FakeEc2, Moto},
    gateway::InternetGateway,
    host::Host,
    name_server::NameServer,
    web::Web,
};

/// The name of the HTTPS site: the certificate is for this name, and the client resolves it to the
/// Elastic IP.
pub const SITE: &str = "www.lab.example";

/// The client host's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// The first of the client's additional addresses, which [`Lab::add_client_addresses`] adds.
const FIRST_FURTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

/// Maximum number of additional addresses in the client's network.
const MOST_FURTHER_CLIENTS: u8 = 200;

/// Names and addresses of the balancers. At first the Elastic IP is associated with the first
/// balancer.
pub const BALANCERS: &[(&str, Ipv4Addr)] = &[
    ("lb-a", Ipv4Addr::new(172, 31, 0, 68)),
    ("lb-b", Ipv4Addr::new(172, 31, 15, 233)),
];

/// The virtual IP address, which moves between the balancers in tests without an Elastic IP.
pub const VIRTUAL_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 200);

/// Prefix length of the network that the balancers are in.
pub const BALANCERS_PREFIX: u8 = 20;

/// The balancers' addresses on their second interfaces, in the order of [`BALANCERS`].
pub const BACK_ADDRESSES: &[Ipv4Addr] = &[
    Ipv4Addr::new(172, 30, 0, 68),
    Ipv4Addr::new(172, 30, 0, 233),
];

/// How many interfaces each balancer has, and what they lead to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wiring {
    /// One interface: `eth0` leads to clients and to web servers.
    #[default]
    OneInterface,
    /// Two interfaces: `eth0` leads to clients, `eth1` to the web servers.
    TwoInterfaces,
}

/// Address of the EC2 API for the balancers. It is on the gateway's host, so each balancer can
/// still reach it when the other balancer's cable is cut.
pub const EC2_API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(172, 31, 0, 3)), 5000);

/// Address of the name server for the balancers, on the gateway's host like the EC2 API.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 4);

/// Address of the instance metadata service, as on AWS.
pub const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// Names and addresses of the web servers.
pub const WEBS: &[(&str, Ipv4Addr)] = &[
    ("web1", Ipv4Addr::new(10, 0, 0, 6)),
    ("web2", Ipv4Addr::new(10, 0, 0, 7)),
    ("web3", Ipv4Addr::new(10, 0, 0, 9)),
    ("web4", Ipv4Addr::new(10, 0, 0, 19)),
];

/// Path on the client of the certificate of the certificate authority of the test network, in PEM
/// format.
pub const CA_FILE: &str = "/run/tls/ca.pem";

/// A running lab: hosts, cables, addresses, and four web servers.
///
/// It ends when it is dropped, or with the process that started it.
#[derive(Debug)]
pub struct Lab {
    /// The host of the client.
    pub client: Host,
    /// The gateway that translates the Elastic IP to the private address of its owner.
    pub internet_gateway: InternetGateway,
    /// The balancer hosts, in the order of [`BALANCERS`]; nothing runs on them yet.
    pub balancers: Vec<Host>,
    /// The host that connects the network of the balancers to that of the web servers.
    pub router: Host,
    /// The web servers, in the order of [`WEBS`].
    pub webs: Vec<Web>,
    /// The certificate authority that the client trusts.
    pub authority: Authority,
    wiring: Wiring,
}

impl Lab {
    /// Starts the lab, the test network.
    ///
    /// # Errors
    /// When the process is not root, a program is missing, or the kernel refuses an operation.
    pub fn raise() -> Result<Self> {
        Self::raise_with(Wiring::default())
    }

    /// Starts the lab, the test network, with one or two interfaces for each balancer, as `wiring`
    /// says.
    ///
    /// # Errors
    /// As [`Lab::raise`].
    pub fn raise_with(wiring: Wiring) -> Result<Self> {
        let lab = Self {
            client: Host::raise("client")?,
            internet_gateway: InternetGateway::new(Host::raise("igw")?),
            balancers: raised(BALANCERS)?,
            router: Host::raise("router")?,
            webs: raised(WEBS)?
                .into_iter()
                .zip(WEBS)
                .map(|(host, (_, address))| Web::new(host, *address))
                .collect(),
            authority: Authority::new()?,
            wiring,
        };
        lab.lay_cables()?;
        lab.give_addresses()?;
        lab.acquaint_client()?;
        lab.start_webs()
    }

    /// Returns the host `lb-a`.
    #[must_use]
    pub fn lb_a(&self) -> &Host {
        &self.balancers[0]
    }

    /// Returns the host `lb-b`.
    #[must_use]
    pub fn lb_b(&self) -> &Host {
        &self.balancers[1]
    }

    /// Starts the fake EC2 API at the address that the balancers use; the first balancer has the
    /// Elastic IP.
    ///
    /// # Errors
    /// When an API is running already.
    pub fn fake_ec2(&self) -> Result<Arc<FakeEc2>> {
        let ec2 = FakeEc2::start(Some(self.internet_gateway.host()), EC2_API, BALANCERS)?;
        ec2.move_to(Some(0));
        Ok(Arc::new(ec2))
    }

    /// Starts moto at the address of the EC2 API; the first balancer has the Elastic IP.
    ///
    /// # Errors
    /// When moto is not installed or does not start.
    pub fn moto(&self) -> Result<Arc<Moto>> {
        let moto = Moto::start(self.internet_gateway.host(), EC2_API, BALANCERS)?;
        moto.move_to(Some(0))?;
        Ok(Arc::new(moto))
    }

    /// Starts a name server at [`NAME_SERVER`] that is authoritative for `zone`, and makes the
    /// balancers resolve names by it.
    ///
    /// # Errors
    /// As [`NameServer::start`].
    pub fn name_server(&self, zone: &str) -> Result<NameServer> {
        let server = NameServer::start(self.internet_gateway.host(), NAME_SERVER, zone)?;
        self.balancers
            .iter()
            .try_for_each(|balancer| server.resolve_for(balancer))?;
        Ok(server)
    }

    /// Adds this many addresses to the client, from 198.51.100.20 on, and returns them.
    ///
    /// # Errors
    /// When the addresses do not fit into the client's network, or the client has them already.
    pub fn add_client_addresses(&self, count: u8) -> Result<Vec<Ipv4Addr>> {
        ensure!(
            count <= MOST_FURTHER_CLIENTS,
            "the client can have {MOST_FURTHER_CLIENTS} further addresses, not {count}"
        );
        let first = FIRST_FURTHER_CLIENT.to_bits();
        let addresses: Vec<_> = (first..first + u32::from(count))
            .map(Ipv4Addr::from)
            .collect();
        let commands: String = (addresses.iter())
            .map(|address| format!("ip address add {address}/24 dev eth0\n"))
            .collect();
        self.client.script(&commands)?;
        Ok(addresses)
    }

    /// Routes the web servers' responses through this balancer, as `forward = "dnat"` requires. The
    /// web servers' default route already leads to the router; this changes the router's default
    /// route to lead to the balancer.
    ///
    /// # Errors
    /// When the kernel refuses the route.
    pub fn route_answers_through(&self, balancer: usize) -> Result<()> {
        let (_, address) = BALANCERS[balancer];
        let route = ["route", "replace", "default", "via", &address.to_string()];
        self.router.run("ip", &route).map(drop)
    }

    /// Returns the web server of this name.
    ///
    /// # Errors
    /// When there is no web server of this name.
    pub fn web(&mut self, name: &str) -> Result<&mut Web> {
        self.webs
            .iter_mut()
            .find(|web| web.name() == name)
            .with_context(|| format!("the lab has no web server {name}"))
    }

    /// Returns all hosts of the test network.
    #[must_use]
    pub fn hosts(&self) -> Vec<&Host> {
        let mut hosts = vec![&self.client, self.internet_gateway.host()];
        hosts.extend(&self.balancers);
        hosts.push(&self.router);
        hosts.extend(self.webs.iter().map(Web::host));
        hosts
    }

    fn lay_cables(&self) -> Result<()> {
        let igw = self.internet_gateway.host();
        bridge(igw, "lbnet", "02:00:00:00:00:01")?;
        bridge(&self.router, "webnet", "02:00:00:00:00:02")?;
        cable::connect(End::new(&self.client, "eth0"), End::new(igw, "wan"))?;
        for balancer in &self.balancers {
            let port = End::new(igw, balancer.name());
            cable::connect(End::new(balancer, "eth0"), port)?;
            cable::accept_xdp_frames(port)?;
            into_bridge(port, "lbnet")?;
        }
        match self.wiring {
            Wiring::OneInterface => {
                let port = End::new(igw, "router");
                cable::connect(End::new(&self.router, "eth0"), port)?;
                into_bridge(port, "lbnet")?;
            }
            Wiring::TwoInterfaces => {
                bridge(&self.router, "backnet", "02:00:00:00:00:03")?;
                for balancer in &self.balancers {
                    let port = End::new(&self.router, balancer.name());
                    cable::connect(End::new(balancer, "eth1"), port)?;
                    cable::accept_xdp_frames(port)?;
                    into_bridge(port, "backnet")?;
                }
            }
        }
        for web in &self.webs {
            let port = End::new(&self.router, web.name());
            cable::connect(End::new(web.host(), "eth0"), port)?;
            into_bridge(port, "webnet")?;
        }
        Ok(())
    }

    fn give_addresses(&self) -> Result<()> {
        self.client.script(&format!(
            "ip address add {CLIENT}/24 dev eth0\n\
             ip route add default via 198.51.100.1"
        ))?;
        self.internet_gateway.host().script(&format!(
            "ip address add 198.51.100.1/24 dev wan\n\
             ip address add 172.31.0.1/20 dev lbnet\n\
             ip address add {}/20 dev lbnet\n\
             ip address add {NAME_SERVER}/20 dev lbnet\n\
             ip address add {}/32 dev lbnet\n\
             echo 1 >/proc/sys/net/ipv4/ip_forward",
            EC2_API.ip(),
            METADATA.ip(),
        ))?;
        self.router.script(
            "ip address add 10.0.0.1/24 dev webnet\n\
             echo 1 >/proc/sys/net/ipv4/ip_forward",
        )?;
        for (host, (_, address)) in self.balancers.iter().zip(BALANCERS) {
            host.script(&format!(
                "ip address add {address}/20 dev eth0\n\
                 ip route add default via 172.31.0.1"
            ))?;
        }
        match self.wiring {
            Wiring::OneInterface => self.route_by_eth0()?,
            Wiring::TwoInterfaces => self.route_by_eth1()?,
        }
        for (web, (_, address)) in self.webs.iter().zip(WEBS) {
            web.host().script(&format!(
                "ip address add {address}/24 dev eth0\n\
                 ip route add default via 10.0.0.1"
            ))?;
        }
        self.internet_gateway.point_elastic_ip_at(BALANCERS[0].1)
    }

    fn route_by_eth0(&self) -> Result<()> {
        self.router
            .script("ip address add 172.31.0.2/20 dev eth0")?;
        for host in &self.balancers {
            host.script("ip route add 10.0.0.0/24 via 172.31.0.2")?;
        }
        Ok(())
    }

    fn route_by_eth1(&self) -> Result<()> {
        self.router
            .script("ip address add 172.30.0.1/24 dev backnet")?;
        let balancers = self.balancers.iter().zip(BALANCERS).zip(BACK_ADDRESSES);
        for ((host, (_, address)), back) in balancers {
            host.script(&format!(
                "ip address add {back}/24 dev eth1\n\
                 ip route add 10.0.0.0/24 via 172.30.0.1"
            ))?;
            // With NAT the web servers see the service's address as the source of connections, and
            // the router must reach that address through the balancer's second interface.
            self.router
                .script(&format!("ip route add {address} via {back}"))?;
        }
        Ok(())
    }

    /// Configures the client so it resolves the name [`SITE`], and installs the certificate of the
    /// certificate authority there.
    fn acquaint_client(&self) -> Result<()> {
        self.client
            .write(CA_FILE, self.authority.certificate_pem())?;
        let hosts = format!("127.0.0.1 localhost\n{ELASTIC_IP} {SITE}\n");
        self.client.write("/run/hosts", hosts)?;
        self.client
            .script("mount --bind /run/hosts /etc/hosts")
            .map(drop)
    }

    fn start_webs(mut self) -> Result<Self> {
        self.webs.iter_mut().try_for_each(Web::begin)?;
        self.webs.iter().try_for_each(Web::wait_until_up)?;
        Ok(self)
    }
}

fn raised(hosts: &[(&str, Ipv4Addr)]) -> Result<Vec<Host>> {
    hosts.iter().map(|(name, _)| Host::raise(name)).collect()
}

/// Creates a bridge with this MAC address.
fn bridge(host: &Host, name: &str, address: &str) -> Result<()> {
    // Without an address of its own, a bridge has the lowest one of its ports. It would then change
    // when a host is destroyed, and other hosts would send to the old one until they ask again,
    // which takes them up to a minute.
    // A bridge's delay before a new port forwards guards only against loops, which the test network
    // does not have.
    host.script(&format!(
        "ip link add {name} address {address} type bridge forward_delay 0\nip link set {name} up"
    ))?;
    Ok(())
}

fn into_bridge(port: End<'_>, bridge: &str) -> Result<()> {
    port.host
        .script(&format!("ip link set {} master {bridge}", port.interface))?;
    Ok(())
}
