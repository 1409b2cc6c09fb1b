//! Two hosts connected by a cable: our host, with the agent's socket, and their host, with any
//! other speaker of VRRP.

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host,
    cable::{self, End},
    host::joined,
    keepalived::KeepalivedSettings,
    wait,
};
use lb::{
    config::{Config, Ha, Interfaces, Node},
    ha::adverts::{Adverts, Counters, Received},
};
use lb_ha::advert::Priority;
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// Time limit for each thing that a test waits for, long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Time from one advert to the next in tests with version 3 of VRRP.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// The two hosts of a test, each a network namespace.
pub(crate) struct Stage {
    pub(crate) ours: Host,
    pub(crate) theirs: Host,
}

impl Stage {
    pub(crate) fn raise() -> Result<Self> {
        let (ours, theirs) = (Host::raise("ours")?, Host::raise("theirs")?);
        let stage = Self { ours, theirs };
        stage.lay_cable()?;
        Ok(stage)
    }

    /// Connects the two hosts by a cable, and gives the interfaces at both ends their addresses.
    pub(crate) fn lay_cable(&self) -> Result<()> {
        cable::connect(End::new(&self.ours, "eth0"), End::new(&self.theirs, "eth0"))?;
        for (host, last) in [(&self.ours, 1), (&self.theirs, 2)] {
            host.script(&format!(
                "ip address add 10.77.0.{last}/24 dev eth0\n\
                 ip address add fd77::{last}/64 dev eth0 nodad\n\
                 ip address add fe80::{last}/64 dev eth0 nodad"
            ))?;
        }
        Ok(())
    }
}

/// The configuration of VRRP that both hosts use in a test.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) ipv6: bool,
    pub(crate) multicast: bool,
    pub(crate) version: u8,
    pub(crate) password: Option<&'static str>,
    /// Additional lines of the section `[ha]` of our host's configuration.
    pub(crate) more: String,
}

impl Setup {
    pub(crate) fn v3() -> Self {
        Self {
            ipv6: false,
            multicast: false,
            version: 3,
            password: None,
            more: String::new(),
        }
    }

    pub(crate) fn v2() -> Self {
        Self {
            version: 2,
            ..Self::v3()
        }
    }

    pub(crate) fn with(more: &str) -> Self {
        Self {
            more: more.to_owned(),
            ..Self::v3()
        }
    }

    pub(crate) fn our_address(&self) -> IpAddr {
        self.address(1)
    }

    pub(crate) fn their_address(&self) -> IpAddr {
        self.address(2)
    }

    pub(crate) fn virtual_address(&self) -> IpAddr {
        self.address(100)
    }

    pub(crate) fn interval(&self) -> Duration {
        if self.version == 2 {
            Duration::from_secs(1)
        } else {
            INTERVAL
        }
    }

    /// Returns the settings for a keepalived on their host, with priority 100.
    pub(crate) fn keepalived(&self) -> KeepalivedSettings {
        let ours = self.our_address();
        let mut settings = KeepalivedSettings::between(self.their_address(), ours);
        settings.peer = (!self.multicast).then_some(ours);
        settings.version = self.version;
        settings.advert_interval = self.interval();
        settings.auth_pass = self.password.map(ToOwned::to_owned);
        settings.virtual_addresses = vec![self.virtual_address().to_string()];
        settings
    }

    /// Returns the address, in the hosts' network, whose last part is `last`. For IPv6 multicast it
    /// is a link-local address.
    fn address(&self, last: u8) -> IpAddr {
        let prefix = match (self.ipv6, self.multicast) {
            (false, _) => "10.77.0.",
            (true, false) => "fd77::",
            (true, true) => "fe80::",
        };
        let address = format!("{prefix}{last}");
        address.parse().expect("an address")
    }

    /// Returns the section `[ha]` for the other host, with `source` and `peer` exchanged.
    fn turned(&self) -> Ha {
        let mut ha = self.ha();
        std::mem::swap(&mut ha.source, &mut ha.peer);
        ha
    }

    fn ha(&self) -> Ha {
        let Self {
            version, multicast, ..
        } = self;
        let transport = if *multicast { "multicast" } else { "unicast" };
        let (source, peer) = (self.our_address(), self.their_address());
        let interval = self.interval().as_millis();
        let password = self
            .password
            .map_or_else(String::new, |text| format!("password = \"{text}\""));
        let addresses = self.virtual_address();
        let more = &self.more;
        let text = format!(
            r#"
            [node]
            name = "ours"
            interface = "eth0"
            [admin]
            listen = "127.0.0.1:9145"
            [[pool]]
            name = "web"
            backends = ["10.0.0.6:80"]
            [[service]]
            name = "http"
            listen = "10.77.0.1:80"
            mode = "http"
            pool = "web"
            [ha]
            source = "{source}"
            peer = "{peer}"
            virtual_router_id = 41
            advert_interval = "{interval}ms"
            version = {version}
            transport = "{transport}"
            {password}
            advertised_addresses = ["{addresses}"]
            {more}
            [ha.notify]
            master = ["/bin/true"]
            "#
        );
        let parsed = Config::parse(Path::new("lb.toml"), &text).expect("a configuration");
        parsed.config.ha.expect("[ha]")
    }
}

/// The agent's socket for adverts, and the adverts that it has received.
pub(crate) struct Ours {
    adverts: Arc<Adverts>,
    heard: mpsc::Receiver<Received>,
    runtime: Runtime,
}

impl Ours {
    /// Opens the agent's socket on our host. The threads of its runtime are in that host's network
    /// namespace.
    pub(crate) fn open(stage: &Stage, setup: &Setup) -> Result<Self> {
        Self::open_on(&stage.ours, setup.ha())
    }

    /// Opens the agent's socket on the other host, with `source` and `peer` exchanged.
    pub(crate) fn open_theirs(stage: &Stage, setup: &Setup) -> Result<Self> {
        Self::open_on(&stage.theirs, setup.turned())
    }

    fn open_on(host: &Host, ha: Ha) -> Result<Self> {
        let node = Node {
            name: lb::config::Name::parse("ours").context("a name")?,
            interfaces: Interfaces::one("eth0"),
        };
        joined(host.inside(move || {
            let runtime = runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let (adverts, heard) = runtime.block_on(async { Adverts::open(&ha, &node) })?;
            Ok(Self {
                adverts: Arc::new(adverts),
                heard,
                runtime,
            })
        }))
    }

    pub(crate) fn send(&self, priority: u8) {
        self.adverts.send(Priority::new(priority));
    }

    /// Sends an advert of this priority every `interval` until the returned task is aborted.
    pub(crate) fn advertise(&self, priority: u8, interval: Duration) -> JoinHandle<()> {
        let adverts = Arc::clone(&self.adverts);
        self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                adverts.send(Priority::new(priority));
            }
        })
    }

    /// Returns the next advert that the socket has received; an error if none arrives within
    /// `limit`.
    pub(crate) fn hear(&mut self, limit: Duration) -> Result<Received> {
        let next = self
            .runtime
            .block_on(async { timeout(limit, self.heard.recv()).await });
        next.with_context(|| format!("nothing was heard within {limit:?}: {:?}", self.counters()))?
            .context("the listening ended")
    }

    /// Returns the next received advert that meets the condition `wanted`; an error if none arrives
    /// in time.
    pub(crate) fn hear_until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Received) -> bool,
    ) -> Result<Received> {
        let deadline = Instant::now() + SOON;
        loop {
            let heard = self.hear(deadline.saturating_duration_since(Instant::now()));
            let heard = heard.with_context(|| format!("waiting for {what}"))?;
            if wanted(&heard) {
                return Ok(heard);
            }
        }
    }

    /// Starts to measure how late the timers of the socket's runtime fire.
    pub(crate) fn measure_lateness(&self) -> Lateness {
        let worst = Arc::new(Mutex::new(Duration::ZERO));
        let seen = Arc::clone(&worst);
        let pause = Duration::from_millis(5);
        let task = self.runtime.spawn(async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(pause).await;
                let late = begun.elapsed().saturating_sub(pause);
                let mut worst = seen.lock().expect("whole");
                *worst = late.max(*worst);
            }
        });
        Lateness { worst, task }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.adverts.counters()
    }

    pub(crate) fn refused(&self, word: &str) -> u64 {
        *self.counters().refused.get(word).expect("a word")
    }

    /// Waits until `count` received packets have been refused for the reason `word`, and asserts
    /// that no more were.
    pub(crate) fn wait_until_refused(&self, word: &str, count: u64) -> Result<()> {
        let what = format!("{count} refused for {word}");
        wait::until_true(&what, SOON, || Ok(self.refused(word) >= count))
            .with_context(|| format!("{:?}", self.counters()))?;
        ensure!(self.refused(word) == count, "{:?}", self.counters());
        Ok(())
    }

    /// Asserts that no received advert is waiting to be read.
    pub(crate) fn has_heard_nothing(&mut self) -> Result<()> {
        match self.heard.try_recv() {
            Err(mpsc::error::TryRecvError::Empty) => Ok(()),
            other => anyhow::bail!("this was heard: {other:?}"),
        }
    }
}

/// A running measurement of how late timers fire.
pub(crate) struct Lateness {
    worst: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl Lateness {
    pub(crate) fn worst(self) -> Duration {
        self.task.abort();
        *self.worst.lock().expect("whole")
    }
}
