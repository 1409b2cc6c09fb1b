//! One balancer with its connections, and its time for a packet on each measured path.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{
    balancer::{Balancer, Lb},
    churn::Churn,
    cpus,
    katran::Katran,
    packets::{self, Clients, XDP_PASS, XDP_TX, segment},
    path::Path,
    stage::Stage,
};

/// Number of packets per figure and round.
const RUNS: u32 = 4000;
/// Number of packets per figure and round on paths through the program that change its connection
/// tables.
const NEW_RUNS: u32 = 500;
/// Number of packets per figure while connections open and close on another CPU: enough for many of
/// them to do so.
const LONG_RUNS: u32 = 20_000;
const THOUSAND: u32 = 1000;
const MANY: u32 = 16_384;
const MILLION: u32 = 1_000_000;
/// Number of connections that Katran opens before its counter of new connections must be reset, so
/// that Katran assumes no flood.
const BEFORE_A_FLOOD: u32 = 50_000;
/// Numbers of the clients of [`Clients::KNOWN`]: the client of the known connection, the client to
/// which the backend sends, the client whose packets come in on all CPUs, and the first of the
/// clients that each belong to one CPU.
const KNOWN: u32 = 0;
const ANSWERED: u32 = 1;
const SHARED: u32 = 2;
const OF_CPUS: u32 = 3;

/// What the measurements of all balancers have in common.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The test stage that runs the empty program.
    pub(crate) stage: &'a Stage,
    /// All CPUs; the first is this thread's.
    pub(crate) cpus: &'a [usize],
    /// Connections per second that open and close on the second CPU, if there is one.
    pub(crate) churn: Option<Churn>,
}

/// A balancer with its connections.
pub(crate) struct Subject<'a, B> {
    balancer: &'a B,
    setting: Setting<'a>,
    thousand: Turns,
    many: Turns,
    million: Turns,
    new: u32,
    churned: u32,
    /// Lowest rate in any measurement at which connections opened and closed, per second.
    churn_rate: f64,
    out: Vec<u8>,
}

impl<'a, B: Balancer> Subject<'a, B> {
    /// Opens the connections that the measurements of `paths` need.
    pub(crate) fn prepare(
        balancer: &'a B,
        setting: Setting<'a>,
        paths: &[Path],
    ) -> anyhow::Result<Self> {
        let mut subject = Self {
            balancer,
            setting,
            thousand: Turns::of(Clients::THOUSAND, THOUSAND),
            many: Turns::of(Clients::MANY, MANY),
            million: Turns::of(Clients::MILLION, MILLION),
            new: 0,
            churned: 0,
            churn_rate: f64::INFINITY,
            out: Vec::new(),
        };
        subject.establish(Clients::KNOWN, KNOWN, &[])?;
        if paths.contains(&Path::Shared) {
            subject.establish(Clients::KNOWN, SHARED, setting.cpus)?;
        }
        if paths.contains(&Path::AllCpus) {
            for (number, cpu) in (OF_CPUS..).zip(setting.cpus) {
                subject.establish(Clients::KNOWN, number, &[*cpu])?;
            }
        }
        for (path, turns) in [
            (Path::Thousand, subject.thousand),
            (Path::Many, subject.many),
            (Path::Million, subject.million),
        ] {
            let count = if paths.contains(&path) {
                turns.count
            } else {
                0
            };
            for number in 0..count {
                if number % BEFORE_A_FLOOD == 0 {
                    subject.balancer.before_new();
                }
                subject.establish(turns.clients, number, &[])?;
            }
        }
        Ok(subject)
    }

    fn establish(&mut self, clients: Clients, number: u32, cpus: &[usize]) -> anyhow::Result<()> {
        let opened = self.balancer.open(clients.key(number), cpus, &mut self.out);
        ensure!(
            opened,
            "connection {number} could not be opened: a packet of it was not sent on"
        );
        Ok(())
    }

    /// Measures a path of a packet through the program. Returns nanoseconds per packet, less those
    /// of the empty program; `None` if this function does not measure the path. `empty` is the
    /// empty program's figure of this round.
    pub(crate) fn time(&mut self, path: Path, empty: f64) -> anyhow::Result<Option<f64>> {
        let whole = match path {
            Path::Known => self.known(RUNS),
            Path::Thousand => self.thousand(RUNS),
            Path::Many => turns(self.balancer, &mut self.many, RUNS, &mut self.out),
            Path::Million => turns(self.balancer, &mut self.million, RUNS, &mut self.out),
            Path::New => {
                self.balancer.before_new();
                self.opening()
            }
            Path::NotOurs => self.passed(&packets::not_ours()),
            Path::Elsewhere => self.passed(&packets::elsewhere()),
            // These two paths measure the empty program themselves, while connections open and
            // close on another CPU.
            Path::Churn => return self.beside_churn(Self::known).map(Some),
            Path::ChurnThousand => return self.beside_churn(Self::thousand).map(Some),
            Path::AllCpus => return self.on_all_cpus(|position| OF_CPUS + position).map(Some),
            Path::Shared => return self.on_all_cpus(|_position| SHARED).map(Some),
            Path::Back | Path::Flood | Path::Occupied => return Ok(None),
        };
        Ok(Some(whole? - empty))
    }

    fn known(&mut self, runs: u32) -> anyhow::Result<f64> {
        let packet = segment(Clients::KNOWN.key(KNOWN));
        mean(runs, XDP_TX, || self.balancer.feed(&packet, &mut self.out))
    }

    fn thousand(&mut self, runs: u32) -> anyhow::Result<f64> {
        turns(self.balancer, &mut self.thousand, runs, &mut self.out)
    }

    fn passed(&mut self, packet: &[u8]) -> anyhow::Result<f64> {
        mean(RUNS, XDP_PASS, || self.balancer.feed(packet, &mut self.out))
    }

    fn opening(&mut self) -> anyhow::Result<f64> {
        mean(NEW_RUNS, XDP_TX, || {
            let packet = packets::syn(Clients::NEW.key(self.new));
            self.new += 1;
            self.balancer.feed(&packet, &mut self.out)
        })
    }

    /// Measures a path of a packet through the program and the empty program while connections open
    /// and close on another CPU, and returns the difference in nanoseconds per packet: what these
    /// connections cost the CPU in general is in both figures, and cancels out.
    fn beside_churn(
        &mut self,
        path: impl Fn(&mut Self, u32) -> anyhow::Result<f64>,
    ) -> anyhow::Result<f64> {
        let churn = self.setting.churn.context("there is no second CPU")?;
        let (balancer, first) = (self.balancer, self.churned);
        let (own, churned) = churn.beside(balancer, first, || {
            let empty = self.empty(LONG_RUNS)?;
            Ok(path(self, LONG_RUNS)? - empty)
        })?;
        self.churned += churned.connections;
        self.churn_rate = self.churn_rate.min(churned.rate);
        Ok(own)
    }

    /// Measures a known connection on each CPU, by its client's number; returns the slowest CPU's
    /// figure.
    fn on_all_cpus(&self, client: impl Fn(u32) -> u32 + Sync) -> anyhow::Result<f64> {
        let Setting { stage, cpus, .. } = self.setting;
        let own = cpus::at_once(cpus, |position| {
            let packet = segment(Clients::KNOWN.key(client(position)));
            let mut out = Vec::new();
            let empty = mean(RUNS, XDP_PASS, || stage.feed_empty(&packet, &mut out))?;
            let whole = mean(RUNS, XDP_TX, || self.balancer.feed(&packet, &mut out))?;
            Ok(whole - empty)
        })?;
        Ok(own.into_iter().fold(f64::MIN, f64::max))
    }

    /// Returns the lowest rate in any measurement at which connections opened and closed, per
    /// second; `None` if no measurement had such connections.
    pub(crate) fn churn_rate(&self) -> Option<f64> {
        self.churn_rate.is_finite().then_some(self.churn_rate)
    }

    /// Measures the empty program. Returns nanoseconds per packet.
    pub(crate) fn empty(&mut self, runs: u32) -> anyhow::Result<f64> {
        let packet = segment(Clients::KNOWN.key(KNOWN));
        let stage = self.setting.stage;
        mean(runs, XDP_PASS, || stage.feed_empty(&packet, &mut self.out))
    }
}

impl Subject<'_, Lb<'_>> {
    /// Measures packets of an established connection from the backend to the client. `back` is such
    /// a packet. Returns nanoseconds per packet, less those of the empty program (`empty`).
    pub(crate) fn time_back(&mut self, back: &[u8], empty: f64) -> anyhow::Result<f64> {
        let whole = mean(RUNS, XDP_TX, || self.balancer.feed(back, &mut self.out))?;
        Ok(whole - empty)
    }
}

/// Establishes a connection; returns a packet from its backend.
pub(crate) fn answered(lb: &Lb<'_>) -> anyhow::Result<Vec<u8>> {
    let client = Clients::KNOWN.key(ANSWERED);
    lb.establish(client, &mut Vec::new())
        .map(segment)
        .context("the connection whose backend sends could not be opened")
}

impl Subject<'_, Katran> {
    /// Measures new connections that Katran does not store, because they are too many.
    pub(crate) fn time_flood(&mut self, empty: f64) -> anyhow::Result<f64> {
        self.balancer.flood()?;
        let whole = self.opening()?;
        // Ends the assumed flood, so that Katran stores the connections of later measurements
        // again.
        self.balancer.before_new();
        Ok(whole - empty)
    }
}

/// Established connections whose packets are fed in turn.
#[derive(Clone, Copy)]
struct Turns {
    clients: Clients,
    count: u32,
    turn: u32,
}

impl Turns {
    fn of(clients: Clients, count: u32) -> Self {
        Self {
            clients,
            count,
            turn: 0,
        }
    }

    /// Returns a packet of the next connection. The order differs from that of opening, which may
    /// be the order of the entries in the connection table: in that order the processor would
    /// prefetch.
    fn packet(&mut self) -> Vec<u8> {
        let number = u64::from(self.turn) * STRIDE % u64::from(self.count);
        self.turn = (self.turn + 1) % self.count;
        segment(
            self.clients
                .key(u32::try_from(number).expect("below the count")),
        )
    }
}

/// The distance from one connection to the next in the order of packets: a prime that divides none
/// of the numbers of connections, so every connection has its turn.
const STRIDE: u64 = 618_041;

fn turns(
    balancer: &impl Balancer,
    turns: &mut Turns,
    runs: u32,
    out: &mut Vec<u8>,
) -> anyhow::Result<f64> {
    mean(runs, XDP_TX, || balancer.feed(&turns.packet(), out))
}

/// Returns the mean of the times that the kernel reports, in nanoseconds.
fn mean(
    runs: u32,
    expected: u32,
    mut feed: impl FnMut() -> (u32, Duration),
) -> anyhow::Result<f64> {
    let mut total = Duration::ZERO;
    for _ in 0..runs {
        let (action, duration) = feed();
        ensure!(
            action == expected,
            "a packet had XDP action {action}, not {expected}"
        );
        total += duration;
    }
    Ok(total.as_secs_f64() * 1e9 / f64::from(runs))
}
