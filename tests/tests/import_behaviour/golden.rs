//! The files of the golden tests of `lb-import`, adapted in addresses and certificates.

use super::*;

/// Returns the case of a haproxy.cfg among the golden tests of `lb-import`.
macro_rules! golden {
    ($name:literal) => {
        Case::of(include_str!(concat!(
            "../../../lb-import/tests/golden/",
            $name,
            "/haproxy.cfg"
        )))
    };
}

#[test]
fn sites_by_host_are_chosen_as_haproxy_chooses_them() -> Result<()> {
    let case = golden!("h-hosts");
    let hosts = [
        "blog.example.org",
        "BLOG.example.org",
        "weblog.example.org",
        "a.shop.example.org",
        "shop.example.org",
        "A.B.SHOP.example.org",
        "other.example",
        "blog.example.org:80",
        "blog.example.org:81",
        "blog.example.org.",
    ];
    run(&case, &hosts, &[], &[])
}

#[test]
fn paths_of_the_distributions_example_are_taken_as_haproxy_takes_them() -> Result<()> {
    let case = Case {
        adapted: &[
            ("PROFILE=SYSTEM", "DEFAULT"),
            ("127.0.0.1 local2", LOG),
            ("127.0.0.1:", "10.5.0.1:"),
        ],
        ..golden!("h-static")
    };
    run(
        &case,
        &["a.example.com", "a.example.com:5000"],
        &[],
        &[AMBIGUOUS],
    )
}

#[test]
fn redirects_of_a_site_with_a_www_name_are_those_of_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            (
                "/etc/ssl/private/www.example.com.pem",
                "/etc/haproxy/certs/",
            ),
            ("127.0.0.1:", "10.5.0.1:"),
        ],
        newer: &[
            (
                "reqadd X-Forwarded-Proto:\\ http",
                "http-request add-header X-Forwarded-Proto http",
            ),
            (
                "rspadd Strict-Transport-Security:\\ max-age=31536000",
                "http-response add-header Strict-Transport-Security max-age=31536000",
            ),
        ],
        ..golden!("h-redirect")
    };
    let hosts = [
        "example.com",
        "www.example.com",
        "EXAMPLE.com",
        "example.com:443",
    ];
    run(
        &case,
        &hosts,
        &["/.well-known/acme-challenge/x"],
        &[
            PORT,
            LOCATION_PORT,
            known("response field strict-transport-security", |_| true, LATE),
            known(
                "outcome",
                |request| request.target.starts_with("/.well-known/"),
                "turn off the renewal by certbot",
            ),
        ],
    )
}

#[test]
fn a_shop_with_sections_of_named_defaults_is_served_as_by_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            ("\"${ORIGIN}:8080\"", "10.20.0.9:8080"),
            (
                "\tserver a1 10.20.1.1:8443 ssl verify required ca-file /etc/ssl/shop.pem check\n",
                "",
            ),
            (" send-proxy-v2", ""),
            ("\thttp-check expect string ok\n", ""),
        ],
        files: &[(
            "/etc/haproxy/errors/502.http",
            "HTTP/1.0 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<p>502</p>\n",
        )],
        newer: &[("\tno option httplog\n", "")],
        ..golden!("h-defaults")
    };
    let hosts = ["shop.example", "api.shop.example", "a.example.com"];
    run(
        &case,
        &hosts,
        &[
            "/robots.txt",
            "/x.php",
            "/x.php?y",
            "/api/reports/1",
            "/x.php/y",
        ],
        &[
            AMBIGUOUS,
            known(
                "response field set-cookie",
                |request| request.method != "POST",
                "lb's cookie has no postonly",
            ),
            known("response field cache-control", |_| true, STICKY),
            known(
                "outcome",
                |request| request.target.starts_with("/api/reports"),
                "a route has one condition on the path",
            ),
        ],
    )
}

#[test]
fn an_old_file_behaves_as_its_translation_does_in_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            ("127.0.0.1   local0", LOG),
            ("        nbproc 2\n", ""),
            ("        srvexp  ^Server:\n", ""),
        ],
        newer: &[
            (
                "listen  appli 0.0.0.0:10002",
                "listen appli\n        bind 0.0.0.0:10002",
            ),
            ("contimeout ", "timeout connect "),
            ("clitimeout ", "timeout client "),
            ("srvtimeout ", "timeout server "),
            (
                "        reqirep ^Host:\\ (.*) Host:\\ www.example.com\n",
                "",
            ),
            ("        reqideny ^[^:\\ ]*\\ .*\\.asp\n", ""),
            (
                "reqidel ^X-Internal:.*",
                "http-request del-header X-Internal",
            ),
            ("rspidel ^Server:.*", "http-response del-header Server"),
            ("rspadd X-Via:\\ old", "http-response add-header X-Via old"),
        ],
        ..golden!("h-old")
    };
    let variants: &[Variant] = &[("GET", &[("X-Internal", "1"), ("x-internal", "2")])];
    run_with(&case, &["www.example.com"], &[], variants, &[])
}

#[test]
fn an_interface_for_programs_is_served_as_by_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            ("api.example.io.pem", "/etc/haproxy/certs/"),
            ("gt 100 ", "gt 1000000 "),
        ],
        ..golden!("h-api")
    };
    run(
        &case,
        &["a.example.com"],
        &["/v1", "/v1/x", "/x/v1/y", "/v2", "/v2/x", "/v2x"],
        &[
            AMBIGUOUS,
            known(
                "outcome",
                |request| !request.target.starts_with("/v2/"),
                "use_backend v1 unless v2",
            ),
            known(
                "request line",
                |request| request.target.starts_with("/v2/"),
                "http-request replace-path /v2/(.*) /\\1",
            ),
            known(
                "request field x-request-start",
                |_| true,
                "lb has no variable for %Ts",
            ),
            known(
                "response field x-id",
                |_| true,
                "lb has no variable for %[unique-id]",
            ),
        ],
    )
}

#[test]
fn a_content_management_system_is_served_as_by_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            ("maxconn 10000", "maxconn 2000"),
            (" accept-proxy", ""),
            (" ca-file /etc/haproxy/ca.pem verify optional", ""),
            (
                "    bind \"${PUBLIC_IP}:8443\" ssl crt /etc/haproxy/certs/\n",
                "",
            ),
            ("    server p2 \"${PHP_2}:9000\" check\n", ""),
            ("    http-check expect string pong\n", ""),
        ],
        ..golden!("h-wordpress")
    };
    run(
        &case,
        &["a.example.com"],
        &[
            "/wp-admin/x",
            "/wp-login.php",
            "/robots.txt",
            "/old/",
            "/old",
        ],
        &[
            AMBIGUOUS,
            known(
                "outcome",
                |request| request.target.starts_with("/wp-"),
                "HAProxy refuses requests that lb accepts",
            ),
            known(
                "request line",
                |request| request.target.starts_with("/x"),
                "http-request set-path /index.php%[path] if { path_beg /x }",
            ),
        ],
    )
}

#[test]
fn a_file_with_everything_is_served_as_by_haproxy() -> Result<()> {
    let case = Case {
        adapted: &[
            ("maxconn 20000", "maxconn 2000"),
            ("/dev/log local0", LOG),
            ("/dev/log local1 notice", LOG),
            (" crt site.pem", ""),
            (",[::]:80", ""),
            (" send-proxy", ""),
            ("    server p2 10.0.2.2:9443 check ssl verify none\n", ""),
            (
                "    server named app-3.internal:8080 check resolvers dns\n",
                "",
            ),
            ("    errorfile 200 /etc/haproxy/errors/200.http\n", ""),
            (
                "listen mysql\n    bind 10.0.0.5:3306\n    mode tcp\n    option mysql-check user haproxy\n    balance leastconn\n    server db1 10.0.5.1:3306 check\n    server db2 10.0.5.2:3306 check backup\n",
                "",
            ),
            (
                "listen stats\n    bind *:8404\n    stats enable\n    stats uri /\n    stats auth admin:secret\n",
                "",
            ),
            ("peers pair\n    peer lb-a 10.0.0.5:1024\n", ""),
            ("    http-request track-sc0 src table limits\n", ""),
            (
                "    use_backend %[req.hdr(host),lower,map(/etc/haproxy/hosts.map)] if TRUE\n",
                "",
            ),
            ("strict-sni", ""),
        ],
        files: &[
            (
                "/etc/haproxy/errors/400.http",
                "HTTP/1.0 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<p>400</p>\n",
            ),
            (
                "/etc/haproxy/errors/503.http",
                "HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\n\r\n<p>503</p>\n",
            ),
            ("/etc/haproxy/blocked.lst", "203.0.113.99\n"),
        ],
        ..golden!("h-wide")
    };
    let hosts = [
        "app.example.com",
        "app.example.org:443",
        "app.example.org",
        "static.example.com",
        "example.com",
        "other.example",
    ];
    run(
        &case,
        &hosts,
        &[
            "/alive", "/alive?x", "/ALIVE", "/okay", "/v2/x", "/x.bak", "/x-i",
        ],
        &[
            AMBIGUOUS,
            known(
                "outcome",
                |request| request.target == "/alive?x",
                "lb answers the path with any query too",
            ),
            known(
                "outcome",
                |request| request.target.contains("%2e"),
                "lb compares paths decoded",
            ),
            known(
                "outcome",
                |request| request.host == "static.example.com",
                "ACL is_static: lb compares hosts as whole names",
            ),
            known(
                "outcome",
                |request| request.target.contains('.'),
                "use_backend static if is_static",
            ),
            known(
                "outcome",
                |request| request.host == "other.example",
                "use_backend odd if bad_look",
            ),
            known(
                "outcome",
                |request| request.host.starts_with("app.example.org"),
                "lb compares hosts without their case and port",
            ),
            known("body", is_refused, NO_PAGE),
            known("response field content-type", is_refused, NO_PAGE),
            known("response field cache-control", has_cookie, STICKY),
            NO_CACHE,
            known("response field strict-transport-security", |_| true, LATE),
            LOCATION_PORT,
        ],
    )
}
