//! An authoritative name server: real NSD, whose zone a test changes while it runs.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{Host, Process, wait};

/// Time-out for NSD to start, and to answer with a changed zone.
const STARTING: Duration = Duration::from_secs(10);

/// Time in seconds for which a resolver may remember that a name or its records do not exist.
const NEGATIVE_TTL: u32 = 1;

/// A record of a zone, in DNS's class IN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The full name, without a dot at its end.
    pub name: String,
    /// Time in seconds for which a resolver may keep the record.
    pub ttl: u32,
    /// Type and data of the record.
    pub data: Data,
}

/// Type and data of a record. Names are full, without a dot at their end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The target of a service (RFC 2782).
    Srv {
        /// Priority of the target: clients use the lowest number whose targets they reach.
        priority: u16,
        /// Weight of the target among those of the same priority.
        weight: u16,
        /// Port of the service at the target.
        port: u16,
        /// Name that has the target's addresses.
        target: String,
    },
    /// The name is an alias for this one.
    Cname(String),
    /// A text, which must not contain `"` or `\`.
    Txt(String),
}

impl Record {
    /// Returns a record with an IPv4 address.
    #[must_use]
    pub fn a(name: &str, ttl: u32, address: Ipv4Addr) -> Self {
        Self::new(name, ttl, Data::A(address))
    }

    /// Returns a record with an IPv6 address.
    #[must_use]
    pub fn aaaa(name: &str, ttl: u32, address: Ipv6Addr) -> Self {
        Self::new(name, ttl, Data::Aaaa(address))
    }

    /// Returns a record of type SRV for the service `name` at `target`, with priority 0.
    #[must_use]
    pub fn srv(name: &str, ttl: u32, weight: u16, port: u16, target: &str) -> Self {
        let data = Data::Srv {
            priority: 0,
            weight,
            port,
            target: target.to_owned(),
        };
        Self::new(name, ttl, data)
    }

    /// Returns a record by which the name exists without having addresses or services: a query for
    /// those is answered with NODATA, which is status NOERROR without answers, and not with
    /// NXDOMAIN.
    #[must_use]
    pub fn no_data(name: &str) -> Self {
        Self::new(name, NEGATIVE_TTL, Data::Txt("no addresses".to_owned()))
    }

    /// Returns a record with this data.
    #[must_use]
    pub fn new(name: &str, ttl: u32, data: Data) -> Self {
        Self {
            name: name.to_owned(),
            ttl,
            data,
        }
    }
}

/// Formats a record as a line of a zone file.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ttl, data } = self;
        write!(f, "{name}. {ttl} IN ")?;
        match data {
            Data::A(address) => write!(f, "A {address}"),
            Data::Aaaa(address) => write!(f, "AAAA {address}"),
            Data::Srv {
                priority,
                weight,
                port,
                target,
            } => write!(f, "SRV {priority} {weight} {port} {target}."),
            Data::Cname(target) => write!(f, "CNAME {target}."),
            Data::Txt(text) => write!(f, "TXT \"{text}\""),
        }
    }
}

/// A running name server that is authoritative for one zone. It answers over UDP and TCP, refuses
/// queries for names outside of its zone (status REFUSED), and does not limit the rate of queries.
/// Dropping it stops it.
#[derive(Debug)]
pub struct NameServer {
    host: Host,
    address: Ipv4Addr,
    zone: String,
    serial: u32,
    records: Vec<Record>,
    process: Option<Process>,
}

impl NameServer {
    /// Starts NSD on `host` at port 53 of `address`, which the host must have, with a zone that has
    /// no records but its own, and waits until it answers.
    ///
    /// # Errors
    /// When NSD or dig is not installed, or NSD does not answer in time; the error contains its
    /// log.
    pub fn start(host: &Host, address: Ipv4Addr, zone: &str) -> Result<Self> {
        let mut server = Self {
            host: host.clone(),
            address,
            zone: zone.to_owned(),
            serial: 1,
            records: Vec::new(),
            process: None,
        };
        server.host.write(
            &format!("{}/nsd.conf", server.folder()),
            server.configuration(),
        )?;
        server.start_again()?;
        Ok(server)
    }

    /// Returns the address that the name server answers at, on port 53.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Replaces all records of the zone, but for those of the zone itself, and waits until the name
    /// server answers with the changed zone. Names without a record are answered with NXDOMAIN. If
    /// the name server is stopped, the records take effect when it starts again.
    ///
    /// # Errors
    /// When a record is not in the zone, NSD refuses a record, or does not answer in time because
    /// it is frozen; the error contains its log.
    pub fn set(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            ensure!(
                self.has(&record.name),
                "{} is not in the zone {}",
                record.name,
                self.zone
            );
        }
        self.records = records.to_vec();
        self.serial += 1;
        self.write_zone()?;
        match &self.process {
            Some(process) => {
                process.signal(Signal::SIGHUP)?;
                self.wait_for_serial()
            }
            None => Ok(()),
        }
    }

    /// Kills the name server: queries are answered with ICMP "port unreachable", and TCP
    /// connections are refused.
    ///
    /// # Errors
    /// When the name server does not run.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("NSD does not run")?;
        // NSD consists of several processes, each of which could answer.
        process.signal_group(Signal::SIGKILL)?;
        process.wait(STARTING)?;
        let port = format!("sport = :53 and src = {}", self.address);
        wait::until_true("NSD's port being closed", STARTING, || {
            let open = self.host.run("ss", &["-Hlntu", &port])?;
            Ok(open.trim().is_empty())
        })
    }

    /// Starts the name server after [`NameServer::stop`], with the zone's latest records, and waits
    /// until it answers.
    ///
    /// # Errors
    /// As [`NameServer::start`], or when it is running.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "NSD is running");
        self.write_zone()?;
        let configuration = format!("{}/nsd.conf", self.folder());
        let name = format!("nsd-{}", self.address);
        let arguments = ["-d", "-c", &configuration];
        self.process = Some(self.host.spawn(&name, "nsd", &arguments)?);
        self.wait_for_serial()
    }

    /// Stops all processes of the name server by SIGSTOP: queries are received, but neither
    /// answered nor refused, so that they time out.
    ///
    /// # Errors
    /// When the name server does not run.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.signal_group(Signal::SIGSTOP)
    }

    /// Continues the name server after [`NameServer::freeze`], and waits until it answers. It also
    /// answers queries that arrived meanwhile.
    ///
    /// # Errors
    /// When the name server does not run, or does not answer in time.
    pub fn thaw(&self) -> Result<()> {
        self.running()?.signal_group(Signal::SIGCONT)?;
        self.wait_for_serial()
    }

    /// Makes `client` resolve names by this name server, and by no other: replaces the
    /// `/etc/resolv.conf` that programs on that host see.
    ///
    /// # Errors
    /// When the machine has no `/etc/resolv.conf`.
    pub fn resolve_for(&self, client: &Host) -> Result<()> {
        client.write("/run/resolv.conf", format!("nameserver {}\n", self.address))?;
        client
            .script("chmod 644 /run/resolv.conf\nmount --bind /run/resolv.conf /etc/resolv.conf")
            .map(drop)
    }

    /// Returns NSD's log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = format!("/run/log/nsd-{}.log", self.address);
        self.host.read(&log).unwrap_or_default()
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("NSD does not run")
    }

    fn has(&self, name: &str) -> bool {
        name.strip_suffix(&self.zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Returns the folder on the host with all files of the name server.
    fn folder(&self) -> String {
        format!("/run/nsd/{}", self.address)
    }

    fn configuration(&self) -> String {
        let (address, zone, folder) = (self.address, &self.zone, self.folder());
        // NSD would change to the user `nsd`, and answer each source at most 200 times a second.
        format!(
            r#"server:
    ip-address: {address}@53
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    server-count: 1
    rrl-ratelimit: 0
    zonefiles-check: yes
remote-control:
    control-enable: no
zone:
    name: "{zone}"
    zonefile: "{folder}/zone"
"#
        )
    }

    fn write_zone(&self) -> Result<()> {
        let Self {
            zone,
            serial,
            address,
            ..
        } = self;
        let records: String = (self.records.iter())
            .map(|record| format!("{record}\n"))
            .collect();
        let zone = format!(
            "{zone}. {NEGATIVE_TTL} IN SOA ns.{zone}. root.{zone}. {serial} 3600 3600 3600 {NEGATIVE_TTL}\n\
             {zone}. {NEGATIVE_TTL} IN NS ns.{zone}.\n\
             ns.{zone}. {NEGATIVE_TTL} IN A {address}\n\
             {records}"
        );
        self.host.write(&format!("{}/zone", self.folder()), zone)
    }

    fn wait_for_serial(&self) -> Result<()> {
        let what = format!("serial {} of the zone {}", self.serial, self.zone);
        wait::until_true(&what, STARTING, || {
            Ok(self.answered_serial()? == Some(self.serial))
        })
        .with_context(|| format!("NSD said: {}", self.log()))
    }

    /// Asks the name server for the zone's serial number; `None` if there was no answer.
    fn answered_serial(&self) -> Result<Option<u32>> {
        let server = format!("@{}", self.address);
        let output = (self.host.command("dig"))
            .args(["+short", "+tries=1", "+time=1", "SOA", &self.zone, &server])
            .output()
            .context("could not start `dig` (package bind9-dnsutils)")?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let serial = answer.split_whitespace().nth(2);
        Ok(serial.and_then(|serial| serial.parse().ok()))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            // An error means that the host has ended, and NSD with it.
            drop(self.stop());
        }
    }
}
