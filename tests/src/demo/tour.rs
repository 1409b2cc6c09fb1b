//! Prints commands to try while the demo's lab is running.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lab::{
    Host,
    agent::{ADMIN, CONFIG_FILE, PINS, binary},
    forward,
    topology::{CA_FILE, ELASTIC_IP, SITE},
};

use super::{Stage, screen::Tone};

/// Opens forwarders from this machine's loopback to hosts of the test network, and prints commands
/// that use them.
///
/// # Errors
/// When no port is available on loopback.
pub(crate) fn offer(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let door = |host: &Host, target: SocketAddr| forward::open(host, target);
    let elastic = |port| SocketAddr::from((ELASTIC_IP, port));
    let http = door(&lab.client, elastic(80))?;
    let https = door(&lab.client, elastic(443))?;
    let admins = [lab.lb_a(), lab.lb_b()].map(|host| door(host, ADMIN.parse()?));
    let [admin_a, admin_b] = admins;
    let (admin_a, admin_b) = (admin_a?, admin_b?);
    let igw = lab.internet_gateway.host();
    let lb = binary()?;
    let lb = lb.display();
    let web2 = lab.webs.get(1).context("there is no web2")?.host();

    stage
        .screen
        .headline("The lab is running. Try these commands in another terminal:");
    say(
        stage,
        "from this machine, through the Elastic IP",
        &[
            format!("curl http://{http}/"),
            format!("curl -k https://{https}/headers"),
            format!("curl http://{admin_a}/metrics"),
            format!("curl http://{admin_b}/metrics   # lb-b"),
        ],
    );
    let on = |host: &Host, command: String| format!("sudo nsenter -t {} -a {command}", host.pid());
    say(
        stage,
        "the pair",
        &[
            on(lab.lb_a(), format!("{lb} status")),
            on(lab.lb_b(), format!("{lb} status")),
            on(lab.lb_a(), format!("{lb} failover")),
            on(
                igw,
                "ip link set lb-a down       # cuts lb-a off; up restores it".to_owned(),
            ),
        ],
    );
    say(
        stage,
        "on the balancer",
        &[
            on(lab.lb_a(), format!("{lb} backend drain web2")),
            on(lab.lb_a(), format!("{lb} backend ready web2")),
            on(lab.lb_a(), format!("cat {CONFIG_FILE}")),
            on(
                lab.lb_a(),
                format!("bpftool map dump pinned {PINS}/maps/services"),
            ),
        ],
    );
    say(
        stage,
        "on a web server, and on the client",
        &[
            on(web2, "pkill -KILL nginx".to_owned()),
            on(
                &lab.client,
                format!("curl --cacert {CA_FILE} https://{SITE}/"),
            ),
        ],
    );
    println!("\nPress Ctrl-C to stop; nothing is left behind.");
    Ok(())
}

fn say(stage: &Stage, where_: &str, commands: &[String]) {
    println!("  {}", stage.screen.tinted(Tone::Dim, where_));
    for command in commands {
        println!("    {command}");
    }
}
