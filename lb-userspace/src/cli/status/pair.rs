//! The section of `lb status` about the pair: both hosts, and facts about the address that moves,
//! the link between the agents, and the replication of flows.

use super::{Align, Cell, Style, Table};
use crate::admin::{
    Status,
    wording::{Fact, HostRow, PairInWords, Tone},
};

/// Formats the status of the pair as text; `None` for a host without a peer.
pub(super) fn render(status: &Status, colour: bool) -> Option<String> {
    let router = status.ha.as_ref()?.virtual_router_id;
    let pair = PairInWords::of(status)?;
    // The names of the hosts and the subjects of the facts share one column, so they share its
    // width.
    let names = pair.hosts.iter().map(|host| host.name.as_str());
    let abouts = pair.facts.iter().map(|fact| fact.about);
    let widths = names.chain(abouts).map(|text| text.chars().count());
    let width = widths.max().unwrap_or_default();
    let name = Style::Bold.paint("pair", colour);
    let hosts = hosts(&pair.hosts, width, colour);
    let facts = pair.facts.iter().map(|one| fact(one, width, colour));
    let facts: String = facts.collect();
    Some(format!("{name}  virtual router {router}\n{hosts}{facts}"))
}

fn hosts(hosts: &[HostRow], width: usize, colour: bool) -> String {
    let mut table = Table::new(&[
        ("HOST", Align::Left),
        ("ROLE", Align::Left),
        ("PRIORITY", Align::Right),
        ("", Align::Left),
    ]);
    for host in hosts {
        table.push(vec![
            Cell::new(format!("{:<width$}", host.name)),
            Cell::styled(&host.role.1, style_of(host.role.0)),
            Cell::new(&host.priority),
            Cell::styled(&host.note.1, style_of(host.note.0)),
        ]);
    }
    table.render(colour)
}

fn fact(fact: &Fact, width: usize, colour: bool) -> String {
    let about = Style::Faint.paint(&format!("{:<width$}", fact.about), colour);
    let text = style_of(fact.tone).paint(&fact.text, colour);
    format!("{about}  {text}\n")
}

fn style_of(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::Plain,
        Tone::Good => Style::Green,
        Tone::Odd => Style::Yellow,
        Tone::Bad => Style::Red,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_ha::vrrp::State;

    use super::*;
    use crate::admin::{AddressOwner, Moment, examples_of_status};

    #[test]
    fn both_hosts_are_seen_at_a_glance() {
        let text = render(&examples_of_status(), false).expect("a pair");
        let wanted = "\
pair  virtual router 41
HOST         ROLE    PRIORITY
lb-a (this)  master       110  for 3d 1h: no active host was heard
lb-b         backup       100  ready, heard 40 ms ago
Elastic IP   eipalloc-0123456789abcdef0 is on this host, confirmed by the EC2 API 2s ago, moved to this host once
link         up for 3d 0h, lag 0.42 ms
flows        synced: 12,345 sent, 17 received; last full pass 12s ago
tracked      2 of 2 healthy
";
        assert_eq!(text, wanted, "\n{text}");
    }

    #[test]
    fn a_host_that_stepped_back_shows_what_is_wrong() {
        let mut status = examples_of_status();
        let ago = |seconds| Moment(status.now.0 - Duration::from_secs(seconds));
        let (since, failed) = (ago(12), ago(1));
        let ha = status.ha.as_mut().expect("a pair");
        ha.role = State::Backup;
        ha.reason = "stepped_back".to_owned();
        ha.since = since;
        ha.stepped_back = true;
        ha.peer.role = None;
        ha.peer.priority = None;
        ha.peer.heard = Some(13.2);
        ha.address.owner = AddressOwner::Other;
        ha.address.owner_is = Some("eni-0123456789abcdef0".to_owned());
        ha.address.error = Some("the EC2 API did not answer within 5 s".to_owned());
        ha.address.error_at = Some(failed);
        let link = ha.link.as_mut().expect("a link");
        link.up = false;
        link.since = since;
        link.problem = Some("the peer has not answered in time".to_owned());
        ha.tracked[1].ok = false;
        ha.tracked[1].since = since;
        ha.tracked[1].effect = "-50".to_owned();
        ha.tracked[1].message = "exit status 1".to_owned();
        let text = render(&status, false).expect("a pair");
        let wanted = "\
pair  virtual router 41
HOST         ROLE    PRIORITY
lb-a (this)  backup       110  stepped back 12s ago: the address is elsewhere and the peer is silent
lb-b         –              –  not heard: last message 13s ago
Elastic IP   eipalloc-0123456789abcdef0 is on eni-0123456789abcdef0, moved to this host once
EC2 API      1s ago: the EC2 API did not answer within 5 s
link         down for 12s: the peer has not answered in time
flows        synced: 12,345 sent, 17 received; last full pass 12s ago
tracked      disk failing for 12s (-50): exit status 1
";
        assert_eq!(text, wanted, "\n{text}");
        let coloured = render(&status, true).expect("a pair");
        for red in ["down for 12s", "not heard"] {
            assert!(
                coloured.contains(&format!("\x1b[1;31m{red}")),
                "{coloured:?}"
            );
        }
        for yellow in ["stepped back", "1s ago: the EC2", "disk failing"] {
            assert!(
                coloured.contains(&format!("\x1b[33m{yellow}")),
                "{coloured:?}"
            );
        }
    }

    #[test]
    fn a_host_that_is_alone_shows_no_pair() {
        let mut status = examples_of_status();
        status.ha = None;
        assert_eq!(render(&status, false), None);
    }
}
