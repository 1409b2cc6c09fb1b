//! Files with conditions, answers and edits of all kinds.

use super::*;

#[test]
fn conditions_hold_for_the_requests_that_they_hold_for_in_haproxy() -> Result<()> {
    let case = Case::of(include_str!("cases/conditions.cfg"));
    let hosts = [
        "other.example",
        "api.example.com",
        "API.example.com",
        "api.example.com:443",
        "a.example.net",
        "example.net",
        "a.example.info",
        "example.info",
        "notexample.info",
        "example.org",
        "a.example.org",
        "a.example.org.uk",
        "Case.Example.COM",
        "case.example.com",
    ];
    let targets = [
        "/v1/x",
        "/v12/",
        "/v/x",
        "/exact",
        "/exact/",
        "/Exact2",
        "/EXACT",
        "/ANYcase",
        "/lib",
        "/a/lib/b",
        "/alib/",
        "/secret",
        "/a/secrets",
    ];
    let variants: &[Variant] = &[
        ("GET", &[("X-Token", "")]),
        ("POST", &[("X-Token", "a")]),
        ("PUT", &[("X-Token", "a"), ("X-Token", "b")]),
        ("GET", &[("X-Beta", "YES")]),
        ("GET", &[("X-Beta", "no, on")]),
        ("GET", &[("X-Beta", "no"), ("X-Beta", "on")]),
        ("GET", &[("X-Beta", "yesterday")]),
        ("GET", &[("User-Agent", "a WebCrawler")]),
        ("GET", &[("User-Agent", "agent/1 (x, y)")]),
        ("GET", &[("User-Agent", "x, agent/1")]),
        ("GET", &[("X-List", "one")]),
        ("GET", &[("X-List", "one, two")]),
        ("GET", &[("Accept", "application/json")]),
        ("GET", &[("Accept", "text/html ,application/json")]),
        ("GET", &[("Accept", "application/json;q=0.5")]),
        (
            "GET",
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "WebSocket"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
        ("GET", &[("X-Forwarded-Proto", "http")]),
        (
            "GET",
            &[
                ("X-Real-IP", "192.0.2.99"),
                ("X-Forwarded-For", "192.0.2.98"),
            ],
        ),
    ];
    run_with(
        &case,
        &hosts,
        &targets,
        variants,
        &[
            AMBIGUOUS,
            known(
                "outcome",
                |request| request.count("X-Forwarded-Proto") > 0,
                "removes those of all other clients",
            ),
            known(
                "request field x-real-ip",
                |_| true,
                "removes those of all other clients",
            ),
            known(
                "outcome",
                |request| request.host == "case.example.com",
                "the case where -i is missing",
            ),
            known(
                "outcome",
                |request| ["a.example.org.uk", "notexample.info"].contains(&&*request.host),
                "lb compares whole labels of hosts",
            ),
            PORT,
        ],
    )
}

#[test]
fn conditions_without_a_route_are_announced() -> Result<()> {
    let case = Case::of(include_str!("cases/lost.cfg"));
    let hosts = [
        "other.example",
        "www.example.com",
        "static.example.com",
        "a.static.net",
        "part.example",
        "part.example:80",
    ];
    let targets = [
        "/office/x",
        "/absent",
        "/x",
        "/old/y",
        "/?user=alice",
        "/DEEP/x",
        "/deep",
        "/a?b",
    ];
    let variants: &[Variant] = &[
        ("GET", &[("X-Token", "a")]),
        ("GET", &[("X-Token", "a"), ("X-Token", "b")]),
        ("GET", &[("X-Name", "a-b")]),
    ];
    run_with(
        &case,
        &hosts,
        &targets,
        variants,
        &[
            AMBIGUOUS,
            known(
                "outcome",
                |request| request.target == "/absent",
                "ACL absent: lb's routes do not count header lines",
            ),
            known(
                "outcome",
                |request| request.target.contains("user=alice"),
                "ACL alice: lb's routes cannot match url_param(user)",
            ),
            known(
                "outcome",
                |request| request.host.starts_with("www."),
                "ACL www: lb compares hosts as whole names",
            ),
            known(
                "outcome",
                |request| request.host.contains("static"),
                "ACL first: lb compares hosts as whole names",
            ),
            known(
                "outcome",
                |request| request.count("X-Token") > 1,
                "ACL several: lb's routes do not count header lines",
            ),
            known(
                "outcome",
                |request| request.target.to_lowercase().starts_with("/deep"),
                "ACL deep: lb's routes cannot match path,lower",
            ),
            known(
                "outcome",
                |request| request.host.starts_with("part."),
                "ACL host_part: lb's routes cannot match hdr(host),field(1,:)",
            ),
            known(
                "outcome",
                |request| request.target == "/a?b",
                "ACL query: lb's routes match the path only",
            ),
            known(
                "request line",
                |request| request.target.starts_with("/x"),
                "http-request set-path /index.php%[path] if { path_beg /x }",
            ),
            known(
                "request line",
                |request| request.target.starts_with("/old/"),
                "http-request replace-path /old/(.*) /new/\\1",
            ),
            known(
                "request field x-name",
                |_| true,
                "http-request replace-header X-Name",
            ),
            known(
                "request field x-office",
                |_| true,
                "ACL office: lb's routes cannot match src:",
            ),
        ],
    )
}

#[test]
fn answers_are_those_of_haproxy() -> Result<()> {
    let case = Case {
        files: &[
            (
                "/etc/haproxy/errors/403.http",
                "HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<p>403</p>\n",
            ),
            (
                "/etc/haproxy/errors/503.http",
                "HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\n\r\n<p>503</p>\n",
            ),
            ("/etc/haproxy/return.html", "<p>file</p>\n"),
        ],
        ..Case::of(include_str!("cases/answers.cfg"))
    };
    let hosts = ["a.example.com", "a.example.com:8080", "A.Example.COM"];
    let targets = [
        "/alive",
        "/alive?x",
        "/ALIVE",
        "/deny",
        "/deny/x",
        "/deny404",
        "/deny429",
        "/return",
        "/return?x",
        "/file",
        "/empty",
        "/plain",
        "/location",
        "/location?a=b",
        "/from?a=b",
        "/absolute?a",
        "/prefix",
        "/prefix/x?y=z",
        "/slashed?x",
        "/relative/x?y",
        "/drop/x?y",
        "/slash",
        "/slash/?y",
        "/slash?y",
        "/cookie?a",
        "/scheme/x?y",
        "/uri/%41?b=%20",
        "/gone",
    ];
    run(
        &case,
        &hosts,
        &targets,
        &[
            AMBIGUOUS,
            NO_CACHE,
            known("body", without_page, NO_PAGE),
            known("response field content-type", without_page, NO_PAGE),
            known(
                "response field content-type",
                |request| request.target == "/deny/x",
                "name it .html",
            ),
            known(
                "outcome",
                |request| request.target == "/alive?x",
                "lb answers the path with any query too",
            ),
            known(
                "response field location",
                |request| request.target.starts_with("/slash"),
                "append-slash: no slash is added",
            ),
            known(
                "response field set-cookie",
                |request| request.target.starts_with("/cookie"),
                "set-cookie: no cookie is set",
            ),
            known("response field x-edited", |_| true, LATE),
            LOCATION_PORT,
        ],
    )
}

#[test]
fn edits_of_headers_are_those_of_haproxy() -> Result<()> {
    let case = Case::of(include_str!("cases/edits.cfg"));
    let variants: &[Variant] = &[
        (
            "GET",
            &[
                ("X-App", "1"),
                ("x-app", "2"),
                ("X-Undone", "c"),
                ("X-Replaced", "c"),
                ("X-Fresh", "c"),
                ("X-Two", "c"),
            ],
        ),
        (
            "GET",
            &[("X-Host", "c"), ("X-Debug", "c"), ("X-Special", "c")],
        ),
    ];
    run_with(
        &case,
        &["a.example.com", "a.example.com:8080"],
        &[],
        variants,
        &[
            AMBIGUOUS,
            known(
                "request field x-host",
                |request| request.host.contains(':'),
                "{host}: it has no port in lb",
            ),
            known(
                "request field x-two",
                |_| true,
                "lb adds one line of a name",
            ),
            UNDERSCORES,
        ],
    )
}
