//! Rules of haproxy.cfg become settings that do the same, in HAProxy's order.

use std::collections::BTreeMap;

use lb_import::{File, Import, Input, import};

/// Imports a frontend with these lines, and a backend `app` with its own.
fn imported(frontend: &str, backend: &str) -> Import {
    let text = format!(
        "frontend web\n bind 192.0.2.1:80\n mode http\n{frontend}\n default_backend app\n\
         backend app\n mode http\n server a 192.0.2.2:80\n{backend}\n\
         backend other\n mode http\n server b 192.0.2.3:80\n"
    );
    let input = Input {
        haproxy: Some(File {
            name: "h",
            text: &text,
        }),
        keepalived: None,
        script: None,
        folders: BTreeMap::new(),
        keepalived_peer: false,
    };
    import(&input).expect("it can be converted")
}

/// Returns the settings of the output, without its comments.
fn settings(frontend: &str, backend: &str) -> String {
    let written = imported(frontend, backend).configuration;
    let lines = written.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_last_change_of_a_field_holds() {
    let rule = |what: &str| format!(" http-request {what}\n");
    let all =
        |rules: &[&str]| settings(&rules.iter().map(|what| rule(what)).collect::<String>(), "");
    let removed = all(&["set-header X 1", "add-header X 2", "del-header x"]);
    assert!(
        removed.contains("remove = [\"x\"]") && !removed.contains("\"X\" ="),
        "{removed}"
    );
    let set = all(&["add-header X 1", "del-header X", "set-header X 2"]);
    assert!(
        set.contains("\"X\" = \"2\"") && !set.contains("remove"),
        "{set}"
    );
    assert!(!set.contains("\"X\" = \"1\""), "{set}");
    let both = all(&["set-header X 1", "add-header X 2"]);
    assert!(
        both.contains("\"X\" = \"1\"") && both.contains("\"X\" = \"2\""),
        "{both}"
    );
}

#[test]
fn a_response_is_changed_by_the_backend_first() {
    let front = " http-response set-header X front\n http-response add-header Y front";
    let back = " http-response set-header X back\n http-response del-header Y\n";
    let same = settings(front, back);
    assert!(
        same.contains("\"X\" = \"front\"") && !same.contains("back\""),
        "{same}"
    );
    let route = settings(
        &format!("{front}\n use_backend other if {{ path /x }}"),
        back,
    );
    assert!(!route.contains("\"X\" = \"back\""), "{route}");
    let (_, of_route) = route
        .split_once("[service.route.response_headers]")
        .expect("the route of the default backend has changes");
    assert!(of_route.contains("remove = [\"Y\"]"), "{route}");
    assert!(of_route.contains("\"Y\" = \"front\""), "{route}");
}

#[test]
fn a_header_is_compared_by_the_values_between_commas() {
    let regex = |condition: &str| {
        let text = settings(&format!(" use_backend other if {{ {condition} }}"), "");
        let line = text.lines().find(|line| line.starts_with("regex = "));
        line.map(|line| line.trim_start_matches("regex = ").to_owned())
    };
    let list = r#""(?:^|,)[ \\t]*json[ \\t]*(?:,|$)""#;
    assert_eq!(regex("hdr(Accept) json").as_deref(), Some(list));
    assert_eq!(regex("req.hdr(Accept) json").as_deref(), Some(list));
    assert_eq!(
        regex("req.fhdr(Accept) json").as_deref(),
        Some("\"^json$\"")
    );
    assert_eq!(regex("hdr_sub(Accept) json").as_deref(), Some("\"json\""));
}

#[test]
fn a_count_of_header_lines_is_no_condition_that_a_field_is_present() {
    for (condition, carried) in [
        ("hdr_cnt(X) gt 0", true),
        ("hdr_cnt(X) ge 1", true),
        ("hdr_cnt(X) 0", false),
        ("hdr_cnt(X) gt 1", false),
        ("hdr_cnt(X) ge 0", false),
        ("hdr_dom(host) static", false),
        ("hdr_dom(host) example.org", true),
        ("hdr(host),field(1,:) a.example", false),
        ("url /x", false),
        ("url_beg /x", true),
    ] {
        let text = settings(&format!(" use_backend other if {{ {condition} }}"), "");
        assert_eq!(
            text.contains("[[service.route]]"),
            carried,
            "{condition}: {text}"
        );
    }
}

#[test]
fn a_refusal_has_the_body_of_its_rule_or_of_the_error_file() {
    let text = settings(
        " errorfile 403 /etc/403.http\n http-request deny if { path /a }\n \
         http-request deny deny_status 429 content-type text/plain string \"slow down\" if { path /b }\n \
         http-request deny deny_status 404 if { path /c }",
        "",
    );
    let answers: Vec<&str> = text.split("[service.route.respond]\n").skip(1).collect();
    assert!(
        answers[0].starts_with("status = 403\nfile = \"/etc/403.http\"\n"),
        "{text}"
    );
    let body = "status = 429\nbody = \"slow down\"\ncontent_type = \"text/plain\"\n";
    assert!(answers[1].starts_with(body), "{text}");
    assert_eq!(answers[2], "status = 404\n", "{text}");
}

#[test]
fn a_redirect_leads_where_haproxys_leads() {
    for (rule, to) in [
        ("location /new", "/new"),
        ("location /new?from=%[path]", "/new?from={path}"),
        (
            "location //other.example/x",
            "{scheme}://{host}//other.example/x",
        ),
        ("prefix /p", "/p{path}{query}"),
        ("prefix /", "{scheme}://{host}{path}{query}"),
        ("prefix https://a.example", "https://a.example{path}{query}"),
        (
            "prefix https://a.example/",
            "https://a.example/{path}{query}",
        ),
        (
            "prefix https://a.example drop-query",
            "https://a.example{path}",
        ),
        ("scheme https", "https://{host}{path}{query}"),
        ("scheme https drop-query", "https://{host}{path}"),
    ] {
        let text = settings(
            &format!(" http-request redirect {rule} if {{ path /a }}"),
            "",
        );
        assert!(text.contains(&format!("to = \"{to}\"\n")), "{rule}: {text}");
    }
}

#[test]
fn what_lb_does_differently_is_announced() {
    let differences = |frontend: &str| imported(frontend, "").differences.join("\n");
    let plain = differences("");
    assert!(plain.contains("trusted_proxies"), "{plain}");
    for (frontend, announced) in [
        (
            " use_backend other if { path /x }",
            "lb compares paths decoded",
        ),
        (
            " use_backend other if { hdr(host) a.example }",
            "without their case and port",
        ),
        (
            " use_backend other if { hdr_end(host) a.example }",
            "lb compares whole labels",
        ),
        (
            " redirect location /x if { path /y }",
            "Cache-Control: no-cache",
        ),
        (" redirect scheme https", "it has no port in lb"),
        (" http-response set-header X 1", "but not by http-response"),
        (" http-request set-header X-Y 1", "lines that write _ for -"),
    ] {
        assert!(!plain.contains(announced), "{plain}");
        let said = differences(frontend);
        assert!(said.contains(announced), "{frontend}: {said}");
    }
    let after = differences(" http-after-response set-header X 1");
    assert!(!after.contains("but not by http-response"), "{after}");
}
