//! The Internet gateway, which translates the Elastic IP to the private address of its owner.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    ec2::Ec2,
    elastic_ip::ELASTIC_IP,
    host::{Host, joined},
    wait,
};

/// Interval at which the gateway asks the EC2 API for the owner of the Elastic IP.
const GLANCE: Duration = Duration::from_millis(20);

/// The Internet gateway of the simulated cloud.
///
/// The gateway translates as AWS's does: one address to one address in both directions, without
/// connection tracking. When the Elastic IP moves, the next packet goes to its new owner.
#[derive(Clone, Debug)]
pub struct InternetGateway {
    host: Host,
}

impl InternetGateway {
    pub(crate) fn new(host: Host) -> Self {
        Self { host }
    }

    /// Returns the gateway's host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Points the Elastic IP to the interface with the private address `owner`.
    ///
    /// # Errors
    /// When `nft` is missing or the kernel refuses the rules; the old owner then keeps it.
    pub fn point_elastic_ip_at(&self, owner: Ipv4Addr) -> Result<()> {
        self.point_elastic_ip(Some(owner))
    }

    /// Points the Elastic IP to the interface with the private address `owner`, or to none.
    ///
    /// # Errors
    /// As [`Self::point_elastic_ip_at`].
    pub fn point_elastic_ip(&self, owner: Option<Ipv4Addr>) -> Result<()> {
        let translation = owner.map_or_else(String::new, |owner| {
            format!(
                "table ip elastic_ip {{\n\
                   chain inbound {{\n\
                     type filter hook prerouting priority raw;\n\
                     ip daddr {ELASTIC_IP} ip daddr set {owner}\n\
                   }}\n\
                   chain outbound {{\n\
                     type filter hook postrouting priority srcnat;\n\
                     oifname \"wan\" ip saddr {owner} ip saddr set {ELASTIC_IP}\n\
                   }}\n\
                 }}\n"
            )
        });
        // Rules that are loaded in one transaction take effect together, so no packet meets only a
        // part of them.
        let rules = format!("table ip elastic_ip\ndelete table ip elastic_ip\n{translation}");
        nft(&self.host, &rules).context("could not point the Elastic IP")
    }

    /// Makes the gateway follow the Elastic IP's owner in an EC2 API until the follower is dropped.
    #[must_use]
    pub fn follow_ec2(&self, ec2: &Arc<impl Ec2 + ?Sized + 'static>) -> Follower {
        let ec2 = Arc::clone(ec2);
        self.follow(move || Ok(ec2.owner()?.map(|owner| owner.private_ip)))
    }

    /// Makes the gateway follow the owner that `ask` returns, which is called 50 times a second,
    /// until the follower is dropped. `ask` runs on a thread in the gateway's network; while it
    /// fails, the last owner stays.
    #[must_use]
    pub fn follow(
        &self,
        ask: impl FnMut() -> Result<Option<Ipv4Addr>> + Send + 'static,
    ) -> Follower {
        Follower::start(self.clone(), ask)
    }
}

/// The task that keeps the gateway pointed at the owner of the Elastic IP.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// A change of the Elastic IP's owner, as the gateway applied it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Move {
    /// When the gateway applied the change.
    pub at: Instant,
    /// Private address of the new owner; `None` if the Elastic IP has none.
    pub owner: Option<Ipv4Addr>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    moves: Mutex<Vec<Move>>,
}

impl Follower {
    /// Returns all owners of the Elastic IP so far, in order; the first entry is the owner at the
    /// start.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        self.shared.with_moves(|moves| moves.clone())
    }

    /// Waits until the gateway translates the Elastic IP to this owner.
    ///
    /// # Errors
    /// When the gateway does not do so within `limit`.
    pub fn wait_for(&self, owner: impl Into<Option<Ipv4Addr>>, limit: Duration) -> Result<()> {
        let owner = owner.into();
        let what = format!("the Elastic IP at {owner:?}");
        wait::until_true(&what, limit, || Ok(self.is_at(owner)))
    }

    /// Whether the gateway translates the Elastic IP to this owner.
    #[must_use]
    pub fn is_at(&self, owner: impl Into<Option<Ipv4Addr>>) -> bool {
        let last = self.shared.with_moves(|moves| moves.last().copied());
        last.is_some_and(|last| last.owner == owner.into())
    }

    fn start(
        gateway: InternetGateway,
        mut ask: impl FnMut() -> Result<Option<Ipv4Addr>> + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let followed = Arc::clone(&shared);
        let thread = gateway.host().clone().inside(move || {
            let mut last = None;
            while !followed.stop.load(Ordering::Relaxed) {
                if let Ok(owner) = ask()
                    && last != Some(owner)
                {
                    gateway.point_elastic_ip(owner)?;
                    let at = Instant::now();
                    followed.with_moves(|moves| moves.push(Move { at, owner }));
                    last = Some(owner);
                }
                thread::sleep(GLANCE);
            }
            Ok(())
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }
}

impl Shared {
    fn with_moves<T>(&self, look: impl FnOnce(&mut Vec<Move>) -> T) -> T {
        look(&mut self.moves.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().map(joined) {
            eprintln!("the gateway did not follow the Elastic IP to the end: {error:#}");
        }
    }
}

/// Loads nftables rules on a host: either all of the rules or none.
///
/// # Errors
/// When `nft` is missing or the kernel refuses them.
pub fn nft(host: &Host, rules: &str) -> Result<()> {
    let mut nft = host
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(rules.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    ensure!(
        output.status.success(),
        "nft on {} refused the rules: {}",
        host.name(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(())
}
