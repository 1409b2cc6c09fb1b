//! `[[service.route]]` and header edits: files that are valid, and the messages about invalid ones.

use lb_config::{Action, HostRule, PathRule, Route};

use super::{BASE, parse};

/// Returns [`BASE`] with these lines at the end of its service of mode `https`.
fn with(lines: &str) -> String {
    let certificates = "certificates = [\"/etc/lb/tls/example.com.pem\"]\n";
    assert_eq!(BASE.matches(certificates).count(), 1);
    BASE.replace(certificates, &format!("{certificates}{lines}\n"))
}

/// Returns the route that these `lines` of the file describe.
fn route(lines: &str) -> Route {
    let text = with(&format!("[[service.route]]\n{lines}"));
    let parsed = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    parsed.config.services[1].routing.routes[0].clone()
}

/// Returns each error of a file with these lines, as its message, its hint, and the text of its
/// line.
fn reported(lines: &str) -> Vec<(String, String, String)> {
    let errors = parse(&with(lines)).expect_err("refused");
    let reported = errors.diagnostics().iter().map(|error| {
        let snippet = error.location.as_ref().map(|place| place.snippet.clone());
        let hint = error.hint.clone().unwrap_or_default();
        (error.message.clone(), hint, snippet.unwrap_or_default())
    });
    reported.collect()
}

/// Asserts that a route of these lines has exactly one error, whose message contains `message` and
/// whose hint contains `hint`.
#[track_caller]
fn refused(lines: &str, message: &str, hint: &str) {
    let reported = reported(&format!("[[service.route]]\n{lines}"));
    let [(found, advice, _)] = &reported[..] else {
        panic!("{reported:#?}");
    };
    assert!(found.contains(message), "{found}");
    assert!(advice.contains(hint), "{advice}");
}

const RESPOND: &str = "respond = { status = 204 }";

#[test]
fn the_conditions_of_a_route_are_read() {
    let route = route(
        "name = \"api\"\nhost = [\"WWW.Example.com\", \"*.example.net\", \"[::1]\"]\n\
         path_prefix = \"/a%62c/\"\nmethod = \"GET\"\nheader = [{ name = \"X-A\" }]\npool = \"web\"\n\
         replace_prefix = \"/\"",
    );
    assert_eq!(route.name.as_str(), "api");
    assert_eq!(
        route.hosts,
        [
            HostRule::Name("www.example.com".into()),
            HostRule::Below("example.net".into()),
            HostRule::Address("::1".parse().expect("an address")),
        ]
    );
    assert_eq!(route.path, Some(PathRule::Prefix(b"/abc".to_vec())));
    assert_eq!(route.methods, ["GET"]);
    assert!(matches!(
        route.action,
        Action::Pool {
            replace_prefix: Some(_),
            ..
        }
    ));
}

#[test]
fn a_route_without_a_name_has_its_number() {
    let text = with(&format!(
        "[[service.route]]\nname = \"a\"\npath = \"/a\"\n{RESPOND}\n[[service.route]]\n{RESPOND}"
    ));
    let config = parse(&text).expect("good").config;
    let routes = &config.services[1].routing.routes;
    assert_eq!(routes[1].name.as_str(), "2");
}

#[test]
fn a_pool_that_only_a_route_uses_is_used() {
    let text = with("[[service.route]]\npath = \"/a\"\npool = \"web\"");
    let text = text.replace(
        "mode = \"tcp\"\nforward = \"nat\"\npool = \"web\"",
        "mode = \"tcp\"\npool = \"app\"",
    );
    let parsed = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parsed.warnings, []);
}

#[test]
fn a_service_with_routes_needs_no_pool_and_one_without_does() {
    let text = with(&format!("[[service.route]]\n{RESPOND}"));
    let without = text.replace("pool = \"app\"\ncertificates", "certificates");
    let parsed = parse(&without).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parsed.config.services[1].pool, None);
    let errors = parse(&BASE.replace("pool = \"app\"\ncertificates", "certificates"));
    let errors = errors.expect_err("refused").to_string();
    assert!(errors.contains("service \"https\" has no pool"), "{errors}");
}

#[test]
fn a_route_does_exactly_one_thing() {
    refused(
        "path = \"/a\"",
        "has no action",
        "pool, redirect or respond",
    );
    refused(
        "pool = \"web\"\nrespond = { status = 204 }",
        "has both pool and respond",
        "a route has one action",
    );
    refused(
        "pool = \"wbe\"",
        "there is no pool \"wbe\"",
        "did you mean \"web\"?",
    );
}

#[test]
fn paths_that_no_request_can_have_are_refused() {
    for (path, message) in [
        ("a", "does not begin with /"),
        ("/a?b", "has a query"),
        ("/a/../b", "has a segment"),
        ("/%2e", "has a segment"),
        ("/a//b", "has //"),
        ("/a;b", "has //"),
        ("/a%2Fb", "has //"),
        ("/%zz", "hexadecimal"),
        ("/%00", "contains %00"),
    ] {
        refused(&format!("path = {path:?}\n{RESPOND}"), message, "");
        refused(&format!("path_prefix = {path:?}\n{RESPOND}"), message, "");
    }
    refused(
        &format!("path = \"/a\"\npath_regex = \"b\"\n{RESPOND}"),
        "has both path and path_regex",
        "write a second route",
    );
    refused(
        "path = \"/a\"\nreplace_prefix = \"/\"\npool = \"web\"",
        "has replace_prefix, but no path_prefix",
        "",
    );
}

#[test]
fn hosts_methods_and_expressions_are_checked() {
    for (lines, message, hint) in [
        ("host = \"a.example:443\"", "has a port", "the host only"),
        ("host = \"a.example.\"", "ends in a dot", "remove it"),
        ("host = \"*\"", "is not a host name", "*.example.com"),
        ("host = []", "host is empty", "remove the key"),
        ("method = \"get\"", "has lower-case letters", "\"GET\""),
        ("method = \"CONNECT\"", "never reaches a route", "501"),
        (
            "path_regex = \"(\"",
            "is not a regular expression: unclosed group",
            "docs.rs/regex",
        ),
        (
            "path_regex = \"(a{1000}){1000}\"",
            "needs more than 1048576 bytes",
            "repetitions",
        ),
        (
            "path_regex = \"(?=a)\"",
            "is not a regular expression: look-around",
            "without look-around",
        ),
        (
            "name = \"7\"",
            "route name \"7\" is reserved",
            "another name",
        ),
        (
            "name = \"default\"",
            "route name \"default\" is reserved",
            "another name",
        ),
        (
            "header = [{ name = \"Connection\" }]",
            "cannot be used in a condition",
            "does not forward",
        ),
        (
            "header = [{ name = \"Host\" }]",
            "cannot be used in a condition",
            "host =",
        ),
        (
            "header = [{ name = \"A\", value = \"b\", regex = \"c\" }]",
            "has both value and regex",
            "keep one",
        ),
    ] {
        refused(&format!("{lines}\n{RESPOND}"), message, hint);
    }
}

#[test]
fn a_redirect_leads_to_a_url_or_a_path_whose_host_is_not_the_path_s() {
    for (to, message) in [
        ("{path}", "is neither an absolute URL nor a path"),
        ("//{host}", "is neither an absolute URL nor a path"),
        ("/{path}", "is neither an absolute URL nor a path"),
        ("/\\\\a", "is not a URL"),
        ("https://{path}", "has no host"),
        ("https://", "has no host"),
        ("https://{query}", "has no host"),
        ("https://u@{host}/", "has a user name"),
        ("https://{hots}/", "has the unknown variable {hots}"),
        ("https://a/{", "has a brace outside a variable"),
        ("https://a/ b", "is not a URL"),
        ("https://a/\\r\\nX: y", "is not a URL"),
    ] {
        refused(&format!("redirect = {{ to = \"{to}\" }}"), message, "");
    }
    refused(
        "redirect = { to = \"https://{host}{path}\", status = 200 }",
        "is not a status of a redirect",
        "307 and 308",
    );
    for to in [
        "https://{host}{path}{query}",
        "{scheme}://www.{host}:8443/x",
        "http://a",
        "/",
        "/new?from={path}",
    ] {
        route(&format!("redirect = {{ to = \"{to}\" }}"));
    }
}

#[test]
fn header_edits_that_would_break_a_message_are_refused_with_the_reason() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "content_length",
        "Expect",
    ] {
        for edit in [
            format!("request_headers = {{ set = {{ {name} = \"1\" }} }}"),
            format!("response_headers = {{ add = {{ {name} = \"1\" }} }}"),
            format!("response_headers = {{ remove = [\"{name}\"] }}"),
        ] {
            let lines = format!("{edit}\n{RESPOND}");
            refused(
                &lines,
                "is a header field that the configuration may not change",
                "it frames a message",
            );
        }
    }
    for name in ["Host", "X-Forwarded-For", "x_forwarded_proto", "Forwarded"] {
        let lines = format!("request_headers = {{ set = {{ {name} = \"1\" }} }}\n{RESPOND}");
        refused(
            &lines,
            "is a header field that the configuration may not change",
            "",
        );
    }
    for name in [
        "Client-Cert",
        "client_cert_chain",
        "X-Client-Cert-Subject",
        "X_CLIENT_CERT",
    ] {
        let lines = format!("request_headers = {{ set = {{ {name} = \"1\" }} }}\n{RESPOND}");
        refused(
            &lines,
            "is a header field that the configuration may not change",
            "client_certificates in [service.tls]",
        );
    }
    for (value, message) in [
        ("a\\r\\nX: y", "is not allowed in a header"),
        ("a\\u0000", "is not allowed in a header"),
        ("\u{e4}", "is not allowed in a header"),
        (" a", "begins or ends with a space"),
        ("", "is empty"),
        ("{path", ""),
        ("{client_id}", "did you mean {client_ip}?"),
    ] {
        let lines = format!("request_headers = {{ set = {{ X = \"{value}\" }} }}\n{RESPOND}");
        if message.is_empty() {
            route(&lines);
            continue;
        }
        let reported = reported(&format!("[[service.route]]\n{lines}"));
        let text = format!("{reported:?}");
        assert!(
            reported.len() == 1 && text.contains(message),
            "{value:?}: {text}"
        );
    }
    let braces = r#"response_headers = { set = { NEL = '{"report_to":"x"}' } }"#;
    route(&format!("{braces}\n{RESPOND}"));
    refused(
        &format!("response_headers = {{ set = {{ X = \"{{host}}\" }} }}\n{RESPOND}"),
        "has a variable",
        "in the headers of requests",
    );
    refused(
        &format!("request_headers = {{ set = {{ X-A = \"1\" }}, remove = [\"x-a\"] }}\n{RESPOND}"),
        "duplicate header \"x-a\"",
        "",
    );
    refused(
        &format!("request_headers = {{ set = {{ \"X A\" = \"1\" }} }}\n{RESPOND}"),
        "is not the name of a header field",
        "",
    );
}

#[test]
fn fixed_answers_and_error_pages_are_checked() {
    refused(
        "respond = { status = 204, body = \"x\" }",
        "a response of status 204 cannot have a body",
        "",
    );
    refused(
        "respond = { status = 503, body = \"x\", file = \"/x\" }",
        "has both body and file",
        "",
    );
    refused("respond = { status = 101 }", "out of range", "200 to 599");
    let reported = reported("error_pages = { 200 = \"/x.html\", 502 = \"x.html\" }");
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(
        reported[0].0.contains("is not a status of an error"),
        "{reported:?}"
    );
    assert!(
        reported[1].0.contains("does not begin with /"),
        "{reported:?}"
    );
}

#[test]
fn the_kernel_has_no_routes() {
    let text = BASE.replace(
        "forward = \"nat\"\n",
        "forward = \"nat\"\n\
         error_pages = { 502 = \"/x\" }\nrequest_headers = { remove = [\"X\"] }\n",
    );
    let errors = parse(&text).expect_err("refused");
    let reported: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(|one| &one.message)
        .collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported[0].contains("has error_pages, but its mode is \"tcp\""));
}

#[test]
fn every_mistake_of_all_routes_is_said_at_once() {
    let reported = reported(
        "[[service.route]]\nhost = \"a:1\"\npath = \"x\"\npool = \"none\"\n\
         [[service.route]]\nmethod = \"get\"\nredirect = { to = \"//\", status = 1 }\n\
         [[service.route]]\nname = \"a\"\nrespond = { status = 1 }\n\
         [[service.route]]\nname = \"a\"\n",
    );
    let messages: Vec<_> = reported.iter().map(|(message, ..)| message).collect();
    assert_eq!(reported.len(), 9, "{messages:#?}");
}

#[test]
fn a_route_behind_one_that_takes_all_is_warned_of() {
    let text = with(&format!(
        "[[service.route]]\n{RESPOND}\n[[service.route]]\npath = \"/a\"\n{RESPOND}"
    ));
    let warnings = parse(&text).expect("good").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .message
            .contains("route \"2\" never takes a request")
    );
}

#[test]
fn the_files_of_the_page_about_routing_are_right() {
    const PAGE: &str = include_str!("../../../docs/routing.md");
    let (before, _) = BASE.split_once("[[service]]").expect("services");
    let files = PAGE.split("```toml\n").skip(1);
    let files: Vec<_> = files.filter_map(|text| text.split("```").next()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let mut text = before.to_owned();
        for pool in ["api", "beta"] {
            text += &format!("[[pool]]\nname = \"{pool}\"\nbackends = [\"10.0.2.1:80\"]\n");
        }
        let parsed = parse(&(text + file)).unwrap_or_else(|error| panic!("{error}"));
        let idle = |text: &str| text.starts_with("no service uses pool");
        let warnings = parsed.warnings.iter().map(|one| one.message.as_str());
        assert!(warnings.clone().all(idle), "{:?}", parsed.warnings);
    }
}
