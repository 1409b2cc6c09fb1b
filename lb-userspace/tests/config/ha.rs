//! Mistakes in `[ha]`.

use lb::config::{Ha, Moves};

use super::{BASE, edited, parse, refused, refused_text};

/// What of the base file says what moves.
const ELASTIC_IP: &str = "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\n\
                          region = \"me-central-1\"\n";

fn ha(text: &str) -> Ha {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.config.ha.expect("[ha]")
}

fn warnings(text: &str) -> Vec<String> {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_peer_that_is_this_host_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "172.31.0.68""#,
        r#"
error: peer and source are the same address, 172.31.0.68
  --> lb.toml:56:8
   |
56 | peer = "172.31.0.68"
   |        ^^^^^^^^^^^^^
   = help: peer is the other host's address, source is this host's
"#,
    );
}

#[test]
fn a_peer_of_another_family_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "2001:db8::1""#,
        r#"
error: peer is 2001:db8::1 and source is 172.31.0.68: one is IPv4, one is IPv6
  --> lb.toml:56:8
   |
56 | peer = "2001:db8::1"
   |        ^^^^^^^^^^^^^
   = help: write both of one family
"#,
    );
}

#[test]
fn a_peer_with_a_port_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "172.31.15.233:112""#,
        r#"
error: peer "172.31.15.233:112" has a port
  --> lb.toml:56:8
   |
56 | peer = "172.31.15.233:112"
   |        ^^^^^^^^^^^^^^^^^^^
   = help: write the address alone: "172.31.15.233"
"#,
    );
}

#[test]
fn virtual_router_0_is_refused() {
    refused(
        "virtual_router_id = 41",
        "virtual_router_id = 0",
        r#"
error: virtual_router_id 0 is out of range
  --> lb.toml:58:21
   |
58 | virtual_router_id = 0
   |                     ^
   = help: it must be a whole number, 1 to 255
"#,
    );
}

#[test]
fn a_priority_that_owners_have_is_refused() {
    refused(
        "priority = 110",
        "priority = 255",
        r#"
error: priority 255 is out of range
  --> lb.toml:59:12
   |
59 | priority = 255
   |            ^^^
   = help: it must be a whole number, 1 to 254
"#,
    );
}

#[test]
fn preempt_in_quotes_is_refused() {
    refused(
        "preempt = true",
        r#"preempt = "yes""#,
        r#"
error: preempt is text; it must be: true or false
  --> lb.toml:61:11
   |
61 | preempt = "yes"
   |           ^^^^^
"#,
    );
}

#[test]
fn a_version_that_is_not_there_is_refused() {
    refused(
        "version = 3",
        "version = 4",
        r#"
error: version 4 is out of range
  --> lb.toml:62:11
   |
62 | version = 4
   |           ^
   = help: it must be a whole number, 2 to 3
"#,
    );
}

#[test]
fn an_interval_between_two_steps_is_refused() {
    refused(
        r#""100ms""#,
        r#""105ms""#,
        r#"
error: advert_interval 105ms cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "105ms"
   |                   ^^^^^^^
   = help: version 3 has it in steps of 10ms, at most 40s950ms
"#,
    );
}

#[test]
fn an_interval_longer_than_version_3_can_say_is_refused() {
    refused(
        r#""100ms""#,
        r#""1m""#,
        r#"
error: advert_interval 1m cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "1m"
   |                   ^^^^
   = help: version 3 has it in steps of 10ms, at most 40s950ms
"#,
    );
}

#[test]
fn tenths_of_seconds_in_version_2_are_refused() {
    refused(
        "version = 3",
        "version = 2",
        r#"
error: advert_interval 100ms cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "100ms"
   |                   ^^^^^^^
   = help: version 2 has it in whole seconds: write "1s", or version = 3 if the peer can
"#,
    );
}

#[test]
fn nothing_that_moves_is_refused() {
    let text = edited(ELASTIC_IP, "").replace("master = ", "backup = ");
    refused_text(
        &text,
        r#"
error: [ha] has nothing that moves to the active host
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: add [ha.elastic_ip] on AWS, or [ha.virtual_ip] on a network of your own, or [ha.notify] with a master command that moves it
"#,
    );
}

#[test]
fn two_things_that_move_are_refused() {
    refused(
        "[ha.elastic_ip]",
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n\n[ha.elastic_ip]",
        r#"
error: [ha] has both [ha.elastic_ip] and [ha.virtual_ip]
  --> lb.toml:64:1
   |
64 | [ha.virtual_ip]
   | ^^^^^^^^^^^^^^^
   = help: on AWS keep elastic_ip, on a network of your own keep virtual_ip
"#,
    );
}

#[test]
fn an_allocation_that_is_an_address_is_refused() {
    refused(
        r#""eipalloc-0123456789abcdef0""#,
        r#""3.28.247.74""#,
        r#"
error: allocation_id "3.28.247.74" is not eipalloc- and 17 hexadecimal digits
  --> lb.toml:65:17
   |
65 | allocation_id = "3.28.247.74"
   |                 ^^^^^^^^^^^^^
   = help: it looks like "eipalloc-0123456789abcdef0"
"#,
    );
}

#[test]
fn a_zone_for_a_region_is_refused() {
    refused(
        r#""me-central-1""#,
        r#""me-central-1a""#,
        r#"
error: region "me-central-1a" is not a region
  --> lb.toml:66:10
   |
66 | region = "me-central-1a"
   |          ^^^^^^^^^^^^^^^
   = help: it looks like "me-central-1": a region, not one of its zones
"#,
    );
}

#[test]
fn an_endpoint_without_a_scheme_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nendpoint = \"127.0.0.1:5000\"",
        r#"
error: endpoint "127.0.0.1:5000" is not an http or https URL
  --> lb.toml:67:12
   |
67 | endpoint = "127.0.0.1:5000"
   |            ^^^^^^^^^^^^^^^^
   = help: it looks like "https://ec2.me-central-1.amazonaws.com"
"#,
    );
}

#[test]
fn an_interface_id_that_is_an_instance_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nnetwork_interface_id = \"i-010d3d18ec00cd116\"",
        r#"
error: network_interface_id "i-010d3d18ec00cd116" is not eni- and 17 hexadecimal digits
  --> lb.toml:67:24
   |
67 | network_interface_id = "i-010d3d18ec00cd116"
   |                        ^^^^^^^^^^^^^^^^^^^^^
   = help: it looks like "eni-0123456789abcdef0"
"#,
    );
}

#[test]
fn a_private_address_of_ipv6_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nprivate_ip = \"2001:db8::1\"",
        r#"
error: private_ip "2001:db8::1" is an IPv6 address
  --> lb.toml:67:14
   |
67 | private_ip = "2001:db8::1"
   |              ^^^^^^^^^^^^^
   = help: an IPv4 address is needed, such as "172.31.0.68"
"#,
    );
}

#[test]
fn no_virtual_addresses_are_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = []\n",
        r#"
error: [ha.virtual_ip] has no addresses
  --> lb.toml:65:13
   |
65 | addresses = []
   |             ^^
   = help: add at least one: addresses = ["172.31.0.200/20"]
"#,
    );
}

#[test]
fn a_virtual_address_without_a_prefix_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200\"]\n",
        r#"
error: virtual address "172.31.0.200" has no prefix
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200"]
   |              ^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_with_a_prefix_that_is_too_long_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/33\"]\n",
        r#"
error: virtual address "172.31.0.200/33" has a prefix that is not 1 to 32
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200/33"]
   |              ^^^^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_twice_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.200/24\"]\n",
        r#"
error: virtual address "172.31.0.200" stands twice in this list
  --> lb.toml:65:33
   |
65 | addresses = ["172.31.0.200/20", "172.31.0.200/24"]
   |                                 ^^^^^^^^^^^^^^^^^
   = help: the first is in line 65
"#,
    );
}

#[test]
fn a_virtual_address_of_another_family_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"2001:db8::200/64\"]\n",
        r#"
error: virtual address "2001:db8::200" is not of the family of source, 172.31.0.68
  --> lb.toml:65:14
   |
65 | addresses = ["2001:db8::200/64"]
   |              ^^^^^^^^^^^^^^^^^^
   = help: adverts carry addresses of their own family only
"#,
    );
}

#[test]
fn the_host_s_own_address_does_not_move() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.68/20\"]\n",
        r#"
error: virtual address "172.31.0.68" is also source
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.68/20"]
   |              ^^^^^^^^^^^^^^^^
   = help: the addresses that the two hosts hear each other by stay where they are: let another one move
"#,
    );
}

#[test]
fn an_elastic_ip_and_a_private_address_that_is_not_named_are_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nmoves_private_ip = true",
        r#"
error: moves_private_ip is true, and there is no private_ip
  --> lb.toml:67:20
   |
67 | moves_private_ip = true
   |                    ^^^^
   = help: name the secondary private address that moves, the same on both hosts: private_ip = "172.31.0.200"
"#,
    );
}

#[test]
fn a_private_address_that_moves_is_not_the_peer_s() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nmoves_private_ip = true\nprivate_ip = \"172.31.15.233\"",
        r#"
error: private_ip "172.31.15.233" is also peer
  --> lb.toml:68:14
   |
68 | private_ip = "172.31.15.233"
   |              ^^^^^^^^^^^^^^^
   = help: the addresses that the two hosts hear each other by stay where they are: let another one move
"#,
    );
}

#[test]
fn a_password_in_version_3_is_refused() {
    refused(
        "version = 3",
        "version = 3\npassword = \"s3cret\"",
        r#"
error: version 3 of VRRP has no password
  --> lb.toml:63:12
   |
63 | password = "s3cret"
   |            ^^^^^^^^
   = help: write hmac_key_file in place of password, or version = 2
"#,
    );
}

#[test]
fn a_password_that_an_advert_cannot_carry_is_refused() {
    let version_2 = edited("version = 3", "version = 2\npassword = \"much too long\"");
    refused_text(
        &version_2.replace("\"100ms\"", "\"1s\""),
        r#"
error: password "much too long" is 13 bytes long
  --> lb.toml:63:12
   |
63 | password = "much too long"
   |            ^^^^^^^^^^^^^^^
   = help: write the same 1 to 8 characters on both hosts
"#,
    );
}

#[test]
fn two_kinds_of_authentication_are_refused() {
    let text = edited(
        "version = 3",
        "version = 2\npassword = \"s3cret\"\nhmac_key_file = \"/etc/lb/vrrp.key\"",
    );
    refused_text(
        &text.replace("\"100ms\"", "\"1s\""),
        r#"
error: [ha] has both password and hmac_key_file
  --> lb.toml:64:17
   |
64 | hmac_key_file = "/etc/lb/vrrp.key"
   |                 ^^^^^^^^^^^^^^^^^^
   = help: keep one of them
"#,
    );
}

#[test]
fn a_delay_of_what_never_happens_is_refused() {
    refused(
        "preempt = true",
        "preempt = false\npreempt_delay = \"30s\"",
        r#"
error: preempt_delay has no meaning with preempt = false
  --> lb.toml:62:17
   |
62 | preempt_delay = "30s"
   |                 ^^^^^
   = help: this host never takes over from a peer that is active: leave the delay out, or write preempt = true
"#,
    );
}

#[test]
fn a_transport_that_is_not_there_is_refused() {
    refused(
        "version = 3",
        "version = 3\ntransport = \"broadcast\"",
        r#"
error: transport cannot be "broadcast"
  --> lb.toml:63:13
   |
63 | transport = "broadcast"
   |             ^^^^^^^^^^^
   = help: allowed: "unicast" or "multicast"
"#,
    );
}

#[test]
fn an_advertised_address_of_another_family_is_refused() {
    refused(
        "version = 3",
        "version = 3\nadvertised_addresses = [\"172.31.0.200\", \"2001:db8::1\"]",
        r#"
error: advertised address "2001:db8::1" is not of the family of source, 172.31.0.68
  --> lb.toml:63:41
   |
63 | advertised_addresses = ["172.31.0.200", "2001:db8::1"]
   |                                         ^^^^^^^^^^^^^
   = help: adverts carry addresses of their own family only
"#,
    );
}

#[test]
fn more_addresses_than_an_advert_carries_are_refused() {
    let many: Vec<_> = (1..=65).map(|last| format!("\"10.0.9.{last}\"")).collect();
    let text = edited(
        "version = 3",
        &format!(
            "version = 3\nadvertised_addresses = [\n{}]",
            many.join(",\n")
        ),
    );
    refused_text(
        &text,
        r#"
error: 65 addresses do not fit into an advert
  --> lb.toml:63:24
   |
63 | advertised_addresses = [
   |                        ^
   = help: at most 64 do, so that it passes every network
"#,
    );
}

#[test]
fn a_checksum_of_version_3_in_version_2_is_refused() {
    let text = edited(
        "version = 3",
        "version = 2\nchecksum_without_pseudo_header = true",
    );
    refused_text(
        &text.replace("\"100ms\"", "\"1s\""),
        r#"
error: the checksum of version 2 never has a pseudo-header
  --> lb.toml:63:34
   |
63 | checksum_without_pseudo_header = true
   |                                  ^^^^
   = help: leave checksum_without_pseudo_header out: it is for version 3 over IPv4
"#,
    );
}

#[test]
fn a_handover_that_takes_minutes_is_refused() {
    refused(
        "version = 3",
        "version = 3\nhandover_timeout = \"2m\"",
        r#"
error: handover_timeout "2m" is too long
  --> lb.toml:63:20
   |
63 | handover_timeout = "2m"
   |                    ^^^^
   = help: 100ms to 30s is allowed
"#,
    );
}

#[test]
fn more_backends_than_a_pool_has_are_refused() {
    refused(
        "version = 3",
        "version = 3\nmin_backends = 3",
        r#"
error: min_backends is 3, and pool "web" has only 2
  --> lb.toml:63:16
   |
63 | min_backends = 3
   |                ^
   = help: the priority would never be the one configured: write at most 2
"#,
    );
}

#[test]
fn a_link_without_a_secret_is_refused() {
    refused(
        "secret_file = \"/etc/lb/peer.secret\"\n",
        "",
        r#"
error: [ha.link] has no secret_file
  --> lb.toml:68:1
   |
68 | [ha.link]
   | ^^^^^^^^^
   = help: add to it, for example: secret_file = "/etc/lb/peer.secret"
"#,
    );
}

#[test]
fn a_link_on_a_service_s_port_is_refused() {
    refused(
        "secret_file = \"/etc/lb/peer.secret\"",
        "secret_file = \"/etc/lb/peer.secret\"\nport = 443",
        r#"
error: [ha.link] listens on 172.31.0.68:443, as service "https" does
  --> lb.toml:70:8
   |
70 | port = 443
   |        ^^^
   = help: give one of them another address or port; the other is in line 50
"#,
    );
}

#[test]
fn an_admin_page_on_the_link_s_usual_port_is_refused() {
    refused(
        "127.0.0.1:9145",
        "0.0.0.0:9146",
        r#"
error: [ha.link] listens on 172.31.0.68:9146, which overlaps with 0.0.0.0:9146 of [admin]
  --> lb.toml:68:1
   |
68 | [ha.link]
   | ^^^^^^^^^
   = help: give one of them another address or port; the other is in line 6
"#,
    );
}

#[test]
fn two_scripts_of_one_name_are_refused() {
    refused(
        "[ha.notify]",
        "[[ha.track]]\nname = \"uplink\"\ncommand = [\"/bin/true\"]\n\n[ha.notify]",
        r#"
error: script "uplink" stands twice in this file
  --> lb.toml:77:8
   |
77 | name = "uplink"
   |        ^^^^^^^^
   = help: the first is in line 72
"#,
    );
}

#[test]
fn a_script_in_single_brackets_is_refused() {
    refused(
        "[[ha.track]]",
        "[ha.track]",
        r#"
error: ha.track is a list: there may be several
  --> lb.toml:71:1
   |
71 | [ha.track]
   | ^^^^^^^^^^
   = help: write the header in double brackets: [[ha.track]]
"#,
    );
}

#[test]
fn a_script_that_may_take_longer_than_its_interval_is_refused() {
    refused(
        "weight = -20",
        "interval = \"500ms\"\ntimeout = \"1s\"",
        r#"
error: timeout 1s is longer than the interval, 500ms
  --> lb.toml:75:11
   |
75 | timeout = "1s"
   |           ^^^^
   = help: a run must have ended before the next one begins: shorten the timeout or lengthen the interval
"#,
    );
}

#[test]
fn a_weight_that_no_priority_can_bear_is_refused() {
    refused(
        "weight = -20",
        "weight = -254",
        r#"
error: weight -254 is out of range
  --> lb.toml:74:10
   |
74 | weight = -254
   |          ^^^^
   = help: it must be a whole number, -253 to 253
"#,
    );
}

#[test]
fn a_command_in_one_piece_is_refused() {
    refused(
        r#"["/usr/local/bin/check-uplink", "--quick"]"#,
        r#""/usr/local/bin/check-uplink --quick""#,
        r#"
error: command is text; it must be a list
  --> lb.toml:73:11
   |
73 | command = "/usr/local/bin/check-uplink --quick"
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write it in brackets: command = ["/usr/local/bin/check-uplink --quick"]
"#,
    );
}

#[test]
fn a_command_that_a_shell_would_have_to_find_is_refused() {
    refused(
        r#"["/usr/local/bin/on-master"]"#,
        r#"["ip route replace"]"#,
        r#"
error: program "ip route replace" does not begin with /
  --> lb.toml:77:11
   |
77 | master = ["ip route replace"]
   |           ^^^^^^^^^^^^^^^^^^
   = help: write the whole path: the agent is not started in a folder of yours; no shell takes the command apart: one text for each argument
"#,
    );
}

#[test]
fn a_command_without_a_program_is_refused() {
    refused(
        r#"["/usr/local/bin/on-master"]"#,
        "[]",
        r#"
error: master is an empty list
  --> lb.toml:77:10
   |
77 | master = []
   |          ^^
   = help: write a program and its arguments: master = ["/usr/local/bin/check", "--quick"]
"#,
    );
}

#[test]
fn notify_without_a_command_is_refused() {
    refused(
        "master = [\"/usr/local/bin/on-master\"]\n",
        "",
        r#"
error: [ha.notify] has no command
  --> lb.toml:76:1
   |
76 | [ha.notify]
   | ^^^^^^^^^^^
   = help: add one, for example: master = ["/usr/local/bin/on-master"]
"#,
    );
}

#[test]
fn a_command_may_be_all_that_moves_anything() {
    assert_eq!(ha(&edited(ELASTIC_IP, "")).moves, Moves::Commands);
}

#[test]
fn a_pair_without_a_link_is_warned_of() {
    let link = "[ha.link]\nsecret_file = \"/etc/lb/peer.secret\"\n";
    let said = r#"
warning: [ha] has no [ha.link]: adverts are the only path between the hosts
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: when that path is lost, both act as active; flows, session tickets and drains do not reach the peer: make a secret with `lb peer init` and add [ha.link]
           for keepalived as the peer, which has no link, add advertised_addresses with the address that its virtual_ipaddress has
"#;
    assert_eq!(warnings(&edited(link, "")), [said.trim_matches('\n')]);
    assert_eq!(warnings(BASE), [""; 0]);
}

#[test]
fn a_reload_names_what_takes_a_restart() {
    let before = ha(BASE);
    let taken_up = [
        (
            "priority = 110",
            "priority = 90\nmin_backends = 0\npreempt_delay = \"3s\"",
        ),
        (
            "preempt = true",
            "preempt = false\nhandover_timeout = \"1s\"\nbackends_weight = 9",
        ),
        ("weight = -20", "weight = 20"),
        ("on-master", "other"),
    ];
    for (from, to) in taken_up {
        assert_eq!(
            before.needs_restart(&ha(&edited(from, to))),
            [""; 0],
            "{to}"
        );
    }
    let bound = [
        (
            "peer = \"172.31.15.233\"",
            "peer = \"172.31.15.234\"",
            "ha.peer",
        ),
        (
            "source = \"172.31.0.68\"",
            "source = \"172.31.0.69\"",
            "ha.source",
        ),
        ("_id = 41", "_id = 42", "ha.virtual_router_id"),
        ("\"100ms\"", "\"200ms\"", "ha.advert_interval"),
        (
            "\"100ms\"\npreempt = true\nversion = 3",
            "\"100ms\"\ntransport = \"multicast\"",
            "ha.transport",
        ),
        ("version = 3", "check_source = false", "ha.check_source"),
        (
            "version = 3",
            "checksum_without_pseudo_header = true",
            "ha.checksum_without_pseudo_header",
        ),
        (
            "version = 3",
            "hmac_key_file = \"/etc/lb/vrrp.key\"",
            "ha.password or ha.hmac_key_file",
        ),
        (
            "version = 3",
            "advertised_addresses = [\"172.31.0.200\"]",
            "ha.advertised_addresses",
        ),
        ("cdef0", "cdef1", "ha.elastic_ip or ha.virtual_ip"),
        (
            ELASTIC_IP,
            "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n",
            "ha.elastic_ip or ha.virtual_ip",
        ),
        ("peer.secret\"", "peer.secret\"\nport = 9147", "ha.link"),
    ];
    for (from, to, key) in bound {
        assert_eq!(before.needs_restart(&ha(&edited(from, to))), [key]);
    }
    let version = edited("version = 3", "version = 2").replace("\"100ms\"", "\"1s\"");
    let changed = before.needs_restart(&ha(&version));
    assert_eq!(changed, ["ha.advert_interval", "ha.version"]);
}
