//! Tests of `[pool.discover]`.

mod values;

use std::{path::Path, time::Duration};

use lb_config::{AddressFamily, Discover, DiscoverySource, InstanceFilter};

use super::{parse, refused_text};

/// Returns a file with a pool that has these keys in `[pool.discover]`, and a service of the mode
/// that uses it. The keys begin on line 9.
fn file(mode: &str, keys: &str) -> String {
    format!(
        "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\n[[pool]]\nname = \"web\"\n\n\
         [pool.discover]\n{keys}\n\n[[service]]\nname = \"http\"\nlisten = \"172.31.0.68:80\"\n\
         mode = \"{mode}\"\npool = \"web\"\n"
    )
}

#[track_caller]
fn discovered(keys: &str) -> Discover {
    let parsed = parse(&file("tcp", keys)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.warnings, []);
    let pool = &parsed.config.pools[0];
    assert_eq!(pool.backends, [], "the file lists no backends");
    assert!(parsed.config.discovers());
    pool.discover.clone().expect("the pool discovers")
}

#[track_caller]
fn refused(keys: &str, expected: &str) {
    refused_text(&file("tcp", keys), expected);
}

#[test]
fn a_name_with_a_port_is_a_source() {
    let discover = discovered("dns = \"Web.internal.example.org.\"\nport = 8080");
    assert_eq!(
        discover,
        Discover {
            source: DiscoverySource::Dns {
                names: vec!["web.internal.example.org".to_owned()],
                port: 8080,
                family: AddressFamily::Ipv4,
                nameservers: Vec::new(),
            },
            interval: Duration::from_secs(10),
            drain: Duration::from_secs(300),
        }
    );
    let discover = discovered("dns = [\"web1.internal\", \"web2.internal\"]\nport = 80");
    let DiscoverySource::Dns { names, .. } = discover.source else {
        panic!("{discover:?}");
    };
    assert_eq!(names, ["web1.internal", "web2.internal"]);
    let servers = "nameservers = [\"10.0.0.2\", \"10.0.0.3:5353\", \"2001:db8::2\", \
                   \"[2001:db8::3]:5353\"]";
    let discover = discovered(&format!("dns = \"web\"\nport = 80\n{servers}"));
    let DiscoverySource::Dns { nameservers, .. } = discover.source else {
        panic!("{discover:?}");
    };
    let nameservers: Vec<_> = nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(
        nameservers,
        [
            "10.0.0.2:53",
            "10.0.0.3:5353",
            "[2001:db8::2]:53",
            "[2001:db8::3]:5353"
        ]
    );
}

#[test]
fn a_name_with_records_of_type_srv_is_a_source() {
    let discover = discovered("srv = \"_http._tcp.web.example.org\"");
    assert_eq!(
        discover,
        Discover {
            source: DiscoverySource::Srv {
                name: "_http._tcp.web.example.org".to_owned(),
                family: AddressFamily::Ipv4,
                nameservers: Vec::new(),
            },
            interval: Duration::from_secs(10),
            drain: Duration::from_secs(300),
        }
    );
}

#[test]
fn a_file_is_a_source() {
    let discover = discovered("file = \"/run/lb/web.backends\"");
    assert_eq!(
        discover,
        Discover {
            source: DiscoverySource::File(Path::new("/run/lb/web.backends").to_owned()),
            interval: Duration::from_secs(1),
            drain: Duration::from_secs(300),
        }
    );
}

#[test]
fn tags_of_instances_are_a_source() {
    let keys = "ec2_tags = { Role = \"web\", \"aws:cloudformation:stack-name\" = \"shop\" }\n\
                port = 80\nregion = \"me-central-1\"\nendpoint = \"http://127.0.0.1:5000\"";
    let mut discover = discovered(keys);
    if let DiscoverySource::Ec2 {
        instances: InstanceFilter::Tags(tags),
        ..
    } = &mut discover.source
    {
        tags.sort();
    }
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        discover,
        Discover {
            source: DiscoverySource::Ec2 {
                instances: InstanceFilter::Tags(vec![
                    tag("Role", "web"),
                    tag("aws:cloudformation:stack-name", "shop"),
                ]),
                port: 80,
                region: Some("me-central-1".to_owned()),
                endpoint: Some("http://127.0.0.1:5000".to_owned()),
                auto_scaling_endpoint: None,
            },
            interval: Duration::from_secs(10),
            drain: Duration::from_secs(300),
        }
    );
}

#[test]
fn an_auto_scaling_group_is_a_source() {
    let keys = "auto_scaling_group = \"web servers\"\nport = 80\n\
                auto_scaling_endpoint = \"http://127.0.0.1:5000\"";
    assert_eq!(
        discovered(keys),
        Discover {
            source: DiscoverySource::Ec2 {
                instances: InstanceFilter::AutoScalingGroup("web servers".to_owned()),
                port: 80,
                region: None,
                endpoint: None,
                auto_scaling_endpoint: Some("http://127.0.0.1:5000".to_owned()),
            },
            interval: Duration::from_secs(10),
            drain: Duration::from_secs(300),
        }
    );
}

#[test]
fn the_times_of_the_file_replace_the_defaults() {
    for source in ["file = \"/run/web\"", "srv = \"web\""] {
        let discover = discovered(&format!("{source}\ninterval = \"1m30s\"\ndrain = \"0s\""));
        assert_eq!(discover.interval, Duration::from_secs(90));
        assert_eq!(discover.drain, Duration::ZERO);
    }
}

#[test]
fn a_source_is_shown_as_an_operator_calls_it() {
    for (keys, shown) in [
        ("dns = \"web\"\nport = 80", "DNS name web"),
        ("dns = [\"a\", \"b\"]\nport = 80", "DNS names a, b"),
        (
            "dns = [\"a\", \"b\", \"c\", \"d\"]\nport = 80",
            "DNS name a and 3 others",
        ),
        ("srv = \"_http._tcp.web\"", "DNS service _http._tcp.web"),
        ("file = \"/run/web\"", "file /run/web"),
        (
            "ec2_tags.Role = \"web\"\nport = 80",
            "EC2 instances with Role=web",
        ),
        (
            "auto_scaling_group = \"web\"\nport = 80",
            "Auto Scaling group web",
        ),
    ] {
        assert_eq!(discovered(keys).source.to_string(), shown);
    }
}

#[test]
fn a_discovery_without_a_source_is_refused() {
    refused(
        "port = 80",
        r#"
error: [pool.discover] names no source
 --> lb.toml:8:1
  |
8 | [pool.discover]
  | ^^^^^^^^^^^^^^^
  = help: add one of dns, srv, file, ec2_tags and auto_scaling_group, such as: dns = "web.internal.example.org"
"#,
    );
}

#[test]
fn two_sources_are_refused() {
    refused(
        "dns = \"web\"\nfile = \"/run/web\"\nport = 80",
        r#"
error: [pool.discover] has both dns and file
  --> lb.toml:10:1
   |
10 | file = "/run/web"
   | ^^^^^^^^^^^^^^^^^
   = help: a pool has one source: keep one of them
"#,
    );
}

#[test]
fn keys_of_other_sources_are_refused() {
    refused(
        "file = \"/run/web\"\nport = 80\nfamily = \"ipv4\"\nnameservers = [\"10.0.0.2\"]\n\
         region = \"me-central-1\"\nendpoint = \"http://127.0.0.1\"\n\
         auto_scaling_endpoint = \"http://127.0.0.1\"",
        r#"
error: [pool.discover] has port, which has no meaning for file
  --> lb.toml:10:1
   |
10 | port = 80
   | ^^^^^^^^^
   = help: remove it: it is for dns, ec2_tags, auto_scaling_group

error: [pool.discover] has family, which has no meaning for file
  --> lb.toml:11:1
   |
11 | family = "ipv4"
   | ^^^^^^^^^^^^^^^
   = help: remove it: it is for dns, srv

error: [pool.discover] has nameservers, which has no meaning for file
  --> lb.toml:12:1
   |
12 | nameservers = ["10.0.0.2"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for dns, srv

error: [pool.discover] has region, which has no meaning for file
  --> lb.toml:13:1
   |
13 | region = "me-central-1"
   | ^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for ec2_tags, auto_scaling_group

error: [pool.discover] has endpoint, which has no meaning for file
  --> lb.toml:14:1
   |
14 | endpoint = "http://127.0.0.1"
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for ec2_tags, auto_scaling_group

error: [pool.discover] has auto_scaling_endpoint, which has no meaning for file
  --> lb.toml:15:1
   |
15 | auto_scaling_endpoint = "http://127.0.0.1"
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for auto_scaling_group
"#,
    );
    refused(
        "srv = \"web\"\nport = 80\nregion = \"me-central-1\"",
        r#"
error: [pool.discover] has port, which has no meaning for srv
  --> lb.toml:10:1
   |
10 | port = 80
   | ^^^^^^^^^
   = help: remove it: it is for dns, ec2_tags, auto_scaling_group

error: [pool.discover] has region, which has no meaning for srv
  --> lb.toml:11:1
   |
11 | region = "me-central-1"
   | ^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for ec2_tags, auto_scaling_group
"#,
    );
    refused(
        "dns = \"web\"\nport = 80\nregion = \"me-central-1\"",
        r#"
error: [pool.discover] has region, which has no meaning for dns
  --> lb.toml:11:1
   |
11 | region = "me-central-1"
   | ^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for ec2_tags, auto_scaling_group
"#,
    );
    refused(
        "ec2_tags = { Role = \"web\" }\nport = 80\nauto_scaling_endpoint = \"http://127.0.0.1\"\n\
         nameservers = [\"10.0.0.2\"]",
        r#"
error: [pool.discover] has auto_scaling_endpoint, which has no meaning for ec2_tags
  --> lb.toml:11:1
   |
11 | auto_scaling_endpoint = "http://127.0.0.1"
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for auto_scaling_group

error: [pool.discover] has nameservers, which has no meaning for ec2_tags
  --> lb.toml:12:1
   |
12 | nameservers = ["10.0.0.2"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove it: it is for dns, srv
"#,
    );
}

#[test]
fn a_source_of_addresses_without_a_port_is_refused() {
    refused(
        "dns = \"web\"",
        r#"
error: [pool.discover] has no port
 --> lb.toml:8:1
  |
8 | [pool.discover]
  | ^^^^^^^^^^^^^^^
  = help: the source has addresses only: add the port of the backends, such as port = 80
"#,
    );
    refused(
        "ec2_tags = { Role = \"web\" }",
        r#"
error: [pool.discover] has no port
 --> lb.toml:8:1
  |
8 | [pool.discover]
  | ^^^^^^^^^^^^^^^
  = help: the source has addresses only: add the port of the backends, such as port = 80
"#,
    );
    refused(
        "auto_scaling_group = \"web\"",
        r#"
error: [pool.discover] has no port
 --> lb.toml:8:1
  |
8 | [pool.discover]
  | ^^^^^^^^^^^^^^^
  = help: the source has addresses only: add the port of the backends, such as port = 80
"#,
    );
}

#[test]
fn a_list_of_names_without_a_name_or_with_one_twice_is_refused() {
    refused(
        "dns = []\nport = 80",
        r#"
error: dns is empty
 --> lb.toml:9:7
  |
9 | dns = []
  |       ^^
  = help: name at least one, such as: dns = "web.internal.example.org"
"#,
    );
    refused(
        "dns = [\"web1\", \"10.0.0.6\", \"WEB1.\"]\nport = 80",
        r#"
error: dns "10.0.0.6" is an address, not a name
 --> lb.toml:9:16
  |
9 | dns = ["web1", "10.0.0.6", "WEB1."]
  |                ^^^^^^^^^^
  = help: list addresses in backends

error: duplicate name "web1" in dns
 --> lb.toml:9:28
  |
9 | dns = ["web1", "10.0.0.6", "WEB1."]
  |                            ^^^^^^^
  = help: the first is on line 9
"#,
    );
}

#[test]
fn a_pool_with_backends_and_a_source_is_refused() {
    refused_text(
        &file("tcp", "file = \"/run/web\"").replace(
            "name = \"web\"\n",
            "name = \"web\"\nbackends = [\"10.0.0.6:80\"]\n",
        ),
        r#"
error: pool "web" has backends and [pool.discover]
 --> lb.toml:7:1
  |
7 | backends = ["10.0.0.6:80"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: keep one of them: the source alone decides which backends there are
"#,
    );
    refused(
        "file = \"/run/web\"\n\n[[pool.backend]]\naddress = \"10.0.0.6:80\"",
        r#"
error: pool "web" has backends and [pool.discover]
  --> lb.toml:11:8
   |
11 | [[pool.backend]]
   |        ^^^^^^^^^
   = help: keep one of them: the source alone decides which backends there are
"#,
    );
}

#[test]
fn ipv6_addresses_are_for_the_front_only() {
    for source in ["dns = \"web\"\nport = 80", "srv = \"web\""] {
        let keys = format!("{source}\nfamily = \"ipv6\"");
        let parsed = parse(&file("http", &keys)).expect("a service of mode http");
        let discover = parsed.config.pools[0].discover.as_ref().expect("a source");
        let (DiscoverySource::Dns { family, .. } | DiscoverySource::Srv { family, .. }) =
            &discover.source
        else {
            panic!("{discover:?}");
        };
        assert_eq!(*family, AddressFamily::Ipv6);
    }
    refused(
        "srv = \"web\"\nfamily = \"ipv6\"",
        r#"
error: service "http" has mode "tcp", and its pool "web" discovers IPv6 addresses
  --> lb.toml:12:1
   |
12 | [[service]]
   | ^^^^^^^^^^^
   = help: this version of lb steers only IPv4 in the kernel: write family = "ipv4" in [pool.discover], or let the agent serve it with mode = "http" or "https"
"#,
    );
}

#[test]
fn a_service_of_mode_tcp_may_use_every_source_with_a_check() {
    for source in [
        "dns = \"web\"\nport = 80\nfamily = \"ipv4\"",
        "srv = \"web\"",
        "file = \"/run/web\"",
        "ec2_tags.Role = \"web\"\nport = 80",
        "auto_scaling_group = \"web\"\nport = 80",
    ] {
        discovered(&format!("{source}\n\n[pool.check]\ntype = \"tcp\""));
    }
}

/// How many backends a source has is not known from the file, so that `min_backends` of a pair is
/// not compared with it.
#[test]
fn a_pair_may_wait_for_backends_that_are_discovered() {
    let ha = "\n[ha]\npeer = \"172.31.15.233\"\nsource = \"172.31.0.68\"\nvirtual_router_id = 41\n\
              priority = 110\nmin_backends = 2\n\n[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n";
    let text = file("tcp", "file = \"/run/web\"") + ha;
    let parsed = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.config.ha.expect("[ha]").min_backends, 2);
}
