//! Tests of `[http.timeouts]` and `[service.timeouts]`.

use std::time::Duration;

use lb_config::Timeouts;

use super::{parse, refused_text};

const FILE: &str = r#"[node]
name = "lb-a"
interface = "eth0"
[http.timeouts]
head = "3s"
request = "20s"
[[pool]]
name = "web"
backends = ["10.0.0.6:80"]
[[service]]
name = "http"
listen = "172.31.0.68:80"
mode = "http"
pool = "web"
[service.timeouts]
head = "4s"
response_body = "5m"
[[service]]
name = "other"
listen = "172.31.0.68:81"
mode = "http"
pool = "web"
"#;

#[test]
fn a_service_has_its_own_and_otherwise_those_of_all() {
    let config = parse(FILE)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    let all = Timeouts {
        head: Duration::from_secs(3),
        request: Some(Duration::from_secs(20)),
        ..Timeouts::default()
    };
    assert_eq!(config.http.timeouts, all);
    let own = Timeouts {
        head: Duration::from_secs(4),
        response_body: Duration::from_secs(300),
        ..all
    };
    assert_eq!(config.services[0].timeouts, own);
    assert_eq!(config.services[1].timeouts, all);
}

#[test]
fn the_defaults_of_the_page_are_those_of_the_model() {
    let text = FILE.replace("head = \"3s\"\nrequest = \"20s\"\n", "");
    let config = parse(&text)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    assert_eq!(config.http.timeouts, Timeouts::default());
}

#[test]
fn a_service_that_the_kernel_steers_has_no_timeouts() {
    let text = FILE.replacen("mode = \"http\"", "mode = \"tcp\"", 1);
    refused_text(
        &text,
        "
error: service \"http\" has timeouts, but its mode is \"tcp\"
  --> lb.toml:15:10
   |
15 | [service.timeouts]
   |          ^^^^^^^^^
   = help: the kernel reads no requests: remove the section, or write mode = \"http\"
",
    );
}

#[test]
fn everything_wrong_with_timeouts_is_said_at_once() {
    let text = FILE
        .replace("head = \"3s\"", "head = 3")
        .replace("head = \"4s\"", "haed = \"4s\"")
        .replace("\"5m\"", "\"0s\"");
    let errors = parse(&text).expect_err("refused").to_string();
    for expected in [
        "head 3 has no unit",
        "unknown key \"haed\" in [service.timeouts]",
        "did you mean head?",
        "response_body \"0s\" is too short",
    ] {
        assert!(errors.contains(expected), "{expected}:\n{errors}");
    }
    assert_eq!(errors.matches("error: ").count(), 3, "{errors}");
}
