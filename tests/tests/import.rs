//! HAProxy and keepalived on two hosts are replaced by `lb` with imported files, one host at a
//! time, while clients send requests.
//!
//! The files in `import` are those of a small site: HAProxy ends TLS, keepalived decides which host
//! is active, and a script moves the Elastic IP by the AWS CLI.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Process,
    agent::{self, Agent, CONFIG_FILE, ENVIRONMENT_FILE},
    ec2::{Ec2 as _, Imds, Instance, Moto, REGION, aws_cli},
    gateway::Follower,
    keepalived::{Keepalived, Role},
    load::{Plan, Reuse},
    topology::{BALANCERS, EC2_API, METADATA},
    wait,
};

const HAPROXY: &str = include_str!("import/haproxy.cfg");
const KEEPALIVED: &str = include_str!("import/keepalived.conf");
const SCRIPT: &str = include_str!("import/failover.sh");

const HAPROXY_FILE: &str = "/etc/haproxy/haproxy.cfg";
const KEEPALIVED_FILE: &str = "/etc/keepalived/keepalived.conf";
const SCRIPT_FILE: &str = "/etc/keepalived/failover.sh";
const CERTIFICATE_FILE: &str = "/etc/haproxy/key/alexmis4iti78.me.pem";
const SECRET_FILE: &str = "/etc/lb/peer.secret";

/// The name that the certificate is for.
const SITE: &str = "alexmis4iti78.me";

/// The allocation ID that `lb import` writes if the imported script names only the address of the
/// Elastic IP.
const ZEROS: &str = "eipalloc-00000000000000000";

const SOON: Duration = Duration::from_secs(30);

/// Time in which keepalived, as a backup that hears no adverts, takes over if adverts are sent once
/// a second.
const TAKEOVER: Duration = Duration::from_secs(4);

#[test]
fn a_pair_moves_from_haproxy_and_keepalived_to_lb_without_a_failed_request() -> Result<()> {
    let site = Site::raise()?;
    let (a, b) = (site.lab.lb_a(), site.lab.lb_b());
    let old_a = Old::start(a, KEEPALIVED)?;
    old_a.keepalived.wait_for(Role::Master, SOON)?;
    let old_b = Old::start(b, &of_the_standby(KEEPALIVED))?;
    old_b.keepalived.wait_for(Role::Backup, SOON)?;
    site.serves(0).with_context(|| old_a.keepalived.log())?;
    let (began, load) = (Instant::now(), site.requests()?.start(&site.lab.client));
    let count = |done: usize| wait::until_true("requests", SOON, || Ok(load.done() >= done));
    count(250)?;

    // The standby is the first host that is changed to lb: no traffic reaches it.
    old_b.stop()?;
    let report = site.import(b)?;
    println!("lb import said:\n{report}");
    let new_b = Agent::start_again(b)?;
    new_b.wait_for_role(agent::Role::Backup, SOON)?;
    hears(&new_b)?;
    ensure!(old_a.keepalived.state() == Some(Role::Master));
    println!(
        "{:?}: lb-b runs lb, beside keepalived on lb-a",
        began.elapsed()
    );

    // Then the Elastic IP moves to the host that runs lb, and keepalived on the other host becomes
    // the standby.
    let old_a = site.hand_over(old_a)?;
    site.serves(1)?;
    new_b.wait_for_role(agent::Role::Master, SOON)?;
    std::thread::sleep(TAKEOVER * 2);
    let states = old_a.keepalived.states();
    ensure!(
        states == [Role::Backup],
        "beside lb, keepalived became {states:?}:\n{}",
        old_a.keepalived.log()
    );
    println!(
        "{:?}: lb on lb-b serves, keepalived on lb-a hears it",
        began.elapsed()
    );

    // The other host is changed to lb as well. The agents get a link to each other, over which the
    // active role is handed over.
    old_a.stop()?;
    a.write(KEEPALIVED_FILE, KEEPALIVED)?;
    site.import(a)?;
    site.link(&new_b)?;
    let new_a = Agent::start_again(a)?;
    new_a.wait_for_role(agent::Role::Master, SOON)?;
    new_b.wait_for_role(agent::Role::Backup, SOON)?;
    site.serves(0)?;
    println!("{:?}: lb on lb-a serves", began.elapsed());
    count(load.done() + 100)?;

    let report = load.stop()?;
    let rate = report.answers.len() as f64 / began.elapsed().as_secs_f64();
    for failure in &report.failures {
        let begun = failure.began.duration_since(began);
        println!("failed, begun after {begun:?}: {}", failure.why);
    }
    println!(
        "{} requests answered, {rate:.0} per second, {} failed; the longest took {:?}",
        report.answers.len(),
        report.failures.len(),
        report.longest()
    );
    report.all_answered()?;
    ensure!(report.shares().len() == 4, "{:?}", report.shares());
    ensure!(rate > 30.0, "only {rate} requests per second were sent");
    whole_import_is_accepted(a)
}

/// Two balancers with the EC2 API of moto, and a gateway that follows the Elastic IP.
struct Site {
    follower: Follower,
    ec2: Arc<Moto>,
    _imds: Imds,
    lab: Lab,
}

impl Site {
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        let ec2 = lab.moto()?;
        ec2.move_to(None)?;
        let gateway = Some(lab.internet_gateway.host());
        let site = Self {
            follower: lab.internet_gateway.follow_ec2(&ec2),
            _imds: Imds::start(gateway, METADATA, Instance::of(&*ec2))?,
            ec2,
            lab,
        };
        let certificate = site.lab.authority.certify(SITE)?.pem();
        for (host, interface) in site.lab.balancers.iter().zip(site.ec2.interfaces()) {
            // The hosts of the test network share the machine's `/etc`, so each host gets a copy of
            // its own.
            host.script("cp -a /etc /run/etc\nmount --bind /run/etc /etc\nmkdir -p /etc/lb")?;
            let names = format!("127.0.0.1 localhost {}\n", host.name());
            host.write("/etc/hosts", names)?;
            host.write(CERTIFICATE_FILE, &certificate)?;
            host.write(HAPROXY_FILE, HAPROXY)?;
            let aws = aws_cli().display().to_string();
            let script = SCRIPT
                .replace("/usr/bin/aws", &aws)
                .replace("i-010d3d18ec00cd116", &interface.instance_id);
            executable(host, SCRIPT_FILE, &script)?;
            // Debian's pidof is a link to killall5, and keepalived runs a program under the name
            // that a link leads to. Elsewhere pidof is a program of its own.
            executable(
                host,
                "/run/bin/pidof",
                "#!/bin/sh\nexec /bin/pidof \"$@\"\n",
            )?;
            let environment = environment();
            let environment = environment.map(|(name, value)| format!("{name}={value}\n"));
            host.write(ENVIRONMENT_FILE, environment.concat())?;
        }
        Ok(site)
    }

    /// Returns the parameters of a load that opens a new connection for every request, 50 times a
    /// second.
    fn requests(&self) -> Result<Plan> {
        Ok(Plan {
            host: SITE.to_owned(),
            connections: 10,
            reuse: Reuse::Never,
            pause: Duration::from_millis(185),
            patience: Duration::from_secs(15),
            ..Plan::https(&self.lab)?
        })
    }

    /// Waits until packets to the Elastic IP go to a balancer.
    fn serves(&self, balancer: usize) -> Result<()> {
        self.follower.wait_for(BALANCERS[balancer].1, SOON)
    }

    /// Imports HAProxy's and keepalived's files of a host to a configuration of lb for use beside
    /// keepalived, makes the edits that the report names, and checks the result. Returns the
    /// report.
    fn import(&self, host: &Host) -> Result<String> {
        let report = import(host, CONFIG_FILE, &["--keepalived-peer"])?;
        let written = host.read(CONFIG_FILE)?;
        ensure!(written.contains("name = \"lb-a\"") && written.contains(ZEROS));
        let command = (report.lines())
            .find_map(|line| line.split_once(": aws ").map(|(_, rest)| rest))
            .with_context(|| format!("the report names no command:\n{report}"))?;
        let aws = aws_cli().display().to_string();
        let mut shell = host.command("sh");
        shell
            .args(["-ec", &format!("{aws} {command}")])
            .envs(environment());
        let output = shell.output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let allocation = printed.trim().trim_matches('"');
        ensure!(
            allocation == self.ec2.allocation_id(),
            "{command} printed {output:?}"
        );
        let name = format!("name = \"{}\"", host.name());
        let edited = written
            .replace(ZEROS, allocation)
            .replacen("name = \"lb-a\"", &name, 1);
        host.write(CONFIG_FILE, edited)?;
        check(host, CONFIG_FILE)?;
        Ok(report)
    }

    /// Lets the other host take over from keepalived on `lb-a`, which becomes the standby.
    fn hand_over(&self, old: Old) -> Result<Old> {
        let host = self.lab.lb_a();
        let Old {
            haproxy,
            keepalived,
            ..
        } = old;
        // From here on `lb-a` drops the SYNs of new connections, so that all connections on it
        // have ended before the other host takes over. A client sends a dropped SYN again after a
        // second, and by then it reaches the other host.
        host.script(
            "nft add table ip moving\n\
             nft add chain ip moving input '{ type filter hook input priority 0; }'\n\
             nft add rule ip moving input tcp dport 443 'tcp flags & (syn | ack) == syn' drop",
        )?;
        wait::until_true("the end of the last connection", SOON, || {
            let open = [
                "-Htn",
                "state",
                "connected",
                "exclude",
                "time-wait",
                "sport",
                "=",
                ":443",
            ];
            Ok(host.run("ss", &open)?.trim().is_empty())
        })?;
        keepalived.stop()?;
        let standby = KEEPALIVED
            .replace("state MASTER", "state BACKUP")
            .replace("priority 110", "priority 90");
        let keepalived = start_keepalived(host, &standby)?;
        self.serves(1)?;
        host.script("nft delete table ip moving")?;
        Ok(Old {
            haproxy,
            keepalived,
        })
    }

    /// Adds the link between the agents to the configurations of both hosts, and puts it in force
    /// on `lb-b`, whose agent serves.
    fn link(&self, active: &Agent) -> Result<()> {
        let (a, b) = (self.lab.lb_a(), self.lab.lb_b());
        let lb = agent::binary()?;
        let lb = lb.to_str().context("the path of lb is not UTF-8")?;
        a.run(lb, &["peer", "init", "--out", SECRET_FILE])?;
        b.write(SECRET_FILE, a.read(SECRET_FILE)?)?;
        for host in [a, b] {
            let written = host.read(CONFIG_FILE)?;
            let link = format!("\n[ha.link]\nsecret_file = \"{SECRET_FILE}\"\n");
            host.write(CONFIG_FILE, written + &link)?;
            check(host, CONFIG_FILE)?;
        }
        println!("{}", active.operate(&["upgrade"])?);
        Ok(())
    }
}

/// HAProxy and keepalived on a host.
struct Old {
    haproxy: Process,
    keepalived: Keepalived,
}

impl Old {
    fn start(host: &Host, keepalived: &str) -> Result<Self> {
        // HAProxy has no `reqadd` since version 2.1: `http-request add-header` has the same effect
        // in later versions.
        let text = HAPROXY.replace(
            "reqadd X-Forwarded-Proto:\\ https",
            "http-request add-header X-Forwarded-Proto https",
        );
        host.write("/run/haproxy/haproxy.cfg", text)?;
        let haproxy = host.spawn(
            "haproxy",
            "haproxy",
            &["-db", "-f", "/run/haproxy/haproxy.cfg"],
        )?;
        host.wait_for_port(SocketAddr::from(([127, 0, 0, 1], 443)), SOON)
            .with_context(|| haproxy.log())?;
        host.write(KEEPALIVED_FILE, keepalived)?;
        let keepalived = start_keepalived(host, keepalived)?;
        Ok(Self {
            haproxy,
            keepalived,
        })
    }

    fn stop(mut self) -> Result<()> {
        self.keepalived.stop()?;
        self.haproxy.signal(nix::sys::signal::Signal::SIGTERM)?;
        self.haproxy.wait(SOON).map(drop)
    }
}

fn start_keepalived(host: &Host, configuration: &str) -> Result<Keepalived> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("/run/bin:{path}");
    let mut variables: Vec<_> = environment().into();
    variables.push(("PATH", path));
    Keepalived::start_with(host, configuration, variables)
}

/// Returns keepalived's configuration file for the second host, whose priority is lower.
fn of_the_standby(configuration: &str) -> String {
    configuration
        .replace("172.31.0.68", "172.31.0.x")
        .replace("172.31.15.233", "172.31.0.68")
        .replace("172.31.0.x", "172.31.15.233")
        .replace("state MASTER", "state BACKUP")
        .replace("priority 110", "priority 100")
}

/// Returns the environment variables that make the AWS CLI and the agent call the EC2 API of the
/// tests. Their credentials are those of the IAM role that the metadata service has for the host.
fn environment() -> [(&'static str, String); 2] {
    [
        ("AWS_ENDPOINT_URL_EC2", format!("http://{EC2_API}")),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
    ]
}

fn executable(host: &Host, file: &str, text: &str) -> Result<()> {
    host.write(file, text)?;
    fs::set_permissions(host.path(file), Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs `lb import` on the three files of a host, and returns its report.
fn import(host: &Host, output: &str, more: &[&str]) -> Result<String> {
    let lb: PathBuf = agent::binary()?;
    let files = ["--haproxy", HAPROXY_FILE, "--keepalived", KEEPALIVED_FILE];
    let mut command = host.command(lb);
    command
        .arg("import")
        .args(files)
        .args(["--script", SCRIPT_FILE]);
    let run = command.args(["--output", output]).args(more).output()?;
    let report = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(
        run.status.success(),
        "lb import ended with {}: {report}",
        run.status
    );
    Ok(report)
}

fn check(host: &Host, file: &str) -> Result<()> {
    let lb = agent::binary()?;
    let lb = lb.to_str().context("the path of lb is not UTF-8")?;
    host.run(lb, &["check", "--config", file]).map(drop)
}

/// Waits until the agent has received adverts from keepalived, and refused none.
fn hears(agent: &Agent) -> Result<()> {
    let sum = |metrics: &agent::Metrics, what: &str| {
        metrics.sum(&format!("lb_vrrp_adverts_{what}_total"), &[])
    };
    let metrics = agent.wait_for_metrics("adverts of keepalived", SOON, |metrics| {
        sum(metrics, "received") >= 5.0
    })?;
    ensure!(sum(&metrics, "refused") == 0.0, "adverts were refused");
    Ok(())
}

/// Imports HAProxy's and keepalived's files for a pair of which both hosts run lb: with a link
/// between the agents, and with certificates that lb obtains itself. Checks that lb accepts the
/// resulting configuration without an edit.
fn whole_import_is_accepted(host: &Host) -> Result<()> {
    let file = "/run/lb/whole.toml";
    import(host, file, &[])?;
    let written = host.read(file)?;
    for table in ["[ha.link]", "[acme]", "domains = [\"alexmis4iti78.me\"]"] {
        ensure!(written.contains(table), "there is no {table}:\n{written}");
    }
    check(host, file)
}
