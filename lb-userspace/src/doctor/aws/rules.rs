//! Checks whether the security groups of this host let in the packets of clients and of the peer.

use std::net::IpAddr;

use super::SECURITY_GROUPS;
use crate::{
    aws::{ApiError, ErrorKind, InboundRule},
    config::{Config, Ha},
    doctor::finding::Finding,
};

/// Packets that the security groups of this host must let in.
#[derive(Clone, Debug)]
struct Traffic {
    /// What the packets are for, such as a service, as text for the output.
    name: String,
    protocol: &'static str,
    port: Option<u16>,
    /// The sender of the packets; `None` for clients, which may have any address.
    from: Option<IpAddr>,
}

/// Checks the inbound rules of the security groups of this host's interface, or the error of
/// reading them.
pub(super) fn judge(config: &Config, rules: Result<Vec<InboundRule>, ApiError>) -> Vec<Finding> {
    let rules = match rules {
        Ok(rules) => rules,
        Err(error) => return vec![unknown(&error)],
    };
    let services = config.services.iter().map(|service| Traffic {
        name: format!("service {}", service.name),
        protocol: "tcp",
        port: Some(service.listen.port()),
        from: None,
    });
    let pair = config.ha.as_ref().map(from_peer).unwrap_or_default();
    let traffic = services.chain(pair);
    traffic.map(|traffic| judge_one(&traffic, &rules)).collect()
}

fn unknown(error: &ApiError) -> Finding {
    match error.kind {
        ErrorKind::Denied => SECURITY_GROUPS.skipped(
            "",
            "the role does not permit ec2:DescribeSecurityGroups, which only this check needs",
        ),
        _ => SECURITY_GROUPS.skipped("", error),
    }
}

fn from_peer(ha: &Ha) -> Vec<Traffic> {
    let adverts = Traffic {
        name: "adverts".to_owned(),
        protocol: "112",
        port: None,
        from: Some(ha.peer),
    };
    let link = ha.link.as_ref().map(|link| Traffic {
        name: "link".to_owned(),
        protocol: "tcp",
        port: Some(link.port),
        from: Some(ha.peer),
    });
    [adverts].into_iter().chain(link).collect()
}

fn judge_one(traffic: &Traffic, rules: &[InboundRule]) -> Finding {
    let Traffic {
        name,
        protocol,
        port,
        from,
    } = traffic;
    let what = match port {
        Some(port) => format!("{protocol} port {port}"),
        None => format!("IP protocol {protocol}"),
    };
    let allowing = rules.iter().filter(|rule| allows(rule, traffic));
    let sources: Vec<&str> = allowing
        .flat_map(|rule| rule.networks.iter().chain(&rule.groups))
        .map(String::as_str)
        .collect();
    if !sources.is_empty() {
        return SECURITY_GROUPS.ok(name, format!("{what} from {}", sources.join(", ")));
    }
    let source = from.map_or("clients".to_owned(), |peer| format!("the peer {peer}"));
    let group = rules.first().map_or("GROUP", |rule| rule.group.as_str());
    let cidr = match from {
        Some(IpAddr::V4(peer)) => format!("{peer}/32"),
        Some(IpAddr::V6(peer)) => format!("{peer}/128"),
        None => "0.0.0.0/0".to_owned(),
    };
    let port = port.map_or(String::new(), |port| format!(" --port {port}"));
    SECURITY_GROUPS.fail(
        name,
        format!("no rule allows {what} from {source}"),
        format!(
            "`aws ec2 authorize-security-group-ingress --group-id {group} --protocol {protocol}{port} --cidr \
             {cidr}`"
        ),
    )
}

fn allows(rule: &InboundRule, traffic: &Traffic) -> bool {
    let protocol = rule.protocol == "-1"
        || rule.protocol == traffic.protocol
        || (rule.protocol == "6" && traffic.protocol == "tcp");
    let port = match (rule.ports, traffic.port) {
        (Some((first, last)), Some(port)) => (first..=last).contains(&port),
        _ => true,
    };
    let source = match traffic.from {
        // The security groups of the peer are not known, so a rule that names a group as its source
        // is taken to let the peer in.
        Some(peer) => {
            !rule.groups.is_empty() || rule.networks.iter().any(|network| contains(network, peer))
        }
        None => !rule.networks.is_empty() || !rule.groups.is_empty(),
    };
    protocol && port && source
}

/// Returns whether a network in CIDR notation contains an address.
fn contains(network: &str, address: IpAddr) -> bool {
    let Some((start, length)) = network.split_once('/') else {
        return false;
    };
    let (Ok(start), Ok(length)) = (start.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    match (start, address) {
        (IpAddr::V4(start), IpAddr::V4(address)) if length <= 32 => {
            let rest = 32 - length;
            let network = |one: u32| one.checked_shr(rest).unwrap_or(0);
            network(start.to_bits()) == network(address.to_bits())
        }
        (IpAddr::V6(start), IpAddr::V6(address)) if length <= 128 => {
            let rest = 128 - length;
            let network = |one: u128| one.checked_shr(rest).unwrap_or(0);
            network(start.to_bits()) == network(address.to_bits())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn rule(protocol: &str, ports: Option<(u16, u16)>, network: &str) -> InboundRule {
        InboundRule {
            group: "sg-1".to_owned(),
            protocol: protocol.to_owned(),
            ports,
            networks: vec![network.to_owned()],
            groups: Vec::new(),
        }
    }

    fn adverts() -> Traffic {
        Traffic {
            name: "adverts".to_owned(),
            protocol: "112",
            port: None,
            from: Some(IpAddr::from([172, 31, 15, 233])),
        }
    }

    fn https() -> Traffic {
        Traffic {
            name: "service https".to_owned(),
            protocol: "tcp",
            port: Some(443),
            from: None,
        }
    }

    #[test]
    fn a_service_needs_a_rule_for_its_port() {
        let state = |rules: &[InboundRule]| judge_one(&https(), rules).state;
        assert_eq!(
            state(&[rule("tcp", Some((443, 443)), "0.0.0.0/0")]),
            State::Ok
        );
        assert_eq!(state(&[rule("-1", None, "10.0.0.0/8")]), State::Ok);
        assert_eq!(
            state(&[rule("tcp", Some((80, 80)), "0.0.0.0/0")]),
            State::Fail
        );
        assert_eq!(
            state(&[rule("udp", Some((443, 443)), "0.0.0.0/0")]),
            State::Fail
        );
        assert_eq!(state(&[]), State::Fail);
    }

    #[test]
    fn adverts_need_protocol_112_from_the_peer() {
        let state = |rules: &[InboundRule]| judge_one(&adverts(), rules).state;
        assert_eq!(state(&[rule("112", None, "172.31.0.0/20")]), State::Ok);
        assert_eq!(state(&[rule("112", None, "172.31.0.0/24")]), State::Fail);
        assert_eq!(
            state(&[rule("tcp", Some((0, 65_535)), "172.31.0.0/20")]),
            State::Fail
        );
        let mut own = rule("112", None, "10.0.0.0/8");
        own.groups.push("sg-1".to_owned());
        assert_eq!(state(&[own]), State::Ok);
        let fix = judge_one(&adverts(), &[https_rule()]).fix.expect("a fix");
        assert!(
            fix.contains("--group-id sg-1 --protocol 112 --cidr 172.31.15.233/32"),
            "{fix}"
        );
    }

    fn https_rule() -> InboundRule {
        rule("tcp", Some((443, 443)), "0.0.0.0/0")
    }

    #[test]
    fn networks_contain_addresses_by_their_prefix() {
        let address: IpAddr = [172, 31, 15, 233].into();
        assert!(contains("172.31.0.0/20", address) && contains("0.0.0.0/0", address));
        assert!(!contains("172.31.16.0/20", address) && !contains("::/0", address));
        for malformed in ["", "172.31.0.0", "172.31.0.0/33", "x/8"] {
            assert!(!contains(malformed, address), "{malformed}");
        }
    }
}
