//! The task that keeps the addresses of an interface in the wanted state.

use std::time::{Duration, Instant, SystemTime};

use netlink_packet_route::{RouteNetlinkMessage, link::LinkFlags};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant as TokioInstant, sleep_until},
};

use super::{
    super::Error,
    AddressesView, Wanted,
    announce::Announcer,
    interface::Interface,
    reconcile::{Change, Seen, Want, changes},
    schedule::Schedule,
};
use crate::{
    config::InterfaceAddress,
    netlink::{GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS, GROUP_LINK, News},
};

/// How long the task waits before it retries a change of the interface's addresses that failed.
const RETRY: Duration = Duration::from_millis(500);
/// Shortest time between two repairs of addresses that another program changed: a program that
/// reverts each repair must not cost a whole processor.
const BETWEEN_REPAIRS: Duration = Duration::from_millis(200);
/// Interval at which the interface is read although the kernel reported no change, in case a
/// notification was lost.
const LOOK: Duration = Duration::from_secs(5);

pub(super) struct AddressTask {
    name: String,
    interface: Interface,
    announcer: Announcer,
    moving: Vec<InterfaceAddress>,
    news: News,
    order: Wanted,
    schedule: Schedule,
    /// When the interface is read next, if the kernel reports no change before.
    look: Instant,
    /// The earliest time at which a change of another program is undone again.
    repair_from: Instant,
    /// Whether the interface had a carrier when the kernel last reported a change.
    carries: bool,
    view: AddressesView,
}

impl AddressTask {
    pub(super) fn open(
        name: &str,
        moving: Vec<InterfaceAddress>,
        order: Wanted,
    ) -> Result<Self, Error> {
        let interface = Interface::open(name)?;
        let groups = [GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS];
        let news = News::subscribe(&groups).map_err(|error| {
            Error::new(format!(
                "cannot subscribe to the kernel's notifications of addresses: {error}"
            ))
        })?;
        let now = Instant::now();
        let view = AddressesView::unseen(name, &moving);
        Ok(Self {
            name: name.to_owned(),
            interface,
            announcer: Announcer::new(name),
            moving,
            news,
            order,
            schedule: Schedule::default(),
            look: now,
            repair_from: now,
            carries: true,
            view,
        })
    }

    /// Removes addresses that an earlier agent left and that are not wanted on this host, and
    /// starts the task.
    pub(super) fn start(
        mut self,
        orders: watch::Receiver<Wanted>,
    ) -> (JoinHandle<()>, watch::Receiver<AddressesView>) {
        self.reconcile(Why::Start);
        let (shown, view) = watch::channel(self.view.clone());
        (tokio::spawn(self.run(orders, shown)), view)
    }

    async fn run(
        mut self,
        mut orders: watch::Receiver<Wanted>,
        shown: watch::Sender<AddressesView>,
    ) {
        loop {
            let why = self.next(&mut orders).await;
            match why {
                Some(why) => self.reconcile(why),
                None => return,
            }
            self.announce();
            if *shown.borrow() != self.view {
                shown.send_replace(self.view.clone());
            }
        }
    }

    /// Waits until the interface must be read, and returns why. Returns `None` when the handle
    /// ([`Addresses`](super::Addresses)) was dropped.
    async fn next(&mut self, orders: &mut watch::Receiver<Wanted>) -> Option<Why> {
        loop {
            let deadline = self
                .schedule
                .next()
                .map_or(self.look, |next| next.min(self.look));
            tokio::select! {
                biased;
                changed = orders.changed() => {
                    changed.ok()?;
                    self.order = *orders.borrow_and_update();
                    return Some(Why::Wanted);
                }
                news = self.news.next() => {
                    if self.concern(news.as_deref()) {
                        let now = Instant::now();
                        if now >= self.repair_from {
                            return Some(Why::News);
                        }
                        self.look = self.repair_from;
                    }
                }
                () = until(deadline) => return Some(Why::Time),
            }
        }
    }

    /// Returns whether any of these notifications of the kernel concerns this interface. If
    /// notifications were lost (`None`), it returns true.
    fn concern(&mut self, news: Option<&[RouteNetlinkMessage]>) -> bool {
        let (Some(news), Ok(index)) = (news, self.interface.index()) else {
            return true;
        };
        let mut concerned = false;
        for one in news {
            match one {
                RouteNetlinkMessage::NewAddress(message)
                | RouteNetlinkMessage::DelAddress(message) => {
                    concerned |= message.header.index == index;
                }
                RouteNetlinkMessage::NewLink(link) if link.header.index == index => {
                    concerned = true;
                    let carries = link.header.flags.contains(LinkFlags::LowerUp);
                    if carries && !self.carries && self.order.want == Want::Held {
                        // The interface may have a new neighbour, which must learn the moving
                        // addresses.
                        self.schedule.begin(Instant::now());
                    }
                    self.carries = carries;
                }
                _ => {}
            }
        }
        concerned
    }

    /// Brings the addresses of the interface into the wanted state, as far as possible, and
    /// publishes the result.
    fn reconcile(&mut self, why: Why) {
        let outcome = self.make_changes(why);
        if outcome.is_err() && self.interface.index().is_err() {
            self.show(&[]);
        }
        let now = Instant::now();
        self.look = now + if outcome.is_ok() { LOOK } else { RETRY };
        let problem = outcome.err().map(|error| error.to_string());
        let reordered = self.view.turn != self.order.turn && self.view.want != self.order.want;
        if problem.is_some() || reordered {
            self.view.since = None;
        }
        if problem.is_none() && self.view.since.is_none() {
            self.view.since = Some(SystemTime::now());
        }
        self.complain(problem);
        self.view.want = self.order.want;
        self.view.turn = self.order.turn;
    }

    /// Logs a problem, unless it is the one that was logged last.
    fn complain(&mut self, problem: Option<String>) {
        if problem != self.view.problem
            && let Some(problem) = &problem
        {
            tracing::error!(reason = %problem, "cannot move or announce the addresses; retrying");
        }
        self.view.problem = problem;
    }

    fn make_changes(&mut self, why: Why) -> Result<(), Error> {
        let seen = self.interface.addresses()?;
        let changes = changes(self.order.want, &self.moving, &seen);
        let mut failed = None;
        for change in &changes {
            let made = match *change {
                Change::Add(address) => self.interface.add(address),
                Change::Remove(address) => self.interface.remove(address),
            };
            match made {
                Ok(()) => self.made(*change, why),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let seen = if changes.is_empty() {
            seen
        } else {
            self.repair_from = Instant::now() + BETWEEN_REPAIRS;
            self.interface.addresses()?
        };
        self.show(&seen);
        match self.order.want {
            Want::Released => self.schedule.end(),
            Want::Held if changes.is_empty() && why != Why::Wanted => {}
            Want::Held => self.schedule.begin(Instant::now()),
        }
        failed.map_or(Ok(()), Err)
    }

    fn made(&mut self, change: Change, why: Why) {
        let name = &self.name;
        match change {
            Change::Add(address) => {
                self.view.added += 1;
                tracing::info!(%address, interface = %name, event = "address_added", "added an address");
            }
            Change::Remove(address) => {
                self.view.removed += 1;
                tracing::info!(%address, interface = %name, event = "address_removed", "removed an address");
            }
        }
        match why {
            Why::Wanted => {}
            Why::Start => tracing::info!("the removed address was left by an earlier agent"),
            // This change was missing from an earlier attempt that failed: no other program caused
            // it.
            Why::News | Why::Time if self.view.problem.is_some() => {}
            Why::News | Why::Time => {
                self.view.repaired += 1;
                tracing::warn!("another program had changed the addresses: the change was undone");
            }
        }
    }

    fn show(&mut self, seen: &[Seen]) {
        for (address, here) in &mut self.view.addresses {
            *here = seen.iter().any(|one| one.address == *address);
        }
    }

    /// Sends the announcements of the moving addresses that are due now.
    fn announce(&mut self) {
        let count = self.schedule.due(Instant::now());
        if count == 0 {
            return;
        }
        if let Err(error) = self.announce_each(count) {
            self.schedule.again_at(Instant::now() + RETRY);
            // The next announcement opens a new socket: this one may be bound to an interface that
            // was removed.
            self.announcer = Announcer::new(&self.name);
            self.complain(Some(error.to_string()));
        }
    }

    fn announce_each(&mut self, count: u32) -> Result<(), Error> {
        let Some(socket) = self.announcer.ready()? else {
            return Ok(());
        };
        let here = self.view.addresses.iter().filter(|(_, here)| *here);
        for _ in 0..count {
            for (address, _) in here.clone() {
                socket.announce(address.address).map_err(|error| {
                    let (address, name) = (address.address, &self.name);
                    Error::new(format!("cannot announce {address} on {name}: {error}"))
                })?;
                self.view.announced += 1;
            }
        }
        Ok(())
    }
}

/// Why the addresses of the interface are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// The agent has just started, and the interface is read for the first time.
    Start,
    /// The wanted state of the moving addresses has changed.
    Wanted,
    /// The kernel reported a change of the interface or of its addresses.
    News,
    /// The interval at which the interface is read in any case has passed.
    Time,
}

async fn until(deadline: Instant) {
    sleep_until(TokioInstant::from_std(deadline)).await;
}
