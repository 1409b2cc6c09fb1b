//! Tests of routes over both protocols: pools, redirects, fixed answers, header edits, error pages,
//! reloads.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use lb::{
    config::{Config, Service},
    proxy::Reason,
};
use lb_common::backend::BackendState;

use crate::{
    backends::{Backend, header},
    clients::{TlsClient, curl},
    site::{Site, name, wait_until},
};

/// Parses a `[[service]]` for the front under test. `pool` is the line that sets the service's
/// pool, or empty if it has none; `lines` follow it, and may name the pools `pool` and `api`.
fn service(site: &Site, pool: &str, lines: &str) -> Service {
    let text = format!(
        r#"
[node]
name = "lb"
interface = "lo"
[[pool]]
name = "pool"
backends = ["127.0.0.1:1"]
[[pool]]
name = "api"
backends = ["127.0.0.1:2"]
[[service]]
name = "site"
listen = "{}"
mode = "http"
{pool}
{lines}
"#,
        site.address
    );
    let parsed = Config::parse(Path::new("lb.toml"), &text);
    let config = parsed.unwrap_or_else(|error| panic!("{error}")).config;
    Service {
        mode: site.service.mode.clone(),
        ..config.services[0].clone()
    }
}

/// Starts a front under test whose pools `pool` and `api` have these backends, and whose
/// `[[service]]` has these lines.
fn site(pool: &[SocketAddr], api: &[SocketAddr], lines: &str) -> Site {
    let mut site = Site::https(pool);
    site.add_pool("api", api);
    let service = service(&site, "pool = \"pool\"", lines);
    site.apply(service).expect("good routes");
    site
}

/// A response, parsed from the output of curl.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Sends the request `METHOD host path` over HTTP/1 and over HTTP/2, with additional arguments of
/// curl. Asserts that the status is the same, and returns both responses.
fn both(site: &Site, request: &str, more: &[&str]) -> [Reply; 2] {
    let replies = ["--http1.1", "--http2"].map(|version| ask(site, version, request, more));
    assert_eq!(
        replies[0].status, replies[1].status,
        "{request}: {replies:?}"
    );
    replies
}

fn ask(site: &Site, version: &str, request: &str, more: &[&str]) -> Reply {
    let words: Vec<_> = request.split(' ').collect();
    let [method, host, path] = words[..] else {
        panic!("{request}");
    };
    let url = format!("https://{}{path}", site.address);
    let host = format!("Host: {host}");
    let mut arguments = vec![version, "--include", "--path-as-is", "--header", &host];
    match method {
        "HEAD" => arguments.push("--head"),
        _ => arguments.extend(["--request", method]),
    }
    arguments.extend_from_slice(more);
    arguments.push(&url);
    let output = curl(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{request}: {output:?}"));
    let status = head.split(' ').nth(1).expect("a status");
    Reply {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

const ROUTES: &str = r#"
[service.request_headers]
set = { X-Real-IP = "{client_ip}" }
remove = ["X-Secret"]
[service.response_headers]
set = { Strict-Transport-Security = "max-age=31536000" }
remove = ["Server"]
[[service.route]]
name = "www"
host = "www.example.com"
redirect = { to = "https://{bare_host}{path}{query}", status = 308 }
[[service.route]]
name = "hello"
path = "/hello"
respond = { status = 200, body = "hello\n" }
[[service.route]]
name = "api"
host = ["example.com", "*.example.net"]
path_prefix = "/api"
pool = "api"
replace_prefix = "/v1"
request_headers = { set = { X-Route = "{scheme}://{host}{path}{query}" } }
response_headers = { add = { X-Served-By = "api" } }
[[service.route]]
name = "beta"
method = "GET"
header = [{ name = "Cookie", regex = '(^|; )beta=1(;|$)' }]
pool = "api"
"#;

/// Returns a backend that answers with its name and the head of the request that it received.
fn naming_itself(name: &'static str) -> Backend {
    Backend::answering(move |seen| {
        let body = format!("{name}\n{}", seen.head);
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: secret\r\nStrict-Transport-Security: max-age=0\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head, body].concat().into_bytes()
    })
}

#[test]
fn a_request_goes_where_its_route_says() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let site = site(&[pool.address], &[api.address], ROUTES);
    for (request, more, wanted) in [
        ("GET example.com /", &[][..], "pool\nGET / HTTP/1.1"),
        ("GET example.com /api/x?y", &[], "api\nGET /v1/x?y HTTP/1.1"),
        ("GET a.example.net:8443 /api", &[], "api\nGET /v1 HTTP/1.1"),
        ("GET example.net /api", &[], "pool\nGET /api HTTP/1.1"),
        ("GET example.com /apix", &[], "pool\nGET /apix HTTP/1.1"),
        (
            "GET example.com //%61pi//a%2Fb",
            &[],
            "api\nGET /v1/a%2Fb HTTP/1.1",
        ),
        (
            "GET a /",
            &["--cookie", "a=b; beta=1"],
            "api\nGET / HTTP/1.1",
        ),
        (
            "PUT a /",
            &["--cookie", "a=b; beta=1"],
            "pool\nPUT / HTTP/1.1",
        ),
    ] {
        for reply in both(&site, request, more) {
            assert_eq!(reply.status, 200, "{request}: {reply:?}");
            assert!(reply.body.starts_with(wanted), "{request}: {reply:?}");
        }
    }
    let taken = site.proxy().counters().routed;
    let taken_by = |route: &str| {
        let of_it = taken.iter().find(|one| one.1 == name(route));
        of_it.map(|(_, _, count)| *count)
    };
    assert_eq!(taken_by("api"), Some(6));
    assert_eq!(taken_by("beta"), Some(2));
    assert_eq!(taken_by("default"), Some(8));
    assert_eq!(taken_by("www"), Some(0));
}

#[test]
fn headers_are_changed_on_both_sides_and_strangers_are_not_believed() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let site = site(&[pool.address], &[api.address], ROUTES);
    let spoofed = [
        "--header",
        "X-Real-IP: 8.8.8.8",
        "--header",
        "X_Real_IP: 8.8.8.8",
        "--header",
        "X-Secret: 1",
        "--header",
        "X_Secret: 1",
        "--header",
        "X-Route: spoofed",
    ];
    for reply in both(&site, "GET Example.com /api/a%20b?c=d", &spoofed) {
        assert_eq!(
            header(&reply.body, "X-Real-IP"),
            Some("127.0.0.1"),
            "{reply:?}"
        );
        let lines: Vec<_> = reply.body.lines().map(str::to_ascii_lowercase).collect();
        let of = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
        assert_eq!((of("x-real-ip:"), of("x_real_ip:")), (1, 0), "{reply:?}");
        assert_eq!((of("x-secret:"), of("x_secret:")), (0, 0), "{reply:?}");
        assert_eq!(of("x-route:"), 1, "{reply:?}");
        let route = header(&reply.body, "X-Route");
        assert_eq!(route, Some("https://Example.com/api/a%20b?c=d"));
        let hsts: Vec<_> = reply
            .head
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("strict-transport"))
            .collect();
        assert_eq!(hsts.len(), 1, "{reply:?}");
        assert_eq!(
            header(&reply.head, "Strict-Transport-Security"),
            Some("max-age=31536000")
        );
        assert_eq!(header(&reply.head, "Server"), None, "{reply:?}");
        assert_eq!(header(&reply.head, "X-Served-By"), Some("api"), "{reply:?}");
    }
    // A service without header edits does not forward the client's `X-Real-IP` and `X_Real_IP`
    // either.
    let plain = Site::https(&[pool.address]);
    for reply in both(&plain, "GET a /", &spoofed) {
        assert_eq!(header(&reply.body, "X-Real-IP"), None, "{reply:?}");
        assert_eq!(header(&reply.body, "X_Real_IP"), None, "{reply:?}");
    }
}

#[test]
fn redirects_and_fixed_answers_reach_no_backend() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let site = site(&[pool.address], &[api.address], ROUTES);
    for reply in both(&site, "GET www.example.com /a%20b?c=d", &[]) {
        assert_eq!(reply.status, 308);
        let location = header(&reply.head, "Location");
        assert_eq!(location, Some("https://example.com/a%20b?c=d"));
        assert!(header(&reply.head, "Strict-Transport-Security").is_some());
        assert_eq!(reply.body, "");
    }
    for reply in both(&site, "GET a /hello", &[]) {
        assert_eq!((reply.status, &*reply.body), (200, "hello\n"));
        let content_type = header(&reply.head, "Content-Type");
        assert_eq!(content_type, Some("text/plain; charset=utf-8"));
    }
    for reply in both(&site, "HEAD a /hello", &[]) {
        assert_eq!(reply.status, 200);
        assert_eq!(header(&reply.head, "Content-Length"), Some("6"));
    }
    // The front does not read the body of this request. The body is short, because curl 7.88 cannot
    // handle an unread body that exceeds the initial window of HTTP/2.
    for reply in both(
        &site,
        "POST a /hello",
        &["--data-binary", "x".repeat(10_000).as_str()],
    ) {
        assert_eq!((reply.status, &*reply.body), (200, "hello\n"));
    }
    assert_eq!(pool.requests() + api.requests(), 0);
    let mut client = TlsClient::tls(site.address);
    for _ in 0..3 {
        assert_eq!(client.get("/hello").text(), "hello\n", "on one connection");
    }
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn a_protected_path_is_not_reached_by_another_spelling() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let site = site(
        &[pool.address],
        &[api.address],
        "[[service.route]]\npath_prefix = \"/admin\"\nrespond = { status = 403 }",
    );
    for (path, status) in [
        ("/admin", 403),
        ("//admin/x", 403),
        ("/%61dmin", 403),
        ("/admin;a/x", 403),
        ("/admin%2fx", 403),
        ("/x/../admin", 400),
        ("/x/%2e%2e/admin", 400),
        ("/x%2f..%2fadmin", 400),
        ("/x/..;/admin", 400),
        ("/admin%00", 400),
        ("/%", 400),
        ("/administrator", 200),
        ("/x/admin", 200),
    ] {
        let [reply, _] = both(&site, &format!("GET a {path}"), &[]);
        assert_eq!(reply.status, status, "{path}");
    }
    let refusals = site.proxy().counters().refusals;
    let ambiguous = refusals
        .iter()
        .find(|one| one.reason == Reason::ClientHeadAmbiguousPath);
    assert_eq!(ambiguous.map(|one| one.count), Some(12));
    // A request with an absolute target is matched by the target that would be forwarded.
    let mut client = TlsClient::tls(site.address);
    client.send("GET https://a/admin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 403);
}

#[test]
fn a_service_without_a_pool_answers_what_no_route_takes() {
    let api = naming_itself("api");
    let mut site = Site::https(&[]);
    site.add_pool("api", &[api.address]);
    let routes = "[[service.route]]\nhost = \"a.example\"\npath_prefix = \"/x\"\npool = \"api\"";
    site.apply(service(&site, "", routes)).expect("good routes");
    for (request, status) in [
        ("GET a.example /x", 200),
        ("GET a.example /y", 404),
        ("GET b.example /x", 421),
    ] {
        for reply in both(&site, request, &[]) {
            assert_eq!(reply.status, status, "{request}");
        }
    }
    wait_until("all are counted", || site.answered(421) == 2);
}

#[test]
fn error_pages_are_shown_for_the_front_s_own_answers_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = |text: &str| {
        let file = folder.path().join(format!("{text}.html"));
        std::fs::write(&file, format!("<p>{text}</p>")).expect("written");
        file
    };
    let failing = Backend::answering(|_| {
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\ntheirs".to_vec()
    });
    let lines = format!(
        "error_pages = {{ 400 = {:?}, 502 = {:?}, 503 = {:?} }}\n\
         [[service.route]]\npath = \"/theirs\"\npool = \"api\"\n\
         [[service.route]]\npath = \"/fixed\"\nrespond = {{ status = 503, body = \"fixed\" }}\n\
         [[service.route]]\npath = \"/down\"\nrespond = {{ status = 503, file = {:?} }}\n\
         response_headers = {{ set = {{ Retry-After = \"300\" }} }}",
        page("bad"),
        page("gateway"),
        page("sorry"),
        page("maintenance"),
    );
    let site = site(&[Backend::absent()], &[failing.address], &lines);
    let shown = |request: &str| {
        let replies = both(&site, request, &[]);
        assert_eq!(replies[0].body, replies[1].body);
        let [reply, _] = replies;
        reply
    };
    assert_eq!(shown("GET a /").body, "<p>gateway</p>");
    assert_eq!(shown("GET a /theirs").body, "theirs");
    assert_eq!(shown("GET a /fixed").body, "fixed");
    assert_eq!(shown("GET a /..").body, "<p>bad</p>");
    let down = shown("GET a /down");
    assert_eq!((down.status, &*down.body), (503, "<p>maintenance</p>"));
    assert_eq!(header(&down.head, "Retry-After"), Some("300"));
    assert_eq!(
        header(&down.head, "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    site.set(0, BackendState::Down);
    let sorry = shown("GET a /");
    assert_eq!((sorry.status, &*sorry.body), (503, "<p>sorry</p>"));
}

#[test]
fn routes_change_under_traffic_without_a_failed_request() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let site = site(&[pool.address], &[api.address], ROUTES);
    let ends = Arc::new(AtomicBool::new(false));
    let clients = [0, 1, 2].map(|_| {
        let (ends, address) = (Arc::clone(&ends), site.address);
        thread::spawn(move || {
            let mut client = TlsClient::tls(address);
            let mut seen = [0_u32; 2];
            while !ends.load(SeqCst) {
                client.send("GET /api/x HTTP/1.1\r\nHost: example.com\r\n\r\n");
                let response = client.response();
                assert_eq!(response.status(), 200, "{}", response.head);
                seen[usize::from(response.text().starts_with("api"))] += 1;
            }
            seen
        })
    });
    for turn in 0..20 {
        thread::sleep(Duration::from_millis(20));
        let lines = if turn % 2 == 0 { "" } else { ROUTES };
        let service = service(&site, "pool = \"pool\"", lines);
        site.apply(service).expect("good routes");
    }
    ends.store(true, SeqCst);
    for client in clients {
        let [by_pool, by_api] = client.join().expect("no request failed");
        assert!(by_pool > 10 && by_api > 10, "{by_pool} {by_api}");
    }
    let broken = site.proxy().counters().broken;
    assert_eq!(broken, []);
}

#[test]
fn a_pool_of_a_route_has_its_own_retries_states_and_counts() {
    let (pool, good) = (naming_itself("pool"), naming_itself("good"));
    let dying = Backend::answering(|_| Vec::new());
    let site = site(&[pool.address], &[dying.address, good.address], ROUTES);
    for _ in 0..4 {
        let [reply, _] = both(&site, "GET example.com /api", &[]);
        assert!(reply.body.starts_with("good\n"), "{reply:?}");
    }
    assert!(dying.requests() >= 1);
    assert_eq!(pool.requests(), 0);
    wait_until("all are counted", || site.answered(200) == 8);
    let requests = site.proxy().counters().requests;
    let served = requests.iter().find(|one| one.code == 200).expect("served");
    let backend = Some((name("api"), name("web2")));
    assert_eq!(
        served.backend, backend,
        "two backends of two pools share a name"
    );
    site.set_other(1, BackendState::Down);
    let replies = both(&site, "GET example.com /api", &[]);
    assert_eq!(replies[0].status, 502, "{replies:?}");
}

#[test]
fn header_conditions_see_what_is_forwarded_alone() {
    let (pool, api) = (naming_itself("pool"), naming_itself("api"));
    let lines = "[[service.route]]\nheader = [{ name = \"X-Forwarded-Proto\", value = \"http\" }]\n\
                 redirect = { to = \"https://{host}{path}\" }\n\
                 [[service.route]]\nheader = [{ name = \"X-Api\" }]\npool = \"api\"";
    let mut site = site(&[pool.address], &[api.address], lines);
    let proto = ["--header", "X-Forwarded-Proto: http"];
    let reply = |site: &Site| both(site, "GET a /x", &proto).map(|reply| reply.status);
    assert_eq!(reply(&site), [200, 200], "a stranger says so");
    site.limits.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    site.apply(service(&site, "pool = \"pool\"", lines))
        .expect("applied");
    assert_eq!(reply(&site), [307, 307]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Api: 1\r\nConnection: X-Api\r\n\r\n");
    assert!(
        client.response().text().starts_with("pool"),
        "it is left out"
    );
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Api: 1\r\n\r\n");
    assert!(client.response().text().starts_with("api"));
}
