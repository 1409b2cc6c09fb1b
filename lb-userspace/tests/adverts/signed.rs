//! Tests of adverts that are authenticated by the HMAC of keepalived 2.4.
//!
//! The test with a real keepalived needs version 2.4 or later (Debian 12 has 2.2.7). To run it:
//! `LB_KEEPALIVED_2_4=PATH cargo test -p lb-userspace --test adverts signed -- --ignored`.

use std::{
    env,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use lab::keepalived::{Keepalived, KeepalivedSettings, Role};

use crate::stage::{Ours, SOON, Setup, Stage};

/// The key of the HMAC, which both hosts share.
pub(crate) const SECRET: [u8; 32] = [7; 32];

/// A setup of VRRP whose HMAC key is in a temporary file.
pub(crate) struct Signed {
    pub(crate) setup: Setup,
    file: PathBuf,
}

impl Signed {
    pub(crate) fn new() -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lb-adverts-{}-{number}.key", std::process::id());
        let file = env::temp_dir().join(name);
        writeln!(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&file)?,
            "{}",
            key()
        )?;
        let more = format!("hmac_key_file = \"{}\"", file.display());
        let setup = Setup::with(&more);
        Ok(Self { setup, file })
    }
}

impl Drop for Signed {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

fn key() -> String {
    let digits: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex:{digits}")
}

#[test]
#[ignore = "needs keepalived 2.4 or later, named in LB_KEEPALIVED_2_4"]
fn keepalived_and_we_believe_each_other_s_signatures() -> Result<()> {
    let program = env::var("LB_KEEPALIVED_2_4").context("LB_KEEPALIVED_2_4 names no keepalived")?;
    let signed = Signed::new()?;
    let plain = &signed.setup;
    let ipv6 = Setup {
        ipv6: true,
        ..plain.clone()
    };
    let version_2 = Setup {
        version: 2,
        ..plain.clone()
    };
    for unicast in [plain, &ipv6, &version_2] {
        for multicast in [false, true] {
            let setup = Setup {
                multicast,
                ..unicast.clone()
            };
            both_ways(&program, &setup).with_context(|| format!("{setup:?}"))?;
        }
    }
    Ok(())
}

fn both_ways(program: &str, setup: &Setup) -> Result<()> {
    let stage = Stage::raise()?;
    let mut ours = Ours::open(&stage, setup)?;
    let settings = KeepalivedSettings {
        program: program.to_owned(),
        hmac_key: Some(key()),
        ..setup.keepalived()
    };
    let keepalived = Keepalived::start(&stage.theirs, &settings)?;
    keepalived.wait_for(Role::Master, SOON)?;
    let heard = ours.hear(SOON)?;
    ensure!(
        heard.advert.priority.get() == settings.priority,
        "{heard:?}"
    );
    let counters = ours.counters();
    ensure!(counters.all_refused() == 0, "{counters:?}");

    let advertising = ours.advertise(200, setup.interval());
    keepalived.wait_for(Role::Backup, SOON)?;
    std::thread::sleep(settings.takeover() * 2);
    let states = keepalived.states();
    ensure!(
        states == [Role::Backup, Role::Master, Role::Backup],
        "it became {states:?}:\n{}",
        keepalived.log()
    );
    advertising.abort();
    keepalived.wait_for(Role::Master, SOON)
}
