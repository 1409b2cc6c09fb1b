//! The measured pairs with HAProxy and keepalived on both hosts, and a notify script that moves the
//! Elastic IP.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{
    Host, Lab, Process,
    ec2::{Ec2, FakeEc2, REGION},
    keepalived::{Keepalived, KeepalivedSettings, Role, TrackedScript},
    topology::{BALANCERS, BALANCERS_PREFIX, ELASTIC_IP, SITE, VIRTUAL_IP},
};

use super::{Balancers, LIMIT, Setup};

/// Time-out for HAProxy or keepalived to start.
const STARTING: Duration = Duration::from_secs(10);

const HAPROXY_FILE: &str = "/run/haproxy/haproxy.cfg";
const CERTIFICATE_FILE: &str = "/run/haproxy/site.pem";
const SCRIPT: &str = "/run/keepalived/failover.sh";
const CHECK: &str = "/run/keepalived/check_haproxy.sh";

/// A pair of hosts, each with HAProxy and keepalived.
pub(super) struct Peers {
    first: Host,
    haproxies: [Option<Process>; 2],
    keepaliveds: [Keepalived; 2],
    rhythm: Duration,
}

impl Peers {
    pub(super) fn start(lab: &Lab, ec2: &FakeEc2, setup: Setup) -> Result<Self> {
        let certificate = lab.authority.certify(SITE)?.pem();
        for (host, interface) in lab.balancers.iter().zip(ec2.interfaces()) {
            host.write(CERTIFICATE_FILE, &certificate)?;
            host.write(HAPROXY_FILE, haproxy(lab))?;
            host.write(SCRIPT, script(ec2, &interface.instance_id))?;
            // keepalived runs the target of a symbolic link to a script. Debian's `pidof` is a link
            // to `killall5`, which behaves differently under its own name, so a script calls it.
            host.write(CHECK, "#!/bin/sh\npidof haproxy\n")?;
            for script in [SCRIPT, CHECK] {
                fs::set_permissions(host.path(script), Permissions::from_mode(0o700))?;
            }
        }
        let haproxies = [start_haproxy(lab.lb_a(), 0)?, start_haproxy(lab.lb_b(), 1)?];
        let settings = [0, 1].map(|balancer| keepalived(setup, balancer));
        Ok(Self {
            first: lab.lb_a().clone(),
            haproxies: haproxies.map(Some),
            keepaliveds: [
                Keepalived::start(lab.lb_a(), &settings[0])?,
                Keepalived::start(lab.lb_b(), &settings[1])?,
            ],
            rhythm: check(setup),
        })
    }
}

impl Balancers for Peers {
    fn rhythm(&self) -> Duration {
        self.rhythm
    }

    fn kill(&mut self) -> Result<()> {
        let mut haproxy = self.haproxies[0].take().context("HAProxy does not run")?;
        haproxy.kill()
    }

    fn restart(&mut self) -> Result<()> {
        self.haproxies[0] = Some(start_haproxy(&self.first, 0)?);
        Ok(())
    }

    fn wait_until_calm(&self) -> Result<()> {
        self.keepaliveds[0].wait_for(Role::Master, LIMIT)?;
        self.keepaliveds[1].wait_for(Role::Backup, LIMIT)
    }
}

/// Returns the interval of keepalived's check of HAProxy: a second is the shortest that keepalived
/// supports.
fn check(setup: Setup) -> Duration {
    match setup {
        Setup::Tuned => Duration::from_secs(1),
        Setup::Usual | Setup::Lb => Duration::from_secs(5),
    }
}

/// Returns keepalived's configuration on one balancer: the usual one, or the one with the fastest
/// settings.
fn keepalived(setup: Setup, balancer: usize) -> KeepalivedSettings {
    let (source, peer) = (BALANCERS[balancer].1, BALANCERS[1 - balancer].1);
    let usual = KeepalivedSettings {
        state: [Role::Master, Role::Backup][balancer],
        priority: [110, 100][balancer],
        version: 2,
        advert_interval: Duration::from_secs(1),
        track_script: Some(TrackedScript {
            command: CHECK.to_owned(),
            interval: check(setup),
            rise: 2,
            fall: 2,
        }),
        notify_master: Some(SCRIPT.to_owned()),
        ..KeepalivedSettings::between(source.into(), peer.into())
    };
    match setup {
        Setup::Usual | Setup::Lb => usual,
        Setup::Tuned => KeepalivedSettings {
            version: 3,
            advert_interval: Duration::from_millis(100),
            // keepalived does not start in VRRP version 3 without a virtual address.
            virtual_addresses: vec![format!("{VIRTUAL_IP}/{BALANCERS_PREFIX}")],
            ..usual
        },
    }
}

/// Returns a usual notify script of keepalived that moves the Elastic IP. Its two API calls are
/// made with curl, because the AWS CLI takes half a second longer for each.
fn script(ec2: &FakeEc2, instance_id: &str) -> String {
    let endpoint = ec2.endpoint();
    format!(
        "#!/bin/sh\n\
         call() {{\n  \
           curl -sS -d \"$1&Version=2016-11-15\" {endpoint} \\\n    \
             -H 'Authorization: AWS4-HMAC-SHA256 Credential=usual/20260101/{REGION}/ec2/aws4_request'\n\
         }}\n\
         call 'Action=DisassociateAddress&PublicIp={ELASTIC_IP}'\n\
         call 'Action=AssociateAddress&PublicIp={ELASTIC_IP}&InstanceId={instance_id}'\n"
    )
}

fn start_haproxy(host: &Host, balancer: usize) -> Result<Process> {
    let haproxy = host.spawn("haproxy", "haproxy", &["-db", "-f", HAPROXY_FILE])?;
    let address: Ipv4Addr = BALANCERS[balancer].1;
    host.wait_for_port(SocketAddr::from((address, 443)), STARTING)
        .with_context(|| haproxy.log())?;
    Ok(haproxy)
}

/// Returns a usual configuration of HAProxy that terminates TLS.
fn haproxy(lab: &Lab) -> String {
    let servers: String = (lab.webs.iter())
        .map(|web| format!("  server {} {} check\n", web.name(), web.address()))
        .collect();
    format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         frontend http_front\n  bind *:443 ssl crt {CERTIFICATE_FILE}\n  \
         http-request set-header X-Forwarded-Proto https\n  default_backend http_back\n\
         backend http_back\n  balance roundrobin\n{servers}"
    )
}
