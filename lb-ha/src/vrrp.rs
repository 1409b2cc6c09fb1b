//! The virtual router's state machine (RFC 9568 section 6, RFC 3768 section 6), as keepalived has
//! it where the two differ.
//!
//! It does not care by which path an advert came: those of the wire and the heartbeats of the link
//! between the agents are heard alike.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Time;

/// What does not change while the router runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 1 to 254; the host with the higher one is master.
    pub priority: u8,
    /// From one advert to the next.
    pub interval: Duration,
    /// How the skew is counted.
    pub version: Version,
    /// Whether to take over from a master with a lower priority.
    pub preempt: bool,
    /// How long to hear a master with a lower priority before taking over from it.
    pub preempt_delay: Duration,
    /// Our own address: of two masters with one priority, the higher address stays.
    pub address: IpAddr,
}

/// The version of VRRP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// The skew is a part of a second; intervals must be the same on both sides.
    V2,
    /// The skew is a part of the interval; a backup learns the interval from the master.
    V3,
}

/// The state of the router, as RFC 9568 calls it; a fault is keepalived's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started, or stopped.
    Init,
    /// Listens, and is ready to take over.
    Backup,
    /// Active.
    Master,
    /// Something that must be well is not: takes no part.
    Fault,
}

impl State {
    /// The state in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
        }
    }
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The agent started.
    Started,
    /// The agent stops.
    Stopped,
    /// Nobody was heard for the master-down interval.
    Silence,
    /// The master said that it goes (priority 0).
    Goodbye,
    /// The master has a lower priority than this host.
    Preemption,
    /// The other host handed over, or this one did.
    HandOver,
    /// A master with a higher priority, or the higher address, was heard.
    HigherPriority,
    /// What is tracked failed.
    Fault,
    /// What is tracked is well again.
    Recovered,
    /// The address belongs to the other host, which cannot be heard.
    SteppedBack,
    /// The address turned out to be here.
    AddressHere,
    /// Another process of this host was master until now, and this one goes on in its place.
    Resumed,
}

impl Cause {
    /// The cause in a word, as the label `reason` of a metric has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Silence => "silence",
            Self::Goodbye => "goodbye",
            Self::Preemption => "preemption",
            Self::HandOver => "handover",
            Self::HigherPriority => "higher_priority",
            Self::Fault => "fault",
            Self::Recovered => "recovered",
            Self::SteppedBack => "stepped_back",
            Self::AddressHere => "address_here",
            Self::Resumed => "resumed",
        }
    }

    /// Every cause.
    pub const ALL: [Self; 12] = [
        Self::Started,
        Self::Stopped,
        Self::Silence,
        Self::Goodbye,
        Self::Preemption,
        Self::HandOver,
        Self::HigherPriority,
        Self::Fault,
        Self::Recovered,
        Self::SteppedBack,
        Self::AddressHere,
        Self::Resumed,
    ];
}

/// An advert that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The sender's priority; 0: it goes.
    pub priority: u8,
    /// The sender's interval.
    pub interval: Duration,
    /// The sender.
    pub from: IpAddr,
}

/// What the router may do at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permissions {
    /// Added to the priority; the sum is kept within 1 to 254.
    pub weight: i16,
    /// Takes no part at all.
    pub fault: bool,
    /// May become master when nobody is heard.
    pub may_take: bool,
    /// May become master when a master with a lower priority is heard.
    pub may_preempt: bool,
}

/// What the router wants done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send an advert with this priority.
    Advert(u8),
    /// The state changed.
    Became(State, Cause),
}

/// The virtual router of one host.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Settings,
    permissions: Permissions,
    state: State,
    deadline: Option<Time>,
    /// Of a backup: the master's interval, learnt from it in version 3.
    master_interval: Duration,
    /// Why the timer of a backup runs as it does: what it means when it runs out.
    waiting_for: Cause,
    /// The timer of a backup ran out while it was not allowed to take over.
    overdue: bool,
    /// From when a master with a lower priority is not listened to any more.
    preempt_from: Option<Time>,
}

impl Router {
    /// A router that has not started.
    #[must_use]
    pub fn new(settings: Settings, permissions: Permissions) -> Self {
        let master_interval = settings.interval;
        Self {
            settings,
            permissions,
            state: State::Init,
            deadline: None,
            master_interval,
            waiting_for: Cause::Silence,
            overdue: false,
            preempt_from: None,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The priority with what is tracked added to it: 1 to 254.
    #[must_use]
    pub fn priority(&self) -> u8 {
        let sum = i16::from(self.settings.priority).saturating_add(self.permissions.weight);
        u8::try_from(sum.clamp(1, 254)).unwrap_or(1)
    }

    /// The own interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// When [`Self::tick`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// How long nothing may be heard of a master before it is taken for dead.
    #[must_use]
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * 3 + self.skew()
    }

    /// Begins: as a backup that waits for a master, or in fault.
    pub fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.permissions.fault {
            self.enter_fault(out);
        } else {
            self.enter_backup(now, Cause::Started, out);
        }
    }

    /// Begins as the master that another process of this host was until now.
    pub fn resume(&mut self, now: Time, out: &mut Vec<Output>) {
        self.enter_master(now, Cause::Resumed, out);
    }

    /// Ends, with a goodbye where it was master.
    pub fn stop(&mut self, out: &mut Vec<Output>) {
        self.say_goodbye(out);
        self.deadline = None;
        self.become_state(State::Init, Cause::Stopped, out);
    }

    /// An advert of the other host came, by whatever path.
    pub fn hear(&mut self, now: Time, heard: Heard, out: &mut Vec<Output>) {
        match self.state {
            State::Init | State::Fault => {}
            State::Backup => self.hear_as_backup(now, heard),
            State::Master => self.hear_as_master(now, heard, out),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Init | State::Fault => self.deadline = None,
            State::Backup if self.permissions.may_take => {
                self.enter_master(now, self.waiting_for, out);
            }
            State::Backup => {
                self.overdue = true;
                self.deadline = None;
            }
            State::Master => self.advertise(now, out),
        }
    }

    /// What the router may do has changed.
    pub fn allow(
        &mut self,
        now: Time,
        permissions: Permissions,
        cause: Cause,
        out: &mut Vec<Output>,
    ) {
        let priority = self.priority();
        self.permissions = permissions;
        match self.state {
            State::Init => {}
            State::Fault if permissions.fault => {}
            State::Fault => self.enter_backup(now, Cause::Recovered, out),
            _ if permissions.fault => {
                self.say_goodbye(out);
                self.enter_fault(out);
            }
            State::Backup if self.overdue && permissions.may_take => {
                let cause = match cause {
                    Cause::AddressHere => cause,
                    _ => self.waiting_for,
                };
                self.enter_master(now, cause, out);
            }
            // The others are to know at once.
            State::Master if priority != self.priority() => self.advertise(now, out),
            State::Backup | State::Master => {}
        }
    }

    /// Becomes master at once: the other host said so.
    pub fn take(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.state == State::Backup {
            self.enter_master(now, Cause::HandOver, out);
        }
    }

    /// Goes back from master to backup, with a goodbye.
    pub fn resign(&mut self, now: Time, cause: Cause, out: &mut Vec<Output>) {
        if self.state == State::Master {
            self.say_goodbye(out);
            self.enter_backup(now, cause, out);
        }
    }

    /// New settings. Interval, version and address had better be what they were: the other host
    /// does not learn of a change.
    pub fn reconfigure(&mut self, now: Time, settings: Settings, out: &mut Vec<Output>) {
        let changed = settings.priority != self.settings.priority;
        self.settings = settings;
        self.preempt_from = None;
        if changed && self.state == State::Master {
            self.advertise(now, out);
        }
    }

    fn hear_as_backup(&mut self, now: Time, heard: Heard) {
        if heard.priority == 0 {
            self.waiting_for = Cause::Goodbye;
            self.preempt_from = None;
            let skew = now + self.skew();
            // A second goodbye, by the other path, does not put it off.
            self.deadline = Some(self.deadline.map_or(skew, |deadline| deadline.min(skew)));
            return;
        }
        if heard.priority >= self.priority() {
            self.preempt_from = None;
        } else if self.preempts(now) {
            if self.waiting_for != Cause::Goodbye {
                self.waiting_for = Cause::Preemption;
            }
            return;
        }
        if self.settings.version == Version::V3 {
            self.master_interval = heard.interval;
        }
        self.wait_for_master(now);
    }

    /// Whether a master with a lower priority is to be ignored.
    fn preempts(&mut self, now: Time) -> bool {
        if !self.settings.preempt || !self.permissions.may_preempt || !self.permissions.may_take {
            return false;
        }
        let delay = self.settings.preempt_delay;
        now >= *self.preempt_from.get_or_insert(now + delay)
    }

    fn hear_as_master(&mut self, now: Time, heard: Heard, out: &mut Vec<Output>) {
        let ours = self.priority();
        let gives_way =
            heard.priority > ours || (heard.priority == ours && heard.from > self.settings.address);
        if gives_way {
            if self.settings.version == Version::V3 {
                self.master_interval = heard.interval;
            }
            self.enter_backup(now, Cause::HigherPriority, out);
        } else {
            // So that the other one hears who is master, and a goodbye is not followed by silence.
            self.advertise(now, out);
        }
    }

    fn enter_backup(&mut self, now: Time, cause: Cause, out: &mut Vec<Output>) {
        self.become_state(State::Backup, cause, out);
        self.preempt_from = None;
        self.wait_for_master(now);
    }

    fn enter_master(&mut self, now: Time, cause: Cause, out: &mut Vec<Output>) {
        self.master_interval = self.settings.interval;
        self.overdue = false;
        self.preempt_from = None;
        // The advert goes first: the sooner it is heard, the fewer hosts take over.
        self.advertise(now, out);
        self.become_state(State::Master, cause, out);
    }

    fn enter_fault(&mut self, out: &mut Vec<Output>) {
        self.deadline = None;
        self.overdue = false;
        self.become_state(State::Fault, Cause::Fault, out);
    }

    fn become_state(&mut self, state: State, cause: Cause, out: &mut Vec<Output>) {
        if self.state != state {
            self.state = state;
            out.push(Output::Became(state, cause));
        }
    }

    fn wait_for_master(&mut self, now: Time) {
        self.waiting_for = Cause::Silence;
        self.overdue = false;
        self.deadline = Some(now + self.master_down_interval());
    }

    fn advertise(&mut self, now: Time, out: &mut Vec<Output>) {
        self.deadline = Some(now + self.settings.interval);
        out.push(Output::Advert(self.priority()));
    }

    fn say_goodbye(&self, out: &mut Vec<Output>) {
        if self.state == State::Master {
            out.push(Output::Advert(0));
        }
    }

    /// The lower the priority, the later: the best backup is the first.
    fn skew(&self) -> Duration {
        let unit = match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.master_interval,
        };
        unit * (256 - u32::from(self.priority())) / 256
    }
}

#[cfg(test)]
mod tests;
