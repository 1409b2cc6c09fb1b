//! The section of the status page about the pair: both hosts, and facts about address, link and
//! flows.

use std::fmt::{self, Write};

use super::Escaped;
use crate::admin::{
    Status,
    wording::{PairInWords, Tone},
};

/// Writes the section of the page about the pair; writes nothing for a host without a peer.
pub(super) fn write(page: &mut String, status: &Status) -> fmt::Result {
    let (Some(ha), Some(pair)) = (&status.ha, PairInWords::of(status)) else {
        return Ok(());
    };
    write!(
        page,
        "<h2>Pair</h2><p>virtual router {}</p><div class=\"wide\"><table><tr><th>Host<th>Role\
         <th class=\"n\">Priority<th>",
        ha.virtual_router_id
    )?;
    for host in &pair.hosts {
        write!(
            page,
            "<tr><td>{}<td class=\"{}\">{}<td class=\"n\">{}<td class=\"{}\">{}",
            Escaped(&host.name),
            class_of(host.role.0),
            Escaped(&host.role.1),
            Escaped(&host.priority),
            class_of(host.note.0),
            Escaped(&host.note.1),
        )?;
    }
    page.write_str("</table></div><div class=\"wide\"><table>")?;
    for fact in &pair.facts {
        write!(
            page,
            "<tr><th>{}<td class=\"{}\">{}",
            Escaped(fact.about),
            class_of(fact.tone),
            Escaped(&fact.text),
        )?;
    }
    page.write_str("</table></div>")
}

/// Returns the CSS class of a tone. These are the classes of backend states, whose colours are used
/// again.
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
    use crate::admin::{page::render, status::examples};

    #[test]
    fn the_page_shows_both_hosts_and_the_address() {
        let page = render(&examples::status());
        for wanted in [
            "<h2>Pair</h2><p>virtual router 41",
            "<td>lb-a (this)<td class=\"up\">master<td class=\"n\">110",
            "<td>lb-b<td class=\"\">backup<td class=\"n\">100",
            "ready, heard 40 ms ago",
            "<th>Elastic IP<td class=\"\">eipalloc-0123456789abcdef0 is here, confirmed 2s ago",
            "<th>link<td class=\"\">up for 3d 0h, lag 0.42 ms",
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
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("<img"), "{page}");
    }
}
