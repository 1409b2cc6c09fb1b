//! Tests the decisions of routing tables, which are compiled from parsed configurations.

use std::path::Path;

use super::*;
use crate::config::Config;

/// Parses a configuration of two services with these routes, whose pools are `web`, `api` and
/// `old`.
fn services(pool: &str, routes: &str) -> Vec<Service> {
    let text = format!(
        r#"
[node]
name = "lb"
interface = "eth0"
[[pool]]
name = "web"
backends = ["10.0.0.6:80"]
[[pool]]
name = "api"
backends = ["10.0.0.7:80"]
[[pool]]
name = "old"
backends = ["10.0.0.9:80"]
[[service]]
name = "site"
listen = "172.31.0.70:443"
mode = "https"
{pool}
certificates = ["/x.pem"]
{routes}
[[service]]
name = "plain"
listen = "172.31.0.70:80"
mode = "http"
pool = "old"
[[service]]
name = "steered"
listen = "172.31.0.70:81"
mode = "tcp"
pool = "old"
"#
    );
    let parsed = Config::parse(Path::new("lb.toml"), &text);
    parsed
        .unwrap_or_else(|error| panic!("{error}"))
        .config
        .services
}

fn table(pool: &str, routes: &str) -> Arc<Table> {
    let service = &services(pool, routes)[0];
    let table = Table::compile(service).expect("no files");
    table.expect("something to decide")
}

struct Lines(&'static [(&'static str, &'static str)]);

impl Fields for Lines {
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
        let mut lines = self.0.iter();
        lines.any(|(other, value)| other.eq_ignore_ascii_case(name) && test(value.as_bytes()))
    }
}

/// Returns the table's decision about a request, which `line` gives as `METHOD host target`, with
/// these header lines.
fn decide(
    table: &Arc<Table>,
    line: &str,
    lines: &'static [(&'static str, &'static str)],
    has_pool: bool,
) -> Result<(Option<usize>, Outcome), Refusal> {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("METHOD host target");
    let request = Request {
        method: next(),
        host: next(),
        target: next(),
        fields: &Lines(lines),
        client: "192.0.2.7",
        https: true,
    };
    let decision = table.decide(&request, has_pool)?;
    Ok((decision.route, decision.outcome))
}

const ROUTES: &str = r#"
[[service.route]]
host = "www.example.com"
redirect = { to = "https://{bare_host}{path}{query}", status = 308 }
[[service.route]]
path_prefix = "/admin"
respond = { status = 403, body = "no" }
[[service.route]]
name = "api"
host = ["example.com", "*.example.net"]
path_prefix = "/api"
method = ["GET", "POST"]
pool = "api"
replace_prefix = "/"
[[service.route]]
path_regex = '^/v[0-9]+/'
header = [{ name = "X-Debug" }, { name = "X-Kind", value = "a" }, { name = "Cookie", regex = '(^|; )beta=1(;|$)' }]
pool = "old"
"#;

#[test]
fn the_first_route_whose_conditions_hold_takes_a_request() {
    let table = table("pool = \"web\"", ROUTES);
    let debug = &[("x-debug", ""), ("x-kind", "a"), ("cookie", "a=b; beta=1")];
    let wrong = &[("x-debug", ""), ("x-kind", "A"), ("cookie", "beta=1")];
    for (line, lines, wanted) in [
        (
            "GET WWW.example.com.:8443 /a%20b?c",
            &[][..],
            (
                Some(0),
                Outcome::Redirect(308, "https://example.com/a%20b?c".into()),
            ),
        ),
        ("GET example.com /admin", &[], (Some(1), Outcome::Respond)),
        (
            "GET example.com /api/x?y",
            &[],
            (Some(2), Outcome::Pool(1, Some("/x?y".into()))),
        ),
        (
            "POST a.b.example.net /api",
            &[],
            (Some(2), Outcome::Pool(1, Some("/".into()))),
        ),
        ("PUT example.com /api", &[], (None, Outcome::Default)),
        ("GET example.net /api", &[], (None, Outcome::Default)),
        ("GET example.com /apix", &[], (None, Outcome::Default)),
        ("GET a /v1/", debug, (Some(3), Outcome::Pool(2, None))),
        ("GET a /v1/", wrong, (None, Outcome::Default)),
        ("GET a /v1", debug, (None, Outcome::Default)),
        ("OPTIONS a *", debug, (None, Outcome::Default)),
    ] {
        assert_eq!(decide(&table, line, lines, true), Ok(wanted), "{line}");
    }
}

#[test]
fn a_route_that_protects_a_path_is_not_passed_by_a_spelling_of_it() {
    let table = table("pool = \"web\"", ROUTES);
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/%61dmin",
        "/ad%6Din/x",
        "/admin;jsessionid=1/x",
        "/admin%2fx",
        "/admin\\x",
        "/;x/admin",
        "/admin?x=/",
    ] {
        let line = format!("GET a {path}");
        let taken = decide(&table, &line, &[], true);
        assert_eq!(taken, Ok((Some(1), Outcome::Respond)), "{path}");
    }
    for path in [
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/x/..;/admin",
        "/x%2f..%2fadmin",
        "/x/..\\admin",
        "/admin%00",
        "/%zzadmin",
    ] {
        let line = format!("GET a {path}");
        let refused = decide(&table, &line, &[], true);
        assert_eq!(refused, Err(Refusal::AmbiguousPath), "{path}");
    }
    assert_eq!(decide(&table, "GET %61 /", &[], true), Err(Refusal::Host));
}

#[test]
fn paths_and_hosts_that_no_route_looks_at_are_not_judged() {
    let table = table(
        "pool = \"web\"",
        "[[service.route]]\nmethod = \"PUT\"\npool = \"api\"",
    );
    let taken = decide(&table, "GET %61 /x/../%00%", &[], true);
    assert_eq!(taken, Ok((None, Outcome::Default)));
}

#[test]
fn what_nothing_takes_is_404_or_421_where_its_host_is_nobody_s() {
    let table = table(
        "",
        "[[service.route]]\nhost = \"a.example\"\npath = \"/x\"\npool = \"api\"",
    );
    for (line, wanted) in [
        ("GET a.example /x", (Some(0), Outcome::Pool(0, None))),
        ("GET a.example /y", (None, Outcome::Unmatched(404))),
        ("GET b.example /x", (None, Outcome::Unmatched(421))),
    ] {
        assert_eq!(decide(&table, line, &[], false), Ok(wanted), "{line}");
    }
}

#[test]
fn a_service_without_routes_has_no_table() {
    let services = services("pool = \"web\"", "");
    assert!(Table::compile(&services[0]).expect("no files").is_none());
}

#[test]
fn every_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large.html");
    std::fs::write(&large, vec![b'x'; (1 << 20) + 1]).expect("written");
    let routes = format!(
        "error_pages = {{ 502 = \"/nonexistent/a.html\", 503 = {:?} }}\n[[service.route]]\n\
         respond = {{ status = 503, file = {:?} }}",
        folder.path(),
        large
    );
    let services = services("pool = \"web\"", &routes);
    let errors = Table::compile(&services[0]).expect_err("refused");
    let mut said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    said.sort();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().any(|one| one.contains("/nonexistent/a.html")));
    assert!(said.iter().any(|one| one.contains("not a regular file")));
    assert!(said.iter().any(|one| one.contains("larger than 1 MiB")));
}

fn explained(url: &str, headers: &[&str], method: &str) -> Result<String, String> {
    let question = Question {
        url: url.to_owned(),
        method: method.to_owned(),
        headers: headers.iter().map(|line| (*line).to_owned()).collect(),
        service: None,
    };
    explain(&services("pool = \"web\"", ROUTES), &question)
}

#[test]
fn an_explanation_says_which_route_takes_a_request_and_why_the_others_do_not() {
    assert_eq!(
        explained("https://a/v1/x?y#z", &["X-Debug: 1", "X-Kind: b"], "PUT").as_deref(),
        Ok(r#"service site (https, 172.31.0.70:443)
  route 1: no, host a is not www.example.com
  route 2: no, path /v1/x is not at or below /admin
  route api: no, host a is not example.com or *.example.net
  route 4: no, header X-Kind is not "a"
  no route takes it
-> pool web
"#)
    );
    assert_eq!(
        explained("https://example.com//api;v=1/x?y", &[], "GET").as_deref(),
        Ok(r#"service site (https, 172.31.0.70:443)
  the path is compared as /api/x
  route 1: no, host example.com is not www.example.com
  route 2: no, path /api/x is not at or below /admin
  route api: yes (host, path, method match)
-> pool api, as /x?y
"#)
    );
    assert_eq!(
        explained("http://www.example.com/", &[], "GET").as_deref(),
        Ok("service plain (http, 172.31.0.70:80)\n-> pool old\n")
    );
}

#[test]
fn an_explanation_says_what_is_refused_and_what_is_no_question() {
    let said = explained("https://a/x/../admin", &[], "GET").expect("explained");
    assert!(
        said.contains("refused with 400: the path has a segment"),
        "{said}"
    );
    for (url, method, wanted) in [
        ("ftp://a/", "GET", "neither http nor https"),
        ("a/b", "GET", "is not a URL"),
        ("https://a:99999/", "GET", "is not a port"),
        (
            "https://a:444/",
            "GET",
            "no service accepts https on port 444",
        ),
        ("https://a b/", "GET", "valid Host"),
        ("https://a/ö", "GET", "neither a path"),
        ("https://a/", "CONNECT", "does not serve that method"),
    ] {
        let said = explained(url, &[], method).expect_err("no question");
        assert!(said.contains(wanted), "{url}: {said}");
    }
    let said = explained("https://a/", &["X"], "GET").expect_err("no line");
    assert!(said.contains("is not a header line"), "{said}");
}

#[test]
fn a_redirect_cannot_be_led_to_another_host_by_the_path() {
    let table = table(
        "pool = \"web\"",
        "[[service.route]]\nredirect = { to = \"https://{host}{path}\" }",
    );
    let taken = decide(&table, "GET a.example //evil.example/x", &[], true);
    let location = "https://a.example//evil.example/x".to_owned();
    assert_eq!(taken, Ok((Some(0), Outcome::Redirect(307, location))));
}
