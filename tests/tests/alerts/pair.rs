//! Alerts about the pair.

use std::time::Duration;

use anyhow::Result;
use lab::{
    Lab, Scene,
    advert::{Forged, send},
    agent::{Pair, Settings},
    partition::{Lost, Way},
    topology::BALANCERS,
};

use super::{OF_THE_PAIR, OF_VIRTUAL_IPS, SOON, Watched};

/// A tracked script that fails while the file `/run/lb/broken` exists, and a command of
/// `[ha.notify]` that always fails.
const TRACKED: &str = r#"
[[ha.track]]
name = "file"
command = ["/usr/bin/test", "!", "-e", "/run/lb/broken"]
interval = "500ms"
timeout = "500ms"

[ha.notify]
fault = ["/bin/false"]
"#;

pub(super) fn the_elastic_ip_the_roles_and_the_link() -> Result<()> {
    let mut scene = Scene::raise_with(|settings| {
        for one in settings {
            *one = one.clone().monitored();
            if let Some(ha) = &mut one.ha {
                ha.more = TRACKED.to_owned();
                // The intervals between adverts are long, so that a busy machine does not look like
                // a lost host.
                ha.advert_interval = Duration::from_millis(500);
            }
        }
    })?;
    let mut watched = Watched::raise(&scene.lab, OF_THE_PAIR, 9.0, &[])?;

    // Adverts with wrong checksums arrive, sent by the gateway. The alert LbAdvertsRefused counts
    // adverts of the last two minutes, so this cause comes first.
    let wrong = Forged {
        checksum: false,
        ..Forged::from(BALANCERS[0].1, BALANCERS[1].1)
    };
    send(scene.lab.internet_gateway.host(), vec![wrong.packet(); 20])?;
    watched.fire(&["LbAdvertsRefused"], SOON)?;

    // The Elastic IP is moved by hand, and the EC2 API does not let the active host take it back.
    scene.ec2.deny("AssociateAddress");
    scene.ec2.move_to(Some(1));
    watched.fire(&["LbElasticIpElsewhere", "LbElasticIpCallsFail"], SOON)?;
    scene.ec2.restore();
    watched.clear(&["LbElasticIpElsewhere"], SOON)?;
    scene.wait_until_agreed(0)?;

    // A tracked script fails on one host, then on both.
    for host in &scene.lab.balancers {
        host.write("/run/lb/broken", "")?;
        let alerts = ["LbTrackedItemFails", "LbHostFault", "LbNotifyFails"];
        watched.fire(&alerts, SOON)?;
    }
    watched.fire(&["LbNoActiveHost"], SOON)?;
    for host in &scene.lab.balancers {
        host.run("rm", &["/run/lb/broken"])?;
    }
    let alerts = ["LbNoActiveHost", "LbHostFault", "LbTrackedItemFails"];
    watched.clear(&alerts, SOON)?;
    scene.wait_until_agreed(0)?;

    // Adverts and the link between the agents are both lost: the host that has the Elastic IP stays
    // active, and the other host steps back.
    let partition = scene.lab.part(Lost::Everything, Way::Both)?;
    watched.fire(&["LbSteppedBack", "LbPeerLinkDown"], SOON)?;
    partition.heal()?;
    watched.clear(&["LbSteppedBack", "LbPeerLinkDown"], SOON)?;
    scene.wait_until_agreed(0)?;

    // The EC2 API is not reachable for more than 30 s. Meanwhile the node_exporter of a web server
    // stops answering.
    scene.ec2.close();
    watched.monitor.kill_exporter("web2")?;
    watched.fire(&["NodeExporterDown"], SOON)?;
    let web2 = scene.lab.web("web2")?.host().clone();
    watched.monitor.start_exporter(&web2)?;
    watched.clear(&["NodeExporterDown"], SOON)?;
    watched.fire(&["LbElasticIpUnconfirmed"], SOON)?;
    scene.ec2.open()?;
    watched.clear(&["LbElasticIpUnconfirmed"], SOON)?;

    scene.pair.take(1)?.sigkill()?;
    watched.fire(&["LbAgentDown"], SOON)?;
    scene.pair.start_again(1)?;
    watched.clear(&["LbAgentDown"], SOON)?;
    scene.wait_until_agreed(0)?;
    watched.end()
}

pub(super) fn two_active_hosts_and_a_role_that_flaps() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::virtual_pair(&lab).map(Settings::monitored);
    let mut pair = Pair::start(&lab, &settings)?;
    let mut watched = Watched::raise(&lab, OF_VIRTUAL_IPS, 9.0, &[])?;

    // The standby starts while the link between the agents is down, and so does not get the active
    // host's flows.
    let partition = lab.part(Lost::Link, Way::Both)?;
    pair.take(1)?.sigkill()?;
    pair.start_again(1)?;
    watched.fire(&["LbFlowsNotSynced"], SOON)?;
    partition.heal()?;
    watched.clear(&["LbFlowsNotSynced"], SOON)?;
    pair.wait_until_agreed(0)?;

    let partition = lab.part(Lost::Everything, Way::Both)?;
    watched.fire(&["LbTwoActiveHosts"], SOON)?;
    partition.heal()?;
    watched.clear(&["LbTwoActiveHosts"], SOON)?;
    pair.wait_until_agreed(0)?;

    for from in [0, 1, 0, 1] {
        pair.agent(from)?.operate(&["failover"])?;
        pair.wait_until_agreed(1 - from)?;
    }
    watched.fire(&["LbRoleFlapping"], SOON)?;
    watched.end()
}
