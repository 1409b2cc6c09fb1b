//! The section of the status page about the pair: a table of both hosts, and below it facts such as
//! which host has the address that moves between them, and whether the link between the agents is
//! up.

use std::fmt::{self, Write};

use lb_ha::vrrp::State;

use super::{Escaped, Table, View, pools::write_button};
use crate::admin::{
    HaStatus, Request,
    wording::{PairInWords, Tone},
};

/// Writes the section of the status page about the pair; nothing for a host without a peer.
pub(super) fn write(page: &mut String, view: View<'_>) -> fmt::Result {
    let (Some(ha), Some(pair)) = (&view.status.ha, PairInWords::of(view.status)) else {
        return Ok(());
    };
    write!(
        page,
        "<section aria-labelledby=\"pair\"><h2 id=\"pair\">Pair</h2>\
         <p class=\"soft\">virtual router {}</p>",
        ha.virtual_router_id
    )?;
    let mut table = Table::begin(
        page,
        "Hosts of the pair",
        &["Host", "Role", "Priority", "Note"],
    )?;
    for host in &pair.hosts {
        table.row()?;
        table.cell("name", Escaped(&host.name))?;
        table.cell(class_of(host.role.0), Escaped(&host.role.1))?;
        table.cell("n", Escaped(&host.priority))?;
        table.cell(class_of(host.note.0), Escaped(&host.note.1))?;
    }
    table.end()?;
    page.write_str("<dl>")?;
    for fact in &pair.facts {
        write!(
            page,
            "<dt>{}</dt><dd class=\"{}\">{}</dd>",
            Escaped(fact.about),
            class_of(fact.tone),
            Escaped(&fact.text),
        )?;
    }
    page.write_str("</dl>")?;
    if view.has_actions() {
        write_hand_over(page, ha)?;
    }
    page.write_str("</section>")
}

/// Writes the button that hands the active role over to the peer, if this host is the active one.
fn write_hand_over(page: &mut String, ha: &HaStatus) -> fmt::Result {
    if ha.role != State::Master || ha.handing_over {
        return Ok(());
    }
    let peer = ha.peer.node.as_deref().unwrap_or(&ha.peer.address);
    let title = "Hand over";
    page.write_str("<p>")?;
    write_button(
        page,
        title,
        &format!("{title} to {peer}"),
        &Request::Failover,
        Some(&format!("Hand over to {peer}?")),
    )?;
    page.write_str("</p>")
}

/// Returns the CSS class that highlights a value by its tone, such as a warning. These are the
/// classes of backend states, whose colours are used again.
fn class_of(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Good => "up",
        Tone::Odd => "draining",
        Tone::Bad => "down",
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::{
        page::tests::{render, render_with_actions},
        status::examples,
    };

    #[test]
    fn the_page_shows_both_hosts_and_the_address() {
        let page = render(&examples::status());
        for wanted in [
            "Pair</h2><p class=\"soft\">virtual router 41",
            "lb-a (this)</td>",
            "class=\"up\">master</td>",
            "class=\"n\">110</td>",
            "lb-b</td>",
            "class=\"\">backup</td>",
            "class=\"n\">100</td>",
            "ready, heard 40 ms ago",
            "<dt>Elastic IP</dt><dd class=\"\">eipalloc-0123456789abcdef0 is on this host, confirmed by the EC2 API 2s ago",
            "<dt>link</dt><dd class=\"\">up for 3d 0h, lag 0.42 ms",
        ] {
            assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
        }
    }

    #[test]
    fn a_host_that_is_alone_has_no_pair_on_its_page() {
        let mut status = examples::status();
        status.ha = None;
        assert!(!render(&status).contains("Pair"));
    }

    #[test]
    fn the_active_host_alone_offers_to_hand_over_where_actions_are_allowed() {
        let button = "aria-label=\"Hand over to lb-b\" \
                      data-request=\"{&quot;command&quot;:&quot;failover&quot;}\"";
        let mut status = examples::status();
        assert!(render_with_actions(&status).contains(button));
        assert!(!render(&status).contains("<button"));
        status.ha.as_mut().expect("a pair").role = lb_ha::vrrp::State::Backup;
        assert!(!render_with_actions(&status).contains("Hand over"));
    }

    #[test]
    fn what_is_wrong_has_its_colour() {
        let mut status = examples::status();
        let ha = status.ha.as_mut().expect("a pair");
        ha.peer.role = None;
        ha.flows.as_mut().expect("flows").synced = false;
        let page = render(&status);
        assert!(page.contains("class=\"down\">not heard"), "{page}");
        assert!(page.contains("class=\"draining\">not synced"), "{page}");
    }

    #[test]
    fn what_the_peer_and_scripts_say_stays_text() {
        let mut status = examples::status();
        let ha = status.ha.as_mut().expect("a pair");
        ha.peer.node = Some("<script>1</script>".to_owned());
        ha.tracked[0].ok = false;
        ha.tracked[0].message = "\"><img src=x>".to_owned();
        let page = render(&status);
        assert!(!page.contains("<script>"), "{page}");
        assert!(!page.contains("<img"), "{page}");
    }
}
