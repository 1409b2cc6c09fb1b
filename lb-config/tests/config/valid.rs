//! Valid files and the values that are read from them.

use std::{path::Path, time::Duration};

use lb_config::{
    Authentication, Balance, CheckKind, Config, Forward, Interfaces, Mode, Moves, Name, Parsed,
    Timeouts, Transport, VrrpVersion, XdpModeChoice,
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
        matches!(&config.services[1].mode, Mode::Https { certificates, obtained: None, .. } if certificates.len() == 1)
    );
}

#[test]
fn the_smallest_useful_file_of_the_design_is_right() {
    let parsed = read(include_str!("design.toml"));
    let warnings: Vec<_> = parsed
        .warnings
        .iter()
        .map(lb_config::Diagnostic::line)
        .collect();
    assert_eq!(warnings, [Some(29)], "only the missing link is warned of");
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
fn the_pair_that_the_example_shows_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/lb.toml");
    let text = std::fs::read_to_string(file).expect("deploy/lb.toml");
    let (head, rest) = text.split_once("# [ha]").expect("the commented pair");
    let (pair, _) = rest.split_once("\n\n# The values below").expect("its end");
    let uncommented: String = pair
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or("").to_owned() + "\n")
        .collect();
    let shown = read(&format!("{head}[ha]{uncommented}"));
    assert_eq!(shown.warnings, []);
    let ha = shown.config.ha.expect("[ha]");
    assert!(matches!(ha.moves, Moves::ElasticIp(_)) && ha.link.is_some());
}

#[test]
fn the_file_of_the_packages_is_right_once_its_lines_are_uncommented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/package/lb.toml");
    let text = std::fs::read_to_string(file).expect("deploy/package/lb.toml");
    let Err(errors) = parse(&text) else {
        panic!("the packages must not start an agent with it");
    };
    assert!(
        errors.to_string().contains("there is no [node]"),
        "{errors}"
    );
    let uncommented: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let shown = read(&uncommented);
    assert_eq!(shown.warnings, []);
    let ha = shown.config.ha.expect("[ha]");
    assert!(matches!(ha.moves, Moves::VirtualIp(_)) && ha.link.is_some());
    let moving = ha.moving_addresses();
    let listens = shown.config.services.iter();
    assert!(
        listens.clone().count() == 2
            && listens
                .clone()
                .all(|service| moving.contains(&service.listen.ip()))
    );
}

#[test]
fn defaults_are_those_of_the_model() {
    let config = read(SMALLEST).config;
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9145");
    assert_eq!(config.admin.socket, Path::new("/run/lb/lb.sock"));
    assert_eq!(config.dataplane.pin_path, Path::new("/sys/fs/bpf/lb"));
    assert_eq!(config.dataplane.max_connections, 250_000);
    assert_eq!(config.dataplane.source_ports, 1024..=65_535);
    assert!(config.dataplane.source_addresses.is_empty());
    assert_eq!(config.dataplane.xdp_mode, XdpModeChoice::Auto);
    assert!(config.http.workers.get() >= 1);
    assert_eq!(config.http.timeouts, Timeouts::default());
    assert_eq!(config.services[0].timeouts, Timeouts::default());
    assert_eq!(config.http.max_header_bytes, 16_384);
    assert_eq!(config.http.max_connections, None);
    assert_eq!(config.http.max_connections_per_client, 0);
    assert_eq!(config.http.connection_buffer_bytes, 1_048_576);
    assert_eq!(config.http.buffer_bytes, 268_435_456);
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
    assert_eq!(config.node.interfaces, Interfaces::one("eth0"));
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
    assert_eq!(
        config.services[1].pool.as_ref().expect("a pool").name,
        name("app")
    );
}

#[test]
fn several_interfaces_are_read_in_their_order() {
    let text = edited("interface = \"eth0\"", "interfaces = [\"eth1\", \"eth0\"]");
    let interfaces = read(&text).config.node.interfaces;
    assert_eq!(interfaces.names().collect::<Vec<_>>(), ["eth1", "eth0"]);
    assert_eq!(interfaces.first(), "eth1");
}

#[test]
fn ha_is_read() {
    let ha = read(BASE).config.ha.expect("[ha]");
    assert_eq!(ha.peer.to_string(), "172.31.15.233");
    assert_eq!(ha.source.to_string(), "172.31.0.68");
    assert_eq!((ha.virtual_router_id.get(), ha.priority.get()), (41, 110));
    assert_eq!(ha.advert_interval, Duration::from_millis(100));
    assert_eq!((ha.preempt, ha.version), (true, VrrpVersion::V3));
    assert!(
        matches!(&ha.moves, Moves::ElasticIp(eip) if eip.region.as_deref() == Some("me-central-1"))
    );
    assert_eq!(ha.interface_addresses(), []);
    let link = ha.link.expect("[ha.link]");
    assert_eq!(link.secret_file, Path::new("/etc/lb/peer.secret"));
    assert_eq!(ha.track[0].name, name("uplink"));
    assert_eq!(ha.track[0].weight, -20);
    let command = ["/usr/local/bin/check-uplink", "--quick"];
    assert_eq!(ha.track[0].command, command);
    let master = vec!["/usr/local/bin/on-master".to_owned()];
    assert_eq!(ha.notify.master, Some(master));
    assert_eq!((ha.notify.backup, ha.notify.stop), (None, None));
}

#[test]
fn ha_has_the_defaults_of_the_model() {
    let from = BASE.find("priority = 110").expect("a priority");
    let to = BASE.find("[ha.elastic_ip]").expect("an Elastic IP");
    let text = edited(&BASE[from..to], "");
    let ha = read(&text.replace("weight = -20", ""))
        .config
        .ha
        .expect("[ha]");
    assert_eq!(ha.priority.get(), 100);
    assert_eq!((ha.preempt, ha.preempt_delay), (true, Duration::ZERO));
    assert_eq!(ha.version, VrrpVersion::V3);
    assert_eq!(ha.advert_interval, Duration::from_secs(1));
    assert_eq!(ha.transport, Transport::Unicast);
    assert_eq!(ha.authentication, Authentication::None);
    assert_eq!(
        (ha.check_source, ha.checksum_without_pseudo_header),
        (true, false)
    );
    assert!(ha.advertised_addresses.is_empty());
    assert_eq!(ha.handover_timeout, Duration::from_secs(5));
    assert_eq!((ha.min_backends, ha.backends_weight), (1, 50));
    let link = ha.link.expect("[ha.link]");
    assert_eq!((link.port, link.share_certificates), (9146, false));
    let script = &ha.track[0];
    assert_eq!(script.interval, Duration::from_secs(1));
    assert_eq!(script.timeout, Duration::from_secs(1));
    assert_eq!((script.rise, script.fall, script.weight), (2, 2, 0));
    assert!(matches!(ha.moves, Moves::ElasticIp(eip) if !eip.moves_private_ip));
}

#[test]
fn every_value_of_ha_is_read() {
    let text = edited(
        "preempt = true\nversion = 3",
        "preempt_delay = \"30s\"\nversion = 2\ntransport = \"multicast\"\npassword = \"s3cret\"\n\
         check_source = false\nadvertised_addresses = [\"172.31.0.200\"]\nmin_backends = 2\n\
         backends_weight = 20\nhandover_timeout = \"1s500ms\"",
    );
    let text = text
        .replace("\"100ms\"", "\"2s\"")
        .replace(
            "[ha.link]",
            "private_ip = \"172.31.0.200\"\nmoves_private_ip = true\n[ha.link]\nport = 1234\n\
             share_certificates = true",
        )
        .replace(
            "weight = -20",
            "interval = \"5s\"\ntimeout = \"2s\"\nrise = 4\nfall = 3\nweight = 253",
        );
    let ha = read(&text).config.ha.expect("[ha]");
    assert_eq!(ha.preempt_delay, Duration::from_secs(30));
    assert_eq!(ha.version, VrrpVersion::V2);
    assert_eq!(ha.transport, Transport::Multicast);
    assert_eq!(
        ha.authentication,
        Authentication::Password("s3cret".to_owned())
    );
    assert!(!ha.check_source);
    assert_eq!(ha.advertised_addresses[0].to_string(), "172.31.0.200");
    assert_eq!((ha.min_backends, ha.backends_weight), (2, 20));
    assert_eq!(ha.handover_timeout, Duration::from_millis(1_500));
    assert!(matches!(&ha.moves, Moves::ElasticIp(eip) if eip.moves_private_ip));
    assert_eq!(ha.interface_addresses()[0].to_string(), "172.31.0.200/32");
    let link = ha.link.expect("[ha.link]");
    assert_eq!((link.port, link.share_certificates), (1234, true));
    let script = &ha.track[0];
    assert_eq!(script.interval, Duration::from_secs(5));
    assert_eq!(script.timeout, Duration::from_secs(2));
    assert_eq!((script.rise, script.fall, script.weight), (4, 3, 253));
}

#[test]
fn a_key_for_adverts_is_read() {
    let text = edited("version = 3", "hmac_key_file = \"/etc/lb/vrrp.key\"");
    let ha = read(&text).config.ha.expect("[ha]");
    let file = "/etc/lb/vrrp.key".into();
    assert_eq!(ha.authentication, Authentication::Hmac(file));
}

#[test]
fn a_service_may_listen_on_an_address_that_moves() {
    let text = edited("172.31.0.68:443", "172.31.0.200:443");
    let from = text.find("[ha.elastic_ip]").expect("an Elastic IP");
    let to = text.find("[ha.link]").expect("the link");
    let virtual_ip = "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n";
    let config = read(&text.replace(&text[from..to], virtual_ip)).config;
    let moving = config.ha.expect("[ha]").moving_addresses();
    assert_eq!(moving, [config.services[1].listen.ip()]);
}

#[test]
fn virtual_addresses_are_read() {
    let from = BASE.find("[ha.elastic_ip]").expect("an Elastic IP");
    let from = &BASE[from..BASE.find("[ha.link]").expect("the link")];
    let to = "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.201/20\"]\n";
    let ha = read(&edited(from, to)).config.ha.expect("[ha]");
    let Moves::VirtualIp(addresses) = ha.moves else {
        panic!("{:?} is not virtual addresses", ha.moves);
    };
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.31.0.200/20", "172.31.0.201/20"]);
    let advertised = ha.advertised_addresses.iter().map(ToString::to_string);
    let advertised: Vec<_> = advertised.collect();
    assert_eq!(advertised, ["172.31.0.200", "172.31.0.201"]);
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
        let config = read(&edited("250000", written)).config;
        assert_eq!(config.dataplane.max_connections, 65_536, "{written}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    let expected = read(BASE).config;
    assert_eq!(read(&BASE.replace('\n', "\r\n")).config, expected);
    assert_eq!(read(&format!("\u{feff}{BASE}")).config, expected);
}
