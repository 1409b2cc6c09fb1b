//! Tests of `[acme]` and of the key `domains` of `[[service]]`.

use std::path::Path;

use lb_config::{AcmeChallenge, Mode};

use super::{parse, refused_text};

const ALONE: &str = r#"
[node]
name = "lb-a"
interface = "eth0"
[acme]
[[pool]]
name = "web"
backends = ["10.0.0.6:80"]
[[service]]
name = "https"
listen = "172.31.0.68:443"
mode = "https"
pool = "web"
domains = ["www.Example.org", "example.org"]
"#;

fn edited(from: &str, to: &str) -> String {
    assert_eq!(ALONE.matches(from).count(), 1, "{from:?} occurs once");
    ALONE.replace(from, to)
}

#[test]
fn a_section_without_keys_is_lets_encrypt() {
    let parsed = parse(ALONE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.warnings, []);
    let acme = parsed.config.acme.expect("there");
    assert_eq!(
        acme.directory,
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(
        acme.challenges,
        [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01]
    );
    let Mode::Https {
        certificates,
        obtained: Some(obtained),
        ..
    } = &parsed.config.services[0].mode
    else {
        panic!("{:?}", parsed.config.services[0].mode);
    };
    assert!(certificates.is_empty());
    assert_eq!(obtained.domains, ["www.example.org", "example.org"]);
    let file = "/var/lib/lb/acme/acme-v02.api.letsencrypt.org_directory/certificates/https.pem";
    assert_eq!(obtained.file, Path::new(file));
}

#[test]
fn certificates_of_two_directories_are_not_in_one_folder() {
    let folder = |directory: &str| {
        let section = format!("[acme]\ndirectory = \"{directory}\"\nstorage = \"/x\"\n");
        let parsed = parse(&edited("[acme]\n", &section)).expect("good");
        parsed.config.acme.expect("there").folder()
    };
    let pebble = folder("https://pebble:14000/dir");
    assert_eq!(pebble, Path::new("/x/pebble_14000_dir"));
    assert_ne!(pebble, folder("https://pebble:14001/dir"));
}

#[test]
fn every_mistake_of_the_section_is_said_at_once() {
    refused_text(
        &edited(
            "[acme]\n",
            "[acme]\nemail = \"admin\"\ndirectory = \"http://x/\"\nchallenges = [\"dns-02\"]\n\
             eab_key_id = \"k1\"\n",
        ),
        r#"
error: email "admin" is not an e-mail address
 --> lb.toml:6:9
  |
6 | email = "admin"
  |         ^^^^^^^
  = help: write an address such as "admin@example.org", without mailto:

error: directory "http://x/" is not an https URL
 --> lb.toml:7:13
  |
7 | directory = "http://x/"
  |             ^^^^^^^^^^^
  = help: write a URL such as "https://acme-v02.api.letsencrypt.org/directory"

error: challenge cannot be "dns-02"
 --> lb.toml:8:15
  |
8 | challenges = ["dns-02"]
  |               ^^^^^^^^
  = help: did you mean "dns-01"? Allowed: "tls-alpn-01", "http-01" or "dns-01"

error: [acme] has eab_key_id, but no eab_key_file
 --> lb.toml:9:14
  |
9 | eab_key_id = "k1"
  |              ^^^^
  = help: the ACME provider issues both together: set both, or leave both out
"#,
    );
}

#[test]
fn every_name_that_no_certificate_can_be_obtained_for_is_refused() {
    refused_text(
        &edited(
            r#"["www.Example.org", "example.org"]"#,
            r#"["*.org", "192.0.2.1", "local", "a.org", "A.org"]"#,
        ),
        r#"
error: domain "*.org" is not a DNS name
  --> lb.toml:14:12
   |
14 | domains = ["*.org", "192.0.2.1", "local", "a.org", "A.org"]
   |            ^^^^^^^
   = help: write a full name such as "www.example.org", without a dot at the end; write internationalised names in their xn-- form

error: domain "192.0.2.1" is an IP address
  --> lb.toml:14:21
   |
14 | domains = ["*.org", "192.0.2.1", "local", "a.org", "A.org"]
   |                     ^^^^^^^^^^^
   = help: certificates are obtained for DNS names: write "www.example.org"

error: domain "local" is not a DNS name
  --> lb.toml:14:34
   |
14 | domains = ["*.org", "192.0.2.1", "local", "a.org", "A.org"]
   |                                  ^^^^^^^
   = help: write a full name such as "www.example.org", without a dot at the end; write internationalised names in their xn-- form

error: duplicate domain "a.org" in this list
  --> lb.toml:14:52
   |
14 | domains = ["*.org", "192.0.2.1", "local", "a.org", "A.org"]
   |                                                    ^^^^^^^
   = help: the first is on line 14
"#,
    );
}

#[test]
fn domains_without_the_section_are_refused() {
    refused_text(
        &edited("[acme]\n", ""),
        r#"
error: service "https" has domains, but there is no [acme]
  --> lb.toml:13:11
   |
13 | domains = ["www.Example.org", "example.org"]
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: add [acme], which configures how certificates are obtained; all its keys have defaults
"#,
    );
}

#[test]
fn an_empty_list_of_domains_is_refused() {
    refused_text(
        &edited(r#"["www.Example.org", "example.org"]"#, "[]"),
        r#"
error: domains is empty
  --> lb.toml:14:11
   |
14 | domains = []
   |           ^^
   = help: name at least one, or leave the key out: domains = ["www.example.org"]
"#,
    );
}

#[test]
fn domains_of_a_service_without_tls_are_refused() {
    refused_text(
        &edited("mode = \"https\"", "mode = \"http\""),
        r#"
error: service "https" has domains, but its mode is "http"
  --> lb.toml:14:1
   |
14 | domains = ["www.Example.org", "example.org"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove this setting, or write mode = "https"
"#,
    );
}

#[test]
fn a_pair_obtains_certificates_where_it_has_a_link() {
    let pair = ALONE.to_owned()
        + "[ha]\npeer = \"172.31.15.233\"\nsource = \"172.31.0.68\"\nvirtual_router_id = 41\n\
           priority = 110\n[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n";
    let linked = pair.clone() + "[ha.link]\nsecret_file = \"/etc/lb/peer.secret\"\n";
    assert!(parse(&linked).expect("good").config.acme.is_some());
    refused_text(
        &pair,
        r#"
error: [acme] in a pair needs [ha.link], which is missing
 --> lb.toml:5:1
  |
5 | [acme]
  | ^^^^^^
  = help: the hosts agree over the link on which of them orders, and it transfers the certificate to the other: make a secret with `lb peer init` and add [ha.link], or leave out [acme] and give the services certificate files
"#,
    );
}

#[test]
fn a_section_by_which_nothing_is_obtained_is_warned_of() {
    let text = edited(
        r#"domains = ["www.Example.org", "example.org"]"#,
        r#"certificates = ["/etc/lb/tls/example.org.pem"]"#,
    );
    let parsed = parse(&text).expect("good");
    let warnings: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("[acme] is not used: no service has domains"),
        "{}",
        warnings[0]
    );
}

/// Returns `text` with a service of mode `tcp` on port 80 of `address`.
fn with_port_80(text: &str, address: &str) -> String {
    format!(
        "{text}\n[[service]]\nname = \"http\"\nlisten = \"{address}:80\"\nmode = \"tcp\"\n\
         forward = \"nat\"\npool = \"web\"\n"
    )
}

fn challenges(text: &str) -> (Vec<AcmeChallenge>, usize) {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let obtained = parsed.config.services[0].obtained().expect("obtained");
    (obtained.challenges.clone(), parsed.warnings.len())
}

#[test]
fn http_01_is_left_out_where_the_kernel_has_port_80() {
    let both = vec![AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01];
    let one = vec![AcmeChallenge::TlsAlpn01];
    assert_eq!(
        challenges(&with_port_80(ALONE, "172.31.0.68")),
        (one.clone(), 0)
    );
    // A service of mode `tcp` on another address does not affect the challenges.
    assert_eq!(challenges(&with_port_80(ALONE, "172.31.0.69")), (both, 0));
    // The HTTPS service listens on a wildcard: its domains may resolve to the address of the `tcp`
    // service.
    let everywhere = edited("172.31.0.68:443", "0.0.0.0:443");
    let everywhere = with_port_80(&everywhere, "172.31.0.69");
    assert_eq!(challenges(&everywhere), (one.clone(), 0));
    // This file names HTTP-01, which cannot succeed here: that is a warning.
    let named = edited(
        "[acme]\n",
        "[acme]\nchallenges = [\"http-01\", \"tls-alpn-01\"]\n",
    );
    assert_eq!(challenges(&with_port_80(&named, "172.31.0.68")), (one, 1));
}

#[test]
fn http_01_alone_is_refused_where_the_kernel_has_port_80() {
    let text = edited("[acme]\n", "[acme]\nchallenges = [\"http-01\"]\n");
    refused_text(
        &with_port_80(&text, "172.31.0.68"),
        r#"
error: http-01 cannot validate the domains of service "https": service "http" listens on port 80 of the same address, so the kernel forwards the validation request to its backends, not to the agent
 --> lb.toml:6:1
  |
6 | challenges = ["http-01"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write challenges = ["tls-alpn-01"], which needs port 443 only; or give service "http" mode = "http", with a route that redirects to https if it has no other use
"#,
    );
}

const DNS: &str =
    "[acme]\nchallenges = [\"dns-01\"]\ndns_command = [\"/usr/local/bin/dns\", \"zone\"]\n";

#[test]
fn dns_01_has_a_command_and_takes_wildcards() {
    let text = edited("[acme]\n", DNS).replace("\"example.org\"]", "\"*.example.org\"]");
    // The `tcp` service on port 80 does no harm: DNS-01 does not use that port.
    let parsed = parse(&with_port_80(&text, "172.31.0.68"));
    let config = parsed.unwrap_or_else(|errors| panic!("{errors}")).config;
    let dns = config.acme.expect("there").dns.expect("there");
    assert_eq!(dns.command, ["/usr/local/bin/dns", "zone"]);
    assert_eq!((dns.timeout.as_secs(), dns.propagation.as_secs()), (60, 30));
    let obtained = config.services[0].obtained().expect("obtained");
    assert_eq!(obtained.domains, ["www.example.org", "*.example.org"]);
    assert_eq!(obtained.challenges, [AcmeChallenge::Dns01]);
}

#[test]
fn a_wildcard_is_refused_where_another_challenge_may_be_tried() {
    refused_text(
        &edited("\"example.org\"]", "\"*.example.org\"]"),
        r#"
error: domain "*.example.org" is a wildcard, which only dns-01 can validate
  --> lb.toml:14:11
   |
14 | domains = ["www.Example.org", "*.example.org"]
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write challenges = ["dns-01"] and dns_command in [acme], name each host instead, or give the service a certificate file
"#,
    );
}

#[test]
fn dns_01_and_its_command_belong_together() {
    refused_text(
        &edited(
            "[acme]\n",
            "[acme]\nchallenges = [\"tls-alpn-01\", \"dns-01\"]\n",
        ),
        r#"
error: dns-01 is one of the challenges, but there is no dns_command
 --> lb.toml:6:1
  |
6 | challenges = ["tls-alpn-01", "dns-01"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: name the program that sets and removes records in your DNS: dns_command = ["/usr/local/bin/dns-record"]
"#,
    );
    refused_text(
        &edited(
            "[acme]\n",
            "[acme]\ndns_command = [\"/usr/local/bin/dns\"]\n",
        ),
        r#"
error: [acme] has dns_command, but dns-01 is not one of its challenges
 --> lb.toml:6:15
  |
6 | dns_command = ["/usr/local/bin/dns"]
  |               ^^^^^^^^^^^^^^^^^^^^^^
  = help: write challenges = ["dns-01"], or leave dns_command out
"#,
    );
}

#[test]
fn a_profile_is_a_word() {
    let text = edited("[acme]\n", "[acme]\nprofile = \"shortlived\"\n");
    let acme = parse(&text).expect("good").config.acme.expect("there");
    assert_eq!(acme.profile.as_deref(), Some("shortlived"));
    let errors = parse(&text.replace("shortlived", "short lived")).expect_err("two words");
    assert!(errors.to_string().contains("profile"), "{errors}");
}
