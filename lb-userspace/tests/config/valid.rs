//! What is read from files that are right.

use std::{path::Path, time::Duration};

use lb::config::{
    Balance, CheckKind, Config, Forward, Mode, Moves, Name, Parsed, VrrpVersion, XdpModeChoice,
};

use super::{BASE, edited, parse};

fn read(text: &str) -> Parsed {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

const SMALLEST: &str = r#"
[node]
name = "lb-a"
interface = "eth0"

[[pool]]
name = "web"
backends = ["10.0.0.6:80"]

[[service]]
name = "http"
listen = "172.31.0.68:80"
mode = "tcp"
pool = "web"
"#;

#[test]
fn the_example_file_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/lb.toml");
    let parsed = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.warnings, []);
    let config = parsed.config;
    let names = |addresses: &[&str]| addresses.iter().map(|text| name(text)).collect::<Vec<_>>();
    let backends: Vec<_> = config.pools[0]
        .backends
        .iter()
        .map(|b| b.name.clone())
        .collect();
    assert_eq!(
        backends,
        names(&["10.0.0.6:80", "10.0.0.7:80", "10.0.0.9:80", "10.0.0.19:80"])
    );
    let forward = Forward::Nat;
    assert_eq!(config.services[0].mode, Mode::Tcp { forward });
    assert!(
        matches!(&config.services[1].mode, Mode::Https { certificates } if certificates.len() == 1)
    );
}

#[test]
fn the_smallest_useful_file_of_the_design_is_right() {
    let parsed = read(include_str!("design.toml"));
    let warnings: Vec<_> = parsed
        .warnings
        .iter()
        .map(lb::config::Diagnostic::line)
        .collect();
    assert_eq!(warnings, [Some(29)], "only [ha] is warned of");
    assert_eq!(parsed.config.pools[0].backends.len(), 4);
    assert_eq!(parsed.config.services.len(), 2);
}

#[test]
fn what_the_example_shows_as_defaults_is_right_too() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/lb.toml");
    let text = std::fs::read_to_string(file).expect("deploy/lb.toml");
    let (head, defaults) = text.split_once("# [http]").expect("the commented defaults");
    let uncommented: String = defaults
        .lines()
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    let shown = read(&format!("{head}[http]{uncommented}")).config;
    let absent = read(head).config;
    assert_eq!(shown, absent);
}

#[test]
fn defaults_are_those_of_the_model() {
    let config = read(SMALLEST).config;
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9145");
    assert_eq!(config.admin.socket, Path::new("/run/lb/lb.sock"));
    assert_eq!(config.dataplane.pin_path, Path::new("/sys/fs/bpf/lb"));
    assert_eq!(config.dataplane.max_flows, 1_048_576);
    assert_eq!(config.dataplane.source_ports, 10_240..=32_767);
    assert_eq!(config.dataplane.xdp_mode, XdpModeChoice::Auto);
    assert!(config.http.workers.get() >= 1);
    assert_eq!(config.http.header_timeout, Duration::from_secs(10));
    assert_eq!(config.http.body_timeout, Duration::from_secs(30));
    assert_eq!(config.http.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.http.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.http.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.http.response_timeout, Duration::from_secs(60));
    assert_eq!(config.http.max_header_bytes, 16_384);
    assert_eq!(config.http.idle_connections, 64);
    assert!(config.http.trusted_proxies.is_empty());
    assert_eq!(config.pools[0].balance, Balance::RoundRobin);
    assert_eq!(config.pools[0].check, None);
    assert_eq!(config.pools[0].backends[0].weight.get(), 1);
    assert_eq!(config.ha, None);
}

#[test]
fn a_check_has_the_defaults_of_the_model() {
    let text = SMALLEST.replace("[[service]]", "check = { type = \"http\" }\n[[service]]");
    let config = read(&text).config;
    let check = config.pools[0].check.as_ref().expect("a check");
    let (path, expect) = ("/".to_owned(), 200..=399);
    let host = None;
    assert_eq!(check.kind, CheckKind::Http { path, host, expect });
    assert_eq!(check.interval, Duration::from_secs(2));
    assert_eq!(check.timeout, Duration::from_secs(1));
    assert_eq!((check.rise, check.fall), (2, 3));
}

#[test]
fn a_short_interval_shortens_the_default_timeout() {
    let check = "check = { type = \"tcp\", interval = \"200ms\" }\n[[service]]";
    let config = read(&SMALLEST.replace("[[service]]", check)).config;
    let check = config.pools[0].check.as_ref().expect("a check");
    assert_eq!(check.timeout, Duration::from_millis(200));
}

#[test]
fn every_value_of_a_file_is_read() {
    let config = read(BASE).config;
    assert_eq!(config.node.name, name("lb-a"));
    assert_eq!(config.node.interface, "eth0");
    assert_eq!(config.http.workers.get(), 2);
    assert_eq!(
        config.http.trusted_proxies,
        ["192.0.2.1".parse::<std::net::IpAddr>().expect("an address")]
    );
    let app = &config.pools[1];
    assert_eq!(
        app.check.as_ref().map(|check| &check.kind),
        Some(&CheckKind::Tcp)
    );
    let backends: Vec<_> = app
        .backends
        .iter()
        .map(|b| format!("{} {} {}", b.name, b.address, b.weight.get()))
        .collect();
    assert_eq!(backends, ["app1 10.0.1.6:8080 2", "app2 10.0.1.7:8080 1"]);
    assert_eq!(config.services[0].listen.to_string(), "172.31.0.68:80");
    assert_eq!(config.services[1].pool.name, name("app"));
}

#[test]
fn ha_is_read_and_said_to_be_without_effect() {
    let parsed = read(BASE);
    let ha = parsed.config.ha.expect("[ha]");
    assert_eq!(ha.peer.to_string(), "172.31.15.233");
    assert_eq!(ha.source.to_string(), "172.31.0.68");
    assert_eq!((ha.virtual_router_id.get(), ha.priority.get()), (41, 110));
    assert_eq!(ha.advert_interval, Duration::from_millis(100));
    assert_eq!((ha.preempt, ha.version), (true, VrrpVersion::V3));
    assert!(matches!(ha.moves, Moves::ElasticIp(eip) if eip.region == "me-central-1"));
    let warnings: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
    let said = r#"
warning: this version of lb does not act on [ha]: this host runs alone
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: no advert is sent and no address moves when this host fails; the section is checked, so that it can stay
"#;
    assert_eq!(warnings, [said.trim_matches('\n')]);
}

#[test]
fn virtual_addresses_are_read() {
    let from = &BASE[BASE.find("[ha.elastic_ip]").expect("an Elastic IP")..];
    let to = "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.201/20\"]\n";
    let ha = read(&edited(from, to)).config.ha.expect("[ha]");
    let Moves::VirtualIp(addresses) = ha.moves else {
        panic!("{:?} is not virtual addresses", ha.moves);
    };
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.31.0.200/20", "172.31.0.201/20"]);
}

#[test]
fn a_pool_that_no_service_uses_is_warned_of() {
    let parsed = read(&SMALLEST.replace(
        "[[service]]",
        "[[pool]]\nname = \"spare\"\nbackends = [\"10.0.0.9:80\"]\n[[service]]",
    ));
    let warnings: Vec<_> = parsed
        .warnings
        .iter()
        .map(|warning| &*warning.message)
        .collect();
    assert_eq!(warnings, ["no service uses pool \"spare\""]);
}

#[test]
fn services_of_the_agent_may_listen_on_wildcards_and_ipv6() {
    for listen in [
        "0.0.0.0:443",
        "[::]:443",
        "[2001:db8::68]:443",
        "127.0.0.1:443",
    ] {
        let config = read(&edited("172.31.0.68:443", listen)).config;
        assert_eq!(config.services[1].listen.to_string(), listen);
    }
}

#[test]
fn pools_of_the_agent_s_services_may_hold_ipv6_and_count_load() {
    let text = edited("\"10.0.1.7:8080\"", "\"[2001:db8::7]:8080\"");
    let text = text.replace(
        "name = \"app\"\n",
        "name = \"app\"\nbalance = \"random_two\"\n",
    );
    let config = read(&text).config;
    assert_eq!(config.pools[1].balance, Balance::RandomTwo);
    assert_eq!(
        config.pools[1].backends[1].address.to_string(),
        "[2001:db8::7]:8080"
    );
}

#[test]
fn the_wildcard_of_ipv6_takes_no_ipv4() {
    read(&edited("172.31.0.68:443", "[::]:80"));
}

#[test]
fn one_port_on_two_addresses_is_no_clash() {
    read(&edited("\"172.31.0.68:443\"", "\"172.31.0.69:80\""));
}

#[test]
fn a_status_may_be_a_number_or_a_range() {
    for (written, expect) in [
        ("204", 204..=204),
        ("\"204\"", 204..=204),
        ("\"200-299\"", 200..=299),
    ] {
        let text = edited("path = \"/\"", &format!("path = \"/\", expect = {written}"));
        let config = read(&text).config;
        let check = config.pools[0].check.clone().expect("a check");
        assert!(matches!(check.kind, CheckKind::Http { expect: read, .. } if read == expect));
    }
}

#[test]
fn numbers_may_be_written_as_toml_writes_them() {
    for written in ["65_536", "0x10000", "0b1_0000_0000_0000_0000", "+65536"] {
        let config = read(&edited("1048576", written)).config;
        assert_eq!(config.dataplane.max_flows, 65_536, "{written}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    let expected = read(BASE).config;
    assert_eq!(read(&BASE.replace('\n', "\r\n")).config, expected);
    assert_eq!(read(&format!("\u{feff}{BASE}")).config, expected);
}
