//! The pair with real keepalived.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Host,
    cable::{self, End},
    keepalived::{Keepalived, KeepalivedSettings, Role},
};

const SECONDS: Duration = Duration::from_secs(5);

#[test]
fn two_keepalived_agree_and_hand_over() -> Result<()> {
    let (left, right) = (Host::raise("left")?, Host::raise("right")?);
    cable::connect(End::new(&left, "eth0"), End::new(&right, "eth0"))?;
    let [a, b] = [1, 2].map(|last| IpAddr::from([10, 77, 0, last]));
    for (host, address) in [(&left, a), (&right, b)] {
        host.script(&format!("ip address add {address}/24 dev eth0"))?;
    }
    let mut strong = KeepalivedSettings::between(a, b);
    strong.priority = 150;
    strong.virtual_addresses = vec!["10.77.0.100/24".to_owned()];
    let mut weak = KeepalivedSettings::between(b, a);
    weak.virtual_addresses = strong.virtual_addresses.clone();

    let master = Keepalived::start(&left, &strong)?;
    let backup = Keepalived::start(&right, &weak)?;
    master.wait_for(Role::Master, SECONDS)?;
    assert_eq!(backup.state(), Some(Role::Backup));
    let killed = Instant::now();
    master.kill9()?;
    backup.wait_for(Role::Master, SECONDS)?;
    let silence = killed.elapsed();
    ensure!(
        silence > weak.takeover() - 2 * weak.advert_interval,
        "a keepalived that was killed said goodbye: its backup was master after {silence:?}"
    );
    let master = Keepalived::start(&left, &strong)?;
    master.wait_for(Role::Master, SECONDS)?;
    backup.wait_for(Role::Backup, SECONDS)?;
    let stopped = Instant::now();
    master.stop()?;
    backup.wait_for(Role::Master, SECONDS)?;
    println!("killed: {silence:?}, stopped: {:?}", stopped.elapsed());
    Ok(())
}
