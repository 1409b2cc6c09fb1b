//! The state machine of the virtual router (RFC 9568 section 6, RFC 3768 section 6). Where
//! keepalived differs from the RFCs, this state machine does as keepalived does.
//!
//! Adverts of a master, and its heartbeats over the link between the two agents, are the same
//! input.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Time;

/// The settings of the virtual router.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Priority, 1 to 254; the host with the higher priority is master.
    pub priority: u8,
    /// The time from one advert of this host to the next.
    pub interval: Duration,
    /// The version of VRRP, which determines the skew.
    pub version: Version,
    /// Whether this host takes over from a master with a lower priority.
    pub preempt: bool,
    /// Time for which a master with a lower priority is heard before this host takes over from it.
    pub preempt_delay: Duration,
    /// Address of this host: of two masters with equal priorities, the one with the higher address
    /// stays master.
    pub address: IpAddr,
}

/// The version of VRRP, as far as the timing depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Version 2: the skew is a fraction of a second; intervals must be equal on both hosts.
    V2,
    /// Version 3: the skew is a fraction of the interval; a backup learns the interval from the
    /// master.
    V3,
}

/// The state of the virtual router, as RFC 9568 calls it; `Fault` is from keepalived.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The virtual router has not started, or has stopped.
    Init,
    /// The host listens to the master, and is ready to take over.
    Backup,
    /// The host is active.
    Master,
    /// A tracked object has failed: the host neither sends adverts nor takes over.
    Fault,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Init, Self::Backup, Self::Master, Self::Fault];

    /// Returns the causes for which a virtual router enters this state.
    #[must_use]
    pub fn causes(self) -> &'static [Cause] {
        match self {
            Self::Init => &[Cause::Stopped],
            Self::Backup => &[
                Cause::Started,
                Cause::HandOver,
                Cause::HigherPriority,
                Cause::Recovered,
                Cause::SteppedBack,
            ],
            Self::Master => &[
                Cause::Silence,
                Cause::Goodbye,
                Cause::Preemption,
                Cause::HandOver,
                Cause::AddressHere,
                Cause::Resumed,
            ],
            Self::Fault => &[Cause::Fault],
        }
    }

    /// Returns the state as one word, for status and metrics.
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

/// Why the state of the virtual router changed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The agent of this host started.
    Started,
    /// The agent of this host stopped.
    Stopped,
    /// No master was heard for the master-down interval.
    Silence,
    /// The master sent a goodbye (priority 0).
    Goodbye,
    /// The master that was heard has a lower priority than this host.
    Preemption,
    /// The peer handed its role over to this host, or this host its role to the peer.
    HandOver,
    /// Another master was heard that has a higher priority, or an equal priority and a higher
    /// source address.
    HigherPriority,
    /// A tracked object failed, without which this host must not be active.
    Fault,
    /// The tracked objects are healthy again.
    Recovered,
    /// This host stepped back: the peer, which it does not hear, has the Elastic IP, or may have
    /// it.
    SteppedBack,
    /// The EC2 API showed that this host has the Elastic IP.
    AddressHere,
    /// Another process of this host was master until now, and this one has taken over from it.
    Resumed,
}

impl Cause {
    /// Returns the cause as one word: the label `reason` of the metric that counts changes of
    /// state.
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

    /// Returns the cause as a sentence without its full stop.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Started => "the agent started",
            Self::Stopped => "the agent stopped",
            Self::Silence => "no advert of the master arrived for the master-down interval",
            Self::Goodbye => "the master sent a goodbye (priority 0)",
            Self::Preemption => "the master has a lower priority than this host",
            Self::HandOver => "the role was handed over",
            Self::HigherPriority => {
                "another master has a higher priority, or the same and a higher address"
            }
            Self::Fault => "a tracked object is unhealthy",
            Self::Recovered => "the tracked objects are healthy again",
            Self::SteppedBack => "the peer is not heard and has the address, or may have it",
            Self::AddressHere => "the EC2 API says that this host has the address",
            Self::Resumed => "this process took over from another one of this host",
        }
    }

    /// Every cause of a change of the virtual router's state.
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

/// A received advert, or a heartbeat of a peer that is master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The priority of the sender; 0 is a goodbye.
    pub priority: u8,
    /// The time from one advert of the sender to the next.
    pub interval: Duration,
    /// The IP address of the sender.
    pub from: IpAddr,
}

/// What the virtual router may do, as set by the pair state machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permissions {
    /// Weight that is added to the configured priority; the sum is kept within 1 to 254.
    pub weight: i16,
    /// Whether the router must be in the state `fault`.
    pub fault: bool,
    /// Whether the router may become master when no master is heard.
    pub may_take: bool,
    /// Whether the router may become master when a master with a lower priority is heard.
    pub may_preempt: bool,
}

/// An output of the virtual router.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send an advert with this priority.
    Advert(u8),
    /// The state of the virtual router changed, for this cause.
    Became(State, Cause),
}

/// The state machine of the virtual router on one host.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Settings,
    permissions: Permissions,
    state: State,
    deadline: Option<Time>,
    /// The master's advert interval, which a backup learns from its adverts in version 3.
    master_interval: Duration,
    /// The cause that is reported if the timer of a backup expires and this host becomes master.
    waiting_for: Cause,
    /// Whether the timer of a backup expired while the backup was not permitted to take over.
    overdue: bool,
    /// When this host begins to ignore the adverts of a master with a lower priority.
    preempt_from: Option<Time>,
}

impl Router {
    /// Returns the virtual router of a host that has not started.
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

    /// Returns the state of the virtual router.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns this host's priority, including the weights of tracked objects: 1 to 254.
    #[must_use]
    pub fn priority(&self) -> u8 {
        let sum = i16::from(self.settings.priority).saturating_add(self.permissions.weight);
        u8::try_from(sum.clamp(1, 254)).unwrap_or(1)
    }

    /// Returns the interval between adverts of this host.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Returns when [`Self::tick`] is due; `None` if it is not due at any time.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Returns the time without an advert after which a master is considered lost.
    #[must_use]
    pub fn master_down_interval(&self) -> Duration {
        self.master_interval * 3 + self.skew()
    }

    /// Starts as a backup that waits for a master, or in the state `fault` if a tracked object has
    /// failed.
    pub fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.permissions.fault {
            self.enter_fault(out);
        } else {
            self.enter_backup(now, Cause::Started, out);
        }
    }

    /// Starts as the master that another process of this host was until now.
    pub fn resume(&mut self, now: Time, out: &mut Vec<Output>) {
        self.enter_master(now, Cause::Resumed, out);
    }

    /// Stops the virtual router, with a goodbye if it was master.
    pub fn stop(&mut self, out: &mut Vec<Output>) {
        self.say_goodbye(out);
        self.deadline = None;
        self.become_state(State::Init, Cause::Stopped, out);
    }

    /// Handles an advert, or a heartbeat in which the peer says that it is master.
    pub fn hear(&mut self, now: Time, heard: Heard, out: &mut Vec<Output>) {
        match self.state {
            State::Init | State::Fault => {}
            State::Backup => self.hear_as_backup(now, heard),
            State::Master => self.hear_as_master(now, heard, out),
        }
    }

    /// Handles the expiry of the timer, at the time that the method `deadline` returns.
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

    /// Sets what the virtual router may do from now on, which may change its state.
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
            // The peer learns the new priority immediately, by an advert.
            State::Master if priority != self.priority() => self.advertise(now, out),
            State::Backup | State::Master => {}
        }
    }

    /// Becomes master immediately, because the peer hands over to this host.
    pub fn take(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.state == State::Backup {
            self.enter_master(now, Cause::HandOver, out);
        }
    }

    /// Changes from master to backup, with a goodbye to the peer.
    pub fn resign(&mut self, now: Time, cause: Cause, out: &mut Vec<Output>) {
        if self.state == State::Master {
            self.say_goodbye(out);
            self.enter_backup(now, cause, out);
        }
    }

    /// Replaces the settings. Interval, version and address must stay as they were: the peer does
    /// not learn of a change.
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
            // A second goodbye, received by the other path (advert or the link to the peer), must
            // not postpone the takeover.
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

    /// Whether to ignore a master with a lower priority, so that this host takes over from it.
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
            // The advert is sent so that the peer hears a master, even if it has just sent a
            // goodbye itself.
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
        // The advert is sent before anything else: the sooner others hear it, the fewer hosts take
        // over.
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

    /// Returns the skew: the time that a backup waits in addition to three intervals, longer for a
    /// lower priority.
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
