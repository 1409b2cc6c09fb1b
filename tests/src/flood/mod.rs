//! A flood of SYN segments, each from a different sender, and its effect on other traffic.

mod frames;
mod scenario;

use std::{
    io::IoSlice,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
    },
    unistd::Pid,
};

use crate::host::{Host, joined};
use frames::Frames;
pub use scenario::{Outcome, Scenario};

/// Number of frames that are sent in one system call.
const BATCH: usize = 128;

/// Pause of the sender when the ring of the receiving interface is full.
const RING_FULL: Duration = Duration::from_micros(20);

/// Parameters of a flood of SYN segments.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the sending host's interface by which the frames leave.
    pub interface: String,
    /// Destination MAC address of the frames.
    pub destination_mac: [u8; 6],
    /// Destination address and port of the SYN segments.
    pub to: SocketAddrV4,
    /// Network from which the senders' addresses are drawn.
    pub sources: Network,
    /// Number of frames per second; `None` for as many as one core can send.
    pub rate: Option<u32>,
    /// Duration of the flood.
    pub lasts: Duration,
    /// Maximum number of frames to send.
    pub most: u64,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The network's lowest address.
    pub base: Ipv4Addr,
    /// The length of the network's prefix, in bits.
    pub prefix: u8,
}

/// A running flood, stopped on drop.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Duration>>>,
}

/// What was sent in a flood, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Number of frames that the interface accepted.
    pub frames: u64,
    /// How long the sending took.
    pub lasted: Duration,
}

impl Flood {
    /// Starts sending the flood from a host, on a thread that stays on the machine's last core.
    #[must_use]
    pub fn start(from: &Host, plan: Plan) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = from.inside(move || pour(&plan, &stopped, &counted));
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// Returns the number of frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until the flood ends, and returns its result.
    ///
    /// # Errors
    /// When the interface does not exist or accepts no frames.
    pub fn finish(mut self) -> Result<Sent> {
        let thread = self.thread.take().context("the flood has no thread")?;
        let lasted = joined(thread).context("of the flood")?;
        Ok(Sent {
            frames: self.sent(),
            lasted,
        })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().map(joined) {
            eprintln!("the flood did not last: {error:#}");
        }
    }
}

fn pour(plan: &Plan, stop: &AtomicBool, sent: &AtomicU64) -> Result<Duration> {
    stay_on_the_last_core()?;
    let link = link(&plan.interface)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        // Without a protocol, the packet socket receives nothing: it is only for sending.
        None,
    )?;
    bind(socket.as_raw_fd(), &link)?;
    let source_mac = link.addr().context("the interface has no MAC address")?;
    let mut frames = Frames::new(BATCH, source_mac, plan);
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let began = Instant::now();
    while began.elapsed() < plan.lasts && !stop.load(Ordering::Relaxed) {
        let due = plan.rate.map_or(u64::MAX, |rate| {
            (f64::from(rate) * began.elapsed().as_secs_f64()) as u64
        });
        let due = due
            .min(plan.most)
            .saturating_sub(sent.load(Ordering::Relaxed));
        if due == 0 && sent.load(Ordering::Relaxed) >= plan.most {
            break;
        }
        if due == 0 {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        frames.shuffle();
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let count = usize::try_from(due).map_or(BATCH, |due| due.min(BATCH));
        let taken = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices[..count],
            [None; BATCH],
            [],
            MsgFlags::empty(),
        );
        match taken {
            Ok(taken) => {
                sent.fetch_add(taken.count() as u64, Ordering::Relaxed);
            }
            // The receiver's ring of 256 frames is full. The kernel empties it on this core, which
            // only a sleep releases at once.
            Err(Errno::ENOBUFS) => thread::sleep(RING_FULL),
            Err(error) => {
                return Err(error).with_context(|| format!("{} took no frames", plan.interface));
            }
        }
    }
    Ok(began.elapsed())
}

/// Binds the calling thread to the machine's last core. With a virtual cable, the kernel receives
/// the frames on the sender's core, so the other cores are left to everything else.
fn stay_on_the_last_core() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(thread::available_parallelism()?.get() - 1)?;
    sched_setaffinity(Pid::from_raw(0), &cores).context("could not stay on one core")
}

fn link(interface: &str) -> Result<LinkAddr> {
    let mut all = getifaddrs()?.filter(|one| one.interface_name == interface);
    all.find_map(|one| one.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))
}
