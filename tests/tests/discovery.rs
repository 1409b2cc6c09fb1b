//! A pool discovers its backends in DNS, in EC2 and in a file: backends come and go, and the source
//! is down or empty for a while, under load. No request is lost.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, ENVIRONMENT_FILE, Settings},
    ec2::{Ec2 as _, Moto, MotoFleet, REGION},
    load::{Body, Load, Plan, Reuse},
    name_server::{NameServer, Record},
    wait,
    web::SLOW_BYTES,
};

/// How long a source that is down stays down.
const OUTAGE: Duration = Duration::from_secs(60);

/// How long a source is down whose kind another test takes down for the whole [`OUTAGE`].
const SHORT_OUTAGE: Duration = Duration::from_secs(10);

/// Time limit for a change of the source to reach the agent: two queries, 1 s apart, and a check.
const SOON: Duration = Duration::from_secs(15);

/// Time that a backend is drained for, in seconds.
const DRAIN: u64 = 10;

/// The file of backends on the balancer.
const LIST: &str = "/etc/lb/backends";

/// A source of backends that a test controls.
trait Source {
    /// Makes the source list these web servers.
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()>;
    /// Makes the source answer, without any backend.
    fn empty(&mut self, lab: &Lab) -> Result<()>;
    /// Makes the source fail.
    fn fail(&mut self, lab: &Lab) -> Result<()>;
    /// Makes the source answer as before it failed.
    fn mend(&mut self, lab: &Lab) -> Result<()>;
}

/// A file on the balancer.
#[derive(Default)]
struct File {
    text: String,
}

impl Source for File {
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()> {
        let lines = lab.webs.iter().filter(|web| webs.contains(&web.name()));
        let lines = lines.map(|web| format!("{} name={}\n", web.address(), web.name()));
        self.text = lines.collect();
        self.mend(lab)
    }

    fn empty(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, "# none\n")
    }

    fn fail(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, "10.0.0.300:80\n")
    }

    fn mend(&mut self, lab: &Lab) -> Result<()> {
        lab.lb_a().write(LIST, &self.text)
    }
}

/// A name in DNS, with records of type A, or of type SRV.
struct Dns {
    server: NameServer,
    is_srv: bool,
    records: Vec<Record>,
}

const ZONE: &str = "lab.internal";
const DNS_NAME: &str = "web.lab.internal";
const SRV_NAME: &str = "_http._tcp.web.lab.internal";
/// TTL of the records, in seconds.
const TTL: u32 = 2;

impl Dns {
    fn start(lab: &Lab, is_srv: bool) -> Result<Self> {
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
        for web in lab.webs.iter().filter(|web| webs.contains(&web.name())) {
            let IpAddr::V4(ip) = web.address().ip() else {
                anyhow::bail!("{} has no IPv4 address", web.name());
            };
            if self.is_srv {
                let target = format!("{}.{ZONE}", web.name());
                let port = web.address().port();
                self.records
                    .push(Record::srv(SRV_NAME, TTL, 10, port, &target));
                self.records.push(Record::a(&target, TTL, ip));
            } else {
                self.records.push(Record::a(DNS_NAME, TTL, ip));
            }
        }
        self.server.set(&self.records)
    }

    fn empty(&mut self, _lab: &Lab) -> Result<()> {
        let name = if self.is_srv { SRV_NAME } else { DNS_NAME };
        self.server.set(&[Record::no_data(name)])
    }

    /// The server stops to answer. Then it does not run, so that queries are refused.
    fn fail(&mut self, _lab: &Lab) -> Result<()> {
        if self.is_srv {
            return self.server.stop();
        }
        self.server.freeze()
    }

    fn mend(&mut self, _lab: &Lab) -> Result<()> {
        if self.is_srv {
            return self.server.start_again();
        }
        self.server.thaw()
    }
}

/// EC2 instances of moto.
struct Ec2 {
    moto: Arc<Moto>,
    fleet: MotoFleet,
    /// The instances that run, by the names of the web servers.
    running: BTreeMap<String, String>,
}

impl Ec2 {
    fn start(lab: &Lab) -> Result<Self> {
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
    fn lines(&self) -> String {
        let endpoint = self.moto.endpoint();
        format!("region = \"{REGION}\"\nendpoint = \"{endpoint}\"\nport = 80")
    }
}

impl Source for Ec2 {
    fn list(&mut self, lab: &Lab, webs: &[&str]) -> Result<()> {
        for web in &lab.webs {
            let IpAddr::V4(ip) = web.address().ip() else {
                anyhow::bail!("{} has no IPv4 address", web.name());
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

    /// All instances lose a tag.
    fn empty(&mut self, _lab: &Lab) -> Result<()> {
        let mut instances = self.running.values();
        instances.try_for_each(|instance| self.fleet.untag(instance, "Stage"))
    }

    fn fail(&mut self, _lab: &Lab) -> Result<()> {
        self.moto.freeze()
    }

    fn mend(&mut self, _lab: &Lab) -> Result<()> {
        self.moto.thaw()
    }
}

/// An Auto Scaling group of moto with an instance for each web server: those that are not listed are
/// in standby.
struct Group {
    ec2: Ec2,
    /// The IDs of the instances, by the names of the web servers.
    members: BTreeMap<String, String>,
}

const GROUP: &str = "web";

impl Group {
    fn start(lab: &Lab) -> Result<Self> {
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

    fn mend(&mut self, lab: &Lab) -> Result<()> {
        self.ec2.mend(lab)
    }
}

#[test]
fn instances_of_an_auto_scaling_group_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut group = Group::start(&lab)?;
    let endpoint = group.ec2.moto.endpoint();
    let lines = format!(
        "auto_scaling_group = \"{GROUP}\"\nauto_scaling_endpoint = \"{endpoint}\"\n{}",
        group.ec2.lines()
    );
    no_request_is_lost(&lab, &mut group, &lines, SHORT_OUTAGE)
}

#[test]
fn backends_of_a_name_in_dns_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut dns = Dns::start(&lab, false)?;
    let lines = format!("dns = \"{DNS_NAME}\"\nport = 80");
    no_request_is_lost(&lab, &mut dns, &lines, OUTAGE)
}

#[test]
fn backends_of_a_service_in_dns_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut dns = Dns::start(&lab, true)?;
    let address = dns.server.address();
    let lines = format!("srv = \"{SRV_NAME}\"\nnameservers = [\"{address}\"]");
    no_request_is_lost(&lab, &mut dns, &lines, SHORT_OUTAGE)
}

#[test]
fn backends_with_tags_in_ec2_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut ec2 = Ec2::start(&lab)?;
    let lines = format!(
        "ec2_tags = {{ Role = \"web\", Stage = \"production\" }}\n{}",
        ec2.lines()
    );
    no_request_is_lost(&lab, &mut ec2, &lines, OUTAGE)
}

#[test]
fn backends_of_a_file_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let lines = format!("file = \"{LIST}\"");
    no_request_is_lost(&lab, &mut File::default(), &lines, SHORT_OUTAGE)
}

/// Runs an agent whose pool discovers its backends as `lines` of `[pool.discover]` say, and changes
/// the source under load.
fn no_request_is_lost(
    lab: &Lab,
    source: &mut impl Source,
    lines: &str,
    outage: Duration,
) -> Result<()> {
    source.list(lab, &["web1", "web2", "web3"])?;
    let settings = Settings {
        backends: Vec::new(),
        more: format!("[pool.discover]\n{lines}\ninterval = \"1s\"\ndrain = \"{DRAIN}s\"\n"),
        ..Settings::of(lab)
    };
    let agent = Agent::start(lab, &settings)?;
    wait_for(&agent, &["web1", "web2", "web3"])?;
    let loads = loads(lab)?;
    thread::sleep(Duration::from_secs(1));

    source.list(lab, &["web1", "web2", "web3", "web4"])?;
    wait_for(&agent, &["web1", "web2", "web3", "web4"])?;
    answers_come_from(lab, &["web1", "web2", "web3", "web4"])?;

    // Downloads that a backend has begun to serve end while it is drained.
    let slow = Plan {
        path: "/slow".to_owned(),
        body: Body::Filled(b'y', SLOW_BYTES),
        requests: Some(8),
        connections: 8,
        ..Plan::http()
    };
    let slow = slow.start(&lab.client);
    thread::sleep(Duration::from_millis(500));
    source.list(lab, &["web2", "web3", "web4"])?;
    wait::until_true("web1 is drained", SOON, || Ok(!is_in_use(&agent, "web1")?))?;
    answers_come_from(lab, &["web2", "web3", "web4"])?;
    let slow = slow.finish()?;
    slow.all_answered().context("of the slow downloads")?;
    ensure!(slow.share("web1") > 0.0, "{:?}", slow.shares());
    wait_for(&agent, &["web2", "web3", "web4"])?;

    source.empty(lab)?;
    fails(&agent, true)?;
    answers_come_from(lab, &["web2", "web3", "web4"])?;
    source.list(lab, &["web2", "web3", "web4"])?;
    fails(&agent, false)?;

    source.fail(lab)?;
    fails(&agent, true)?;
    let begun = Instant::now();
    while begun.elapsed() < outage {
        answers_come_from(lab, &["web2", "web3", "web4"])?;
        thread::sleep(Duration::from_secs(1));
    }
    ensure!(!is_in_use(&agent, "web1")?, "web1 is back");
    source.mend(lab)?;
    fails(&agent, false)?;
    source.list(lab, &["web1", "web2", "web3", "web4"])?;
    wait_for(&agent, &["web1", "web2", "web3", "web4"])?;
    answers_come_from(lab, &["web1", "web2", "web3", "web4"])?;

    // All backends are replaced at once: the old ones serve until a new one is up.
    source.list(lab, &["web1", "web2"])?;
    wait::until_true("web3 is drained", SOON, || Ok(!is_in_use(&agent, "web3")?))?;
    wait_for(&agent, &["web1", "web2"])?;
    source.list(lab, &["web3", "web4"])?;
    wait::until_true("web1 is drained", SOON, || Ok(!is_in_use(&agent, "web1")?))?;
    wait_for(&agent, &["web3", "web4"])?;
    answers_come_from(lab, &["web3", "web4"])?;

    for load in loads {
        let report = load.stop()?;
        println!(
            "{} requests, the slowest after {:?}, failed: {:?}",
            report.answers.len(),
            report.longest(),
            report.why_failed()
        );
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    events_say_so(&agent)
}

/// Starts loads: new connections that the kernel forwards, and new and persistent HTTPS connections
/// that the agent serves.
fn loads(lab: &Lab) -> Result<Vec<Load>> {
    let https = Plan::https(lab)?;
    let persistent = Plan {
        reuse: Reuse::Always,
        ..https.clone()
    };
    let plans = [Plan::http(), https, persistent].map(|plan| Plan {
        connections: 4,
        pause: Duration::from_millis(20),
        ..plan
    });
    Ok(plans.map(|plan| plan.start(&lab.client)).into())
}

fn answers_come_from(lab: &Lab, backends: &[&str]) -> Result<()> {
    for plan in [Plan::http(), Plan::https(lab)?] {
        let plan = Plan {
            requests: Some(60),
            ..plan
        };
        let report = plan.run(&lab.client)?;
        report.all_answered()?;
        let shares = report.shares();
        ensure!(
            shares.keys().copied().eq(backends.iter().copied()),
            "answers should come from {backends:?}, they came from {shares:?}"
        );
    }
    Ok(())
}

/// Returns the addresses of the pool's backends, and whether each is up.
fn members(agent: &Agent) -> Result<Vec<(String, bool)>> {
    let status = agent.status()?;
    let backends = status["pools"][0]["backends"].as_array();
    let backends = backends.context("the status has no backends")?.iter();
    let members = backends.map(|one| {
        let address = one["address"].as_str().unwrap_or_default().to_owned();
        (address, one["state"] == "up")
    });
    Ok(members.collect())
}

fn is_in_use(agent: &Agent, web: &str) -> Result<bool> {
    let address = address_of(web)?;
    let members = members(agent)?;
    Ok(members
        .iter()
        .any(|(member, is_up)| *member == address && *is_up))
}

fn address_of(web: &str) -> Result<String> {
    let webs = lab::topology::WEBS;
    let found = webs.iter().find(|(name, _)| *name == web);
    let (_, address) = found.with_context(|| format!("there is no {web}"))?;
    Ok(format!("{address}:80"))
}

/// Waits until the pool has exactly these web servers, and all of them are up.
fn wait_for(agent: &Agent, webs: &[&str]) -> Result<()> {
    let wanted: Result<Vec<_>> = webs
        .iter()
        .map(|web| Ok((address_of(web)?, true)))
        .collect();
    let mut wanted = wanted?;
    wanted.sort_unstable();
    let what = format!("the pool has {webs:?}");
    wait::until_true(&what, SOON + Duration::from_secs(DRAIN), || {
        let mut members = members(agent)?;
        members.sort_unstable();
        Ok(members == wanted)
    })
}

/// Waits until the source fails or answers again.
fn fails(agent: &Agent, fails: bool) -> Result<()> {
    let value = f64::from(u8::from(fails));
    let what = format!("lb_discovery_failing of {value}");
    agent.wait_for_metrics(&what, SOON, |metrics| {
        let samples = metrics.samples("lb_discovery_failing", &[("pool", "web")]);
        samples.len() == 1 && samples.iter().all(|sample| sample.value == value)
    })?;
    Ok(())
}

/// Checks that each change is an event.
fn events_say_so(agent: &Agent) -> Result<()> {
    let events = agent.operate(&["events"])?;
    for said in [
        "has the backend: it was added to the pool",
        "no longer has the backend: it is drained",
        "was removed from the pool: its drain time has passed",
        "cannot be discovered, and stay as they are",
        "are discovered again",
    ] {
        ensure!(events.contains(said), "no event says {said:?}:\n{events}");
    }
    Ok(())
}
