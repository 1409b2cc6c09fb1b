//! The sources of backends that the tests control: a file, a name server, and moto.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::{Context as _, Result, bail};
use lab::{
    Lab,
    agent::ENVIRONMENT_FILE,
    ec2::{Ec2 as _, Moto, MotoFleet, REGION},
    name_server::{NameServer, Record},
};

/// The file of backends on the balancer.
pub(super) const LIST: &str = "/run/lb/backends";

/// A source of backends that a test controls.
pub(super) trait Source {
    /// Makes the source list these web servers.
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()>;
    /// Makes the source answer, without any backend.
    fn empty(&mut self, lab: &Lab) -> Result<()>;
    /// Makes the source fail.
    fn fail(&mut self, lab: &Lab) -> Result<()>;
    /// Makes the source answer as before it failed.
    fn restore(&mut self, lab: &Lab) -> Result<()>;
}

/// A file on the balancer.
#[derive(Default)]
pub(super) struct File {
    text: String,
}

impl Source for File {
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()> {
        let lines = lab.webs.iter().filter(|web| webs.contains(&web.name()));
        let lines = lines.map(|web| format!("{} name={}\n", web.address(), web.name()));
        self.text = lines.collect();
        self.restore(lab)
    }

    fn empty(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, "# none\n")
    }

    fn fail(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, "10.0.0.300:80\n")
    }

    fn restore(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, &self.text)
    }
}

/// Names in DNS with records of type A, or one with records of type SRV.
pub(super) struct Dns {
    pub(super) server: NameServer,
    is_srv: bool,
    records: Vec<Record>,
}

const ZONE: &str = "lab.internal";
/// Names with records of type A: the first of web1 and web3, the second of web2 and web4.
pub(super) const DNS_NAMES: [&str; 2] = ["odd.lab.internal", "even.lab.internal"];
pub(super) const SRV_NAME: &str = "_http._tcp.web.lab.internal";
/// TTL of the records, in seconds.
const TTL: u32 = 2;

impl Dns {
    pub(super) fn start(lab: &Lab, is_srv: bool) -> Result<Self> {
        Ok(Self {
            server: lab.name_server(ZONE)?,
            is_srv,
            records: Vec::new(),
        })
    }
}

impl Source for Dns {
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()> {
        self.records.clear();
        for (index, web) in lab.webs.iter().enumerate() {
            if !webs.contains(&web.name()) {
                continue;
            }
            let IpAddr::V4(ip) = web.address().ip() else {
                bail!("{} has no IPv4 address", web.name());
            };
            if self.is_srv {
                let target = format!("{}.{ZONE}", web.name());
                let port = web.address().port();
                self.records
                    .push(Record::srv(SRV_NAME, TTL, 10, port, &target));
                self.records.push(Record::a(&target, TTL, ip));
            } else {
                self.records.push(Record::a(DNS_NAMES[index % 2], TTL, ip));
            }
        }
        self.server.set(&self.records)
    }

    fn empty(&mut self, _lab: &Lab) -> Result<()> {
        if self.is_srv {
            return self.server.set(&[Record::no_data(SRV_NAME)]);
        }
        self.server.set(&DNS_NAMES.map(Record::no_data))
    }

    /// Takes the server down: for records of type A it is silent, for records of type SRV it is not
    /// running, so that queries are refused.
    fn fail(&mut self, _lab: &Lab) -> Result<()> {
        if self.is_srv {
            return self.server.stop();
        }
        self.server.freeze()
    }

    fn restore(&mut self, _lab: &Lab) -> Result<()> {
        if self.is_srv {
            return self.server.start_again();
        }
        self.server.thaw()
    }
}

/// EC2 instances of moto.
pub(super) struct Ec2 {
    pub(super) moto: Arc<Moto>,
    fleet: MotoFleet,
    /// The instances that run, by the names of the web servers.
    running: BTreeMap<String, String>,
}

impl Ec2 {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let moto = lab.moto()?;
        lab.lb_a().write(
            ENVIRONMENT_FILE,
            "AWS_ACCESS_KEY_ID=lb-a\nAWS_SECRET_ACCESS_KEY=lab\n",
        )?;
        Ok(Self {
            fleet: MotoFleet::new(&moto)?,
            moto,
            running: BTreeMap::new(),
        })
    }

    /// The lines of `[pool.discover]` for the API of moto.
    pub(super) fn lines(&self) -> String {
        let endpoint = self.moto.endpoint();
        format!("region = \"{REGION}\"\nendpoint = \"{endpoint}\"\nport = 80")
    }
}

impl Source for Ec2 {
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()> {
        for web in &lab.webs {
            let IpAddr::V4(ip) = web.address().ip() else {
                bail!("{} has no IPv4 address", web.name());
            };
            let is_wanted = webs.contains(&web.name());
            match self.running.get(web.name()) {
                Some(instance) if !is_wanted => self.fleet.stop(instance)?,
                Some(instance) => {
                    self.fleet.start(instance)?;
                    self.fleet.tag(instance, "Stage", "production")?;
                }
                None if is_wanted => {
                    let tags = [("Role", "web"), ("Stage", "production")];
                    let instance = self.fleet.launch(ip, &tags)?;
                    self.running.insert(web.name().to_owned(), instance);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Removes one of the tags from all instances.
    fn empty(&mut self, _lab: &Lab) -> Result<()> {
        let mut instances = self.running.values();
        instances.try_for_each(|instance| self.fleet.untag(instance, "Stage"))
    }

    fn fail(&mut self, _lab: &Lab) -> Result<()> {
        self.moto.freeze()
    }

    fn restore(&mut self, _lab: &Lab) -> Result<()> {
        self.moto.thaw()
    }
}

/// An Auto Scaling group of moto with an instance for each web server: those that are not listed
/// are in standby.
pub(super) struct Group {
    pub(super) ec2: Ec2,
    /// The IDs of the instances, by the names of the web servers.
    members: BTreeMap<String, String>,
}

pub(super) const GROUP: &str = "web";

impl Group {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let mut ec2 = Ec2::start(lab)?;
        let webs = lab::topology::WEBS;
        let addresses: Vec<_> = webs.iter().map(|(_, address)| *address).collect();
        ec2.fleet
            .create_group(GROUP, &addresses, u8::try_from(webs.len())?)?;
        let mut members = BTreeMap::new();
        for member in ec2.fleet.members(GROUP)? {
            let address = ec2.fleet.address(&member.instance_id)?;
            let web = webs.iter().find(|(_, of_web)| *of_web == address);
            let (web, _) = web.with_context(|| format!("no web server has {address}"))?;
            members.insert((*web).to_owned(), member.instance_id);
        }
        Ok(Self { ec2, members })
    }

    fn lifecycle(&self, instance: &str) -> Result<String> {
        let members = self.ec2.fleet.members(GROUP)?;
        let mut members = members.into_iter();
        let member = members.find(|member| member.instance_id == instance);
        Ok(member
            .with_context(|| format!("{instance} is gone"))?
            .lifecycle)
    }
}

impl Source for Group {
    fn list(&mut self, _lab: &Lab, webs: &[&str]) -> Result<()> {
        for (web, instance) in &self.members {
            let is_in_service = self.lifecycle(instance)? == "InService";
            match webs.contains(&web.as_str()) {
                true if !is_in_service => self.ec2.fleet.exit_standby(GROUP, instance)?,
                false if is_in_service => self.ec2.fleet.enter_standby(GROUP, instance)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn empty(&mut self, lab: &Lab) -> Result<()> {
        self.list(lab, &[])
    }

    fn fail(&mut self, lab: &Lab) -> Result<()> {
        self.ec2.fail(lab)
    }

    fn restore(&mut self, lab: &Lab) -> Result<()> {
        self.ec2.restore(lab)
    }
}
