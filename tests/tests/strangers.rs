//! Other hosts on the network send packets to the pair, which are counted and have no other effect.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Scene,
    advert::{Forged, overhear, send},
    agent::{Metrics, Watch},
    host::joined,
    load::trust,
    topology::{BALANCERS, SITE},
};
use rustls::{ClientConfig, ClientConnection, Stream};

/// Number of packets or connections of each kind that are sent.
const TIMES: usize = 20;

/// The address at which one agent of the pair accepts the TLS connection of the other: the host
/// with the higher address listens, the other host connects.
const LINK: SocketAddr = SocketAddr::new(IpAddr::V4(BALANCERS[1].1), 9146);

const SOON: Duration = Duration::from_secs(5);

const KEY_FILE: &str = "/run/lb/adverts.key";

/// An address in the balancers' network that belongs to no balancer.
const STRANGER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn adverts_that_are_wrong_are_counted_and_change_nothing() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let [(_, a), (_, b)] = BALANCERS else {
        unreachable!("two balancers")
    };
    for (target, source, destination) in [(0, *b, *a), (1, *a, *b)] {
        let right = Forged::from(source, destination);
        let wrong = [
            (
                "source",
                Forged {
                    source: STRANGER,
                    ..right.clone()
                },
            ),
            (
                "checksum",
                Forged {
                    checksum: false,
                    ..right.clone()
                },
            ),
            (
                "router_id",
                Forged {
                    virtual_router_id: 42,
                    ..right.clone()
                },
            ),
            (
                "too_short",
                Forged {
                    cut: Some(5),
                    ..right.clone()
                },
            ),
            (
                "length",
                Forged {
                    trailer: vec![0xff; 60],
                    ..right.clone()
                },
            ),
        ];
        for (reason, forged) in wrong {
            refused(&scene, target, reason, vec![forged.packet(); TIMES])?;
        }
    }
    Ok(())
}

#[test]
fn signed_adverts_are_not_to_be_forged_or_replayed() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    for host in &lab.balancers {
        host.write(KEY_FILE, "what-both-hosts-know-and-nobody-else-does\n")?;
    }
    let mut scene = Scene::raise_in(lab, |settings| {
        for settings in settings {
            if let Some(ha) = &mut settings.ha {
                ha.more = format!("hmac_key_file = \"{KEY_FILE}\"");
            }
        }
    })?;
    let (a, b) = (BALANCERS[0].1, BALANCERS[1].1);
    let right = Forged::from(a, b);
    refused(&scene, 1, "unsigned", vec![right.packet(); TIMES])?;
    let signed = Forged {
        trailer: vec![0x42; 28],
        ..right
    };
    // Which part of a forged trailer with an HMAC the agent finds wrong first is not determined, so
    // any reason is accepted.
    refused(&scene, 1, "", vec![signed.packet(); TIMES])?;

    let heard = overhear(&scene.pair.host(1).clone(), TIMES, SOON)?;
    let from_a = |packet: &&Vec<u8>| packet.get(12..16) == Some(&a.octets()[..]);
    ensure!(heard.iter().filter(from_a).count() == TIMES);
    refused(&scene, 1, "", heard.clone())?;

    // Replayed adverts of a dead host do not make it look alive.
    let moves = scene.ec2.moves();
    scene.pair.take(0)?.sigkill()?;
    let gateway = scene.lab.internet_gateway.host().clone();
    for _ in 0..10 {
        send(&gateway, heard.clone())?;
        thread::sleep(Duration::from_millis(100));
    }
    scene.wait_until_owner(1, Duration::ZERO)?;
    ensure!(scene.ec2.moves() == moves + 1);
    Ok(())
}

#[test]
fn strangers_at_the_link_are_counted_and_change_nothing() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    // Connections come from an address other than the peer's, and from the peer's address.
    for from in [scene.lab.internet_gateway.host(), scene.lab.lb_a()] {
        unimpressed(&scene, from, talk_junk)?;
        let tls = trust(&scene.lab.authority)?;
        unimpressed(&scene, from, move || shake_hands(&tls))?;
    }
    Ok(())
}

#[test]
fn connections_that_say_nothing_do_not_keep_the_peer_out() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    scene.pair.take(0)?.sigkill()?;
    scene.wait_until_owner(1, SOON)?;
    let connect = || {
        // The host refuses connections above its limit, so some of these attempts fail.
        let connect = |_| TcpStream::connect_timeout(&LINK, Duration::from_millis(200)).ok();
        Ok((0..200).filter_map(connect).collect::<Vec<_>>())
    };
    let idle = joined(scene.lab.lb_a().inside(connect))?;
    ensure!(idle.len() > 8, "only {} connections were taken", idle.len());
    scene.pair.start_again(0)?;
    scene.wait_until_agreed(0)?;
    drop(idle);
    Ok(())
}

fn talk_junk() -> Result<()> {
    for round in 0..TIMES {
        let mut stream = TcpStream::connect_timeout(&LINK, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        let length = 1 << (round % 14);
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + round) as u8).collect();
        // The host may close the connection before everything is sent.
        drop(stream.write_all(&bytes));
        drop(stream.shutdown(Shutdown::Write));
        drop(stream.read(&mut [0; 64]));
    }
    Ok(())
}

/// Attempts TLS handshakes with the agent at [`LINK`], as a host without the pair's secret would.
fn shake_hands(tls: &Arc<ClientConfig>) -> Result<()> {
    for _ in 0..TIMES {
        let mut socket = TcpStream::connect_timeout(&LINK, SOON)?;
        socket.set_read_timeout(Some(SOON))?;
        let mut client = ClientConnection::new(Arc::clone(tls), SITE.try_into()?)?;
        let read = Stream::new(&mut client, &mut socket).read(&mut [0; 64]);
        ensure!(!matches!(read, Ok(1..)), "the link talks to a stranger");
    }
    Ok(())
}

/// Sends adverts from the gateway to a balancer, and checks that all of them are refused, for the
/// given reason unless `reason` is empty.
fn refused(scene: &Scene, target: usize, reason: &str, packets: Vec<Vec<u8>>) -> Result<()> {
    let labels: &[_] = if reason.is_empty() {
        &[]
    } else {
        &[("reason", reason)]
    };
    let agent = scene.pair.agent(target)?;
    let count = |metrics: &Metrics| metrics.sum("lb_vrrp_adverts_refused_total", labels);
    let before = count(&agent.metrics()?);
    let sent = packets.len() as f64;
    undisturbed(scene, || {
        send(scene.lab.internet_gateway.host(), packets)?;
        let what = format!("{sent} adverts to be refused: {reason}");
        agent
            .wait_for_metrics(&what, SOON, |metrics| count(metrics) >= before + sent)
            .map(drop)
    })
    .with_context(|| format!("adverts that are wrong: {reason}"))
}

/// Runs `speak`, which connects to the agent at [`LINK`], on a host, and checks that the agent
/// counts every attempt and that nothing else changes.
fn unimpressed(
    scene: &Scene,
    from: &Host,
    speak: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let agent = scene.pair.agent(1)?;
    let count = |metrics: &Metrics| metrics.sum("lb_peer_link_refused_total", &[]);
    let before = count(&agent.metrics()?);
    undisturbed(scene, || {
        joined(from.inside(speak))?;
        let due = before + TIMES as f64;
        let what = format!("what {} said to be counted", from.name());
        agent
            .wait_for_metrics(&what, SOON, |metrics| count(metrics) >= due)
            .map(drop)
    })
}

/// Checks that during `meanwhile` neither role changes, the Elastic IP does not move, and the link
/// between the agents stays up.
fn undisturbed(scene: &Scene, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let moves = scene.ec2.moves();
    let watch = Watch::start(&scene.lab.balancers);
    thread::sleep(Duration::from_millis(100));
    meanwhile()?;
    // An effect of the packets would show by the time at which the next adverts are due.
    thread::sleep(Duration::from_millis(500));
    let timeline = watch.stop()?;
    for host in [0, 1] {
        let roles = timeline.roles(host);
        ensure!(roles.len() == 1, "{host} was {roles:?}");
        let links = timeline.hosts[host]
            .iter()
            .filter(|seen| seen.role.is_some())
            .all(|seen| seen.metrics.sum("lb_peer_link_up", &[]) == 1.0);
        ensure!(links, "the link of {host} was down");
    }
    ensure!(scene.ec2.moves() == moves, "the address moved");
    scene.wait_until_agreed(0)
}
