//! The metrics of adverts, tracking, virtual IPs and notify commands.

use std::fmt;

use super::{
    address::AddressesView,
    adverts,
    notify::{NotifyView, Outcome, Role},
    track::Tracked,
};
use crate::metrics::{Collector, DescriptorEncoder, Samples, families, flag};

families! {
    TRACK_OK: Gauge "lb_track_ok" ["name"]
        "1 while a tracked item is healthy, 0 otherwise.";
    ADVERTS_SENT: Counter "lb_vrrp_adverts_sent_total" []
        "VRRP adverts sent.";
    ADVERTS_RECEIVED: Counter "lb_vrrp_adverts_received_total" []
        "Valid VRRP adverts received from the peer.";
    ADVERTS_REFUSED: Counter "lb_vrrp_adverts_refused_total" ["reason"]
        "VRRP adverts received and refused, by reason.";
    ADVERT_ERRORS: Counter "lb_vrrp_advert_errors_total" []
        "VRRP adverts that could not be sent, and errors of their sockets.";
    NOTIFY_RUNS: Counter "lb_notify_runs_total" ["state", "outcome"]
        "Runs of the commands of [ha.notify], by state and outcome.";
    VIRTUAL_IP_HELD: Gauge "lb_virtual_ip_held" []
        "1 while this host has the virtual IPs on its interface, 0 otherwise.";
}

/// The numbers of adverts, tracking, notify commands and virtual IPs at the moment of a scrape.
#[derive(Clone, Debug)]
pub struct HaMetrics {
    /// The counters of the adverts that were sent, received and refused.
    pub adverts: adverts::Counters,
    /// The tracked objects with their states and numbers of checks.
    pub tracked: Vec<Tracked>,
    /// The numbers of runs of the commands of `[ha.notify]`.
    pub notified: NotifyView,
    /// The virtual IPs; `None` if no addresses move between the hosts.
    pub addresses: Option<AddressesView>,
}

impl Collector for HaMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let mut tracked = Samples::begin(encoder, &TRACK_OK)?;
        for one in &self.tracked {
            let is_ok = one.fact.well == Some(true);
            tracked.gauge(&[&one.fact.what.to_string()], flag(is_ok))?;
        }
        let adverts = &self.adverts;
        Samples::begin(encoder, &ADVERTS_SENT)?.counter(&[], &adverts.sent)?;
        Samples::begin(encoder, &ADVERTS_RECEIVED)?.counter(&[], &adverts.received)?;
        let refused = adverts.refused.iter().map(|(word, count)| (*word, *count));
        Samples::begin(encoder, &ADVERTS_REFUSED)?.counters(refused)?;
        let errors = adverts.send_errors + adverts.overrun;
        Samples::begin(encoder, &ADVERT_ERRORS)?.counter(&[], &errors)?;
        let mut runs = Samples::begin(encoder, &NOTIFY_RUNS)?;
        for ((role, outcome), count) in &self.notified.runs {
            runs.counter(&[role_label(*role), outcome_label(*outcome)], count)?;
        }
        if let Some(addresses) = &self.addresses {
            Samples::begin(encoder, &VIRTUAL_IP_HELD)?.gauge(&[], flag(addresses.held()))?;
        }
        Ok(())
    }
}

fn outcome_label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::PassedOver => "passed_over",
    }
}

fn role_label(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Backup => "backup",
        Role::Fault => "fault",
        Role::Stop => "stop",
    }
}
