//! Why directives of HAProxy and Keepalived that become no setting of lb are left out, by their
//! keywords.

mod haproxy;
mod keepalived;
mod options;

use super::Converter;
use crate::{
    Loss,
    haproxy::model::Line,
    keepalived::model::{Node, is_read},
    ledger::Ledger,
};

use self::{haproxy::HAPROXY, keepalived::KEEPALIVED, options::OPTIONS};
use Loss::{NotCarriedOver as Lost, NotNeeded as Needless};

/// Keywords of directives that become no setting of lb, the kind of loss that this is, and the
/// reason given to the operator.
type Row = (&'static [&'static str], Loss, &'static str);

impl Converter<'_> {
    /// Gives the reason for each directive of haproxy.cfg that becomes no setting.
    pub(crate) fn explain(&mut self) {
        for section in &self.sections.0 {
            let proxy = section.is_proxy() || matches!(section.kind(), "global" | "defaults");
            let why = format!("lb has no section like {}", section.kind());
            if proxy {
                let (loss, why) = match section.kind() {
                    "global" | "defaults" => (Needless, "a section of lb has its own settings"),
                    _ => (Lost, "nothing of the section is carried over"),
                };
                self.ledger.otherwise(section.header.id, loss, why);
            } else {
                self.ledger.otherwise(section.header.id, Lost, &*why);
            }
            let is_tcp = section.is_proxy() && !self.is_http(section).0;
            for line in &section.lines {
                if proxy && is_rule(line) && !self.ruled.contains(&line.id) {
                    let (loss, why) = if is_tcp {
                        (Needless, "HAProxy, too, ignores it in mode tcp")
                    } else {
                        (Lost, "nothing that is carried over uses the section")
                    };
                    self.ledger.otherwise(line.id, loss, why);
                }
                if !proxy {
                    self.ledger.otherwise(line.id, Lost, &*why);
                } else if let Some((loss, why)) = of_haproxy(line) {
                    self.ledger.otherwise(line.id, loss, why);
                }
            }
        }
    }
}

/// Whether a directive changes or answers requests or responses of HTTP.
fn is_rule(line: &Line) -> bool {
    let keyword = line.keyword();
    matches!(
        keyword,
        "http-request" | "http-response" | "http-after-response" | "block" | "redirect"
    ) || (keyword != "resetenv"
        && ["req", "rsp"]
            .iter()
            .any(|begin| keyword.starts_with(begin)))
        && find(HAPROXY, keyword).is_some()
}

fn of_haproxy(line: &Line) -> Option<(Loss, &'static str)> {
    let at = usize::from(matches!(line.keyword(), "no" | "default"));
    let keyword = line.word(at);
    if keyword == "option" {
        return find(OPTIONS, line.word(at + 1));
    }
    if keyword.starts_with("tune.") || keyword.starts_with("profiling.") {
        return Some((Needless, "lb needs no such tuning"));
    }
    if ["51degrees-", "deviceatlas-", "wurfl-"]
        .iter()
        .any(|module| keyword.starts_with(module))
    {
        return Some((Lost, "lb does not detect the devices of clients"));
    }
    find(HAPROXY, keyword)
}

fn find(rows: &[Row], keyword: &str) -> Option<(Loss, &'static str)> {
    let row = rows
        .iter()
        .find(|(keywords, ..)| keywords.contains(&keyword));
    row.map(|(_, loss, why)| (*loss, *why))
}

/// Gives the reason for each directive of keepalived.conf that becomes no setting.
pub(crate) fn of_keepalived(nodes: &[Node], ledger: &mut Ledger) {
    for node in nodes {
        let block = match node.keyword() {
            "global_defs" | "vrrp_instance" | "vrrp_script" | "vrrp_sync_group"
            | "track_script" | "unicast_peer" | "authentication" | "virtual_ipaddress" => Some((
                Needless,
                "lb has no such block; each directive in it is accounted for separately",
            )),
            "virtual_server" | "real_server" | "HTTP_GET" | "SSL_GET" | "SSL" | "TCP_CHECK"
            | "MISC_CHECK" | "SMTP_CHECK" | "DNS_CHECK" | "PING_CHECK" | "UDP_CHECK"
            | "BFD_CHECK" | "FILE_CHECK" | "url" | "host" => {
                Some((Lost, "lb has no such service or check"))
            }
            keyword => find(KEEPALIVED, keyword),
        };
        // Directives within a block that is not read, and those within a block that is a list, such
        // as `unicast_peer`, have no keyword with a reason of its own: their block determines their
        // reason.
        let is_instance = |member: &&Node| {
            let mut instances = nodes
                .iter()
                .filter(|node| node.keyword() == "vrrp_instance");
            instances.any(|instance| instance.word(1) == member.keyword())
        };
        if node.keyword() == "vrrp_sync_group" {
            // Old files name the instances of a group without a block `group`.
            for member in node.inner.iter().filter(is_instance) {
                ledger.otherwise(member.id, Needless, "all addresses of a host move together");
            }
        }
        let of_block = match node.keyword() {
            "unicast_peer" => Some("lb has one peer, given by its address"),
            "track_script" => Some("it tracks no script that is carried over"),
            "virtual_ipaddress" | "virtual_ipaddress_excluded" => {
                Some("lb cannot put this address on an interface")
            }
            _ if !is_read(node) => Some("the block that it is in is not read"),
            _ => None,
        };
        if let Some(why) = of_block {
            for id in node.inner.iter().flat_map(Node::ids) {
                ledger.otherwise(id, Lost, why);
            }
        }
        if let Some((loss, why)) = block {
            ledger.otherwise(node.id, loss, why);
        }
        if let Some((loss, why)) = find(KEEPALIVED, node.keyword()) {
            // The directives within a block that is left out get the reason of the block.
            for id in node.inner.iter().flat_map(Node::ids) {
                ledger.otherwise(id, loss, why);
            }
        }
        of_keepalived(&node.inner, ledger);
    }
}
