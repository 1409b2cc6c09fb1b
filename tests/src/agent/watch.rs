//! Recording the roles of a pair of agents over time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{ADMIN, Metrics, scrape};
use crate::{Host, host::joined};

/// Interval at which each agent is asked for its role.
const GLANCE: Duration = Duration::from_millis(20);

/// Time-out of a request to an agent.
const PATIENCE: Duration = Duration::from_millis(500);

/// Role of an agent's host in the pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The agent has just started.
    Init,
    /// The host is the standby.
    Backup,
    /// The host is active.
    Master,
    /// The host cannot become active.
    Fault,
}

impl Role {
    /// All roles, each with its name in metrics and status.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Init, "init"),
        (Self::Backup, "backup"),
        (Self::Master, "master"),
        (Self::Fault, "fault"),
    ];

    /// Returns the name of the role in metrics and status.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(role, _)| *role == self);
        named.map_or("", |(_, name)| name)
    }

    /// Returns the role that a scrape reports; `None` if it reports none or several.
    #[must_use]
    pub fn of(metrics: &Metrics) -> Option<Self> {
        let is = |name| metrics.sum("lb_vrrp_state", &[("state", name)]) == 1.0;
        let mut roles = Self::ALL.iter().filter(|(_, name)| is(name));
        match (roles.next(), roles.next()) {
            (Some((role, _)), None) => Some(*role),
            _ => None,
        }
    }
}

/// One observation of an agent: a request to it, and what it answered.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When the request was sent to the agent.
    pub asked: Instant,
    /// When the agent's answer had arrived, or the request had failed.
    pub answered: Instant,
    /// The agent's role; `None` if the agent did not respond.
    pub role: Option<Role>,
    /// The agent's metrics about the pair; empty if the agent did not respond.
    pub metrics: Metrics,
}

/// Polls the agents of several hosts, each of them 50 times a second.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Sighting>>>>,
}

impl Watch {
    /// Starts polling the agents of these hosts.
    #[must_use]
    pub fn start(hosts: &[Host]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = hosts
            .iter()
            .map(|host| {
                let stop = Arc::clone(&stop);
                host.inside(move || look_until(&stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Stops polling, and returns all observations.
    ///
    /// # Errors
    /// When a host could not be entered.
    pub fn stop(mut self) -> Result<Timeline> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        let hosts = threads.into_iter().map(joined).collect::<Result<_>>()?;
        Ok(Timeline { hosts })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look_until(stop: &AtomicBool) -> Result<Vec<Sighting>> {
    let address: SocketAddr = ADMIN.parse()?;
    let mut sightings = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let metrics = scrape::read(address, "/metrics", PATIENCE)
            .and_then(|text| Metrics::parse(&about_the_pair(&text)))
            .unwrap_or_default();
        sightings.push(Sighting {
            asked,
            answered: Instant::now(),
            role: Role::of(&metrics),
            metrics,
        });
        thread::sleep(GLANCE.saturating_sub(asked.elapsed()));
    }
    Ok(sightings)
}

fn about_the_pair(text: &str) -> String {
    let prefixes = ["lb_vrrp_", "lb_failovers_", "lb_elastic_ip_", "lb_peer_"];
    let wanted = |line: &&str| prefixes.iter().any(|prefix| line.starts_with(prefix));
    text.lines()
        .filter(wanted)
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Observations of the agents of several hosts.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The observations of each host's agent, in the order of the hosts, the oldest observation
    /// first.
    pub hosts: Vec<Vec<Sighting>>,
}

impl Timeline {
    /// Returns the longest time for which two hosts were observed to be active at once: from the
    /// first such observation of the host that became active later to the last one of the other.
    #[must_use]
    pub fn longest_with_two_actives(&self) -> Duration {
        let spans: Vec<_> = self.hosts.iter().map(|host| active_spans(host)).collect();
        let pairs = spans.iter().enumerate().flat_map(|(index, one)| {
            let others = spans[index + 1..].iter().flatten();
            others.flat_map(move |other| one.iter().map(move |span| (*span, *other)))
        });
        pairs
            .map(|(one, other)| {
                let (begin, end) = (one.0.max(other.0), one.1.min(other.1));
                end.saturating_duration_since(begin)
            })
            .max()
            .unwrap_or_default()
    }

    /// Returns the sequence of a host's roles, each with the time at which it was first observed.
    #[must_use]
    pub fn roles(&self, host: usize) -> Vec<(Instant, Role)> {
        let mut roles: Vec<(Instant, Role)> = Vec::new();
        for sighting in &self.hosts[host] {
            if let Some(role) = sighting.role
                && roles.last().is_none_or(|(_, last)| *last != role)
            {
                roles.push((sighting.answered, role));
            }
        }
        roles
    }
}

/// Returns the intervals from the first to the last observation of each uninterrupted active role.
fn active_spans(sightings: &[Sighting]) -> Vec<(Instant, Instant)> {
    sightings
        .chunk_by(|one, next| one.role == next.role)
        .filter_map(|row| match row {
            [first, .., last] if first.role == Some(Role::Master) => {
                Some((first.answered, last.asked))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    fn seen(from: Instant, roles: &[Option<Role>]) -> Vec<Sighting> {
        let sighting = |(number, role): (u32, &Option<Role>)| Sighting {
            asked: from + TENTH * number,
            answered: from + TENTH * number,
            role: *role,
            metrics: Metrics::default(),
        };
        (0..).zip(roles).map(sighting).collect()
    }

    #[test]
    fn two_actives_are_timed_from_the_laters_first_to_the_earliers_last_look() {
        let (master, backup) = (Some(Role::Master), Some(Role::Backup));
        let from = Instant::now();
        let one = seen(from, &[master, master, master, master, backup, backup]);
        let other = seen(from, &[backup, master, master, master, master, master]);
        let both = Timeline {
            hosts: vec![one, other],
        };
        assert_eq!(both.longest_with_two_actives(), TENTH * 2);
        assert_eq!(both.roles(0).len(), 2);
    }

    #[test]
    fn one_active_after_the_other_is_no_time_with_two() {
        let (master, backup) = (Some(Role::Master), Some(Role::Backup));
        let from = Instant::now();
        let one = seen(from, &[master, master, None, None, backup]);
        let other = seen(from, &[backup, backup, backup, master, master]);
        let both = Timeline {
            hosts: vec![one, other],
        };
        assert_eq!(both.longest_with_two_actives(), Duration::ZERO);
    }
}
