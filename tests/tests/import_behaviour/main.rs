//! What `lb import` carries over behaves as in HAProxy: HAProxy runs with a haproxy.cfg, the agent
//! with the imported file, and both get the same requests in front of the same servers. Each
//! difference is one that the report of the import announces.

mod backend;
mod client;
mod compare;
mod golden;
mod own;
mod site;

use anyhow::Result;

use self::{
    client::{Over, Request},
    compare::{Known, Product, Variant, compare},
    site::{Case, Site},
};

/// The log of both programs: a host of the lab has no syslog.
const LOG: &str = "stdout format raw local2";

/// Paths that are spelt in ways that servers interpret differently, with and without a query.
const TARGETS: &[&str] = &[
    "/",
    "/?q=1",
    "/index.html",
    "/a/b/",
    "/a//b",
    "/a%2Fb",
    "/%61",
    "/A",
    "/api",
    "/api/",
    "/api/x?y=/v1",
    "/apix",
    "/API/x",
    "/x/api/y",
    "/static/a.css",
    "/Static/A.CSS?v=2",
    "/images",
    "/x.png?y",
    "/x.PNG",
    "/x.png/",
    "//x.png",
    "/.git/config",
    "/%2egit",
    "/a;b=1/c",
    "/a/../b",
];

/// Methods, and header fields that are present, absent and repeated.
const VARIANTS: &[Variant] = &[
    ("GET", &[]),
    ("HEAD", &[]),
    ("POST", &[]),
    ("DELETE", &[]),
    ("OPTIONS", &[]),
    (
        "GET",
        &[("X-Debug", "1"), ("Accept", "text/html, application/json")],
    ),
    (
        "GET",
        &[
            ("Cookie", "a=1; wordpress_logged_in=x"),
            ("X-Debug", "1"),
            ("X-Debug", "2"),
        ],
    ),
    (
        "GET",
        &[
            ("X-App", "client"),
            ("Proxy", "evil"),
            ("Server", "client"),
            ("x_app", "1"),
        ],
    ),
    ("GET", &[("X-Answer", "404")]),
    ("GET", &[("X-Answer", "503")]),
];

/// Returns the difference `what` of requests for which `of` holds, with the words of the report.
const fn known(what: &'static str, of: fn(&Request) -> bool, announced: &'static str) -> Known {
    Known {
        what,
        of,
        announced,
    }
}

const AMBIGUOUS: Known = known(
    "outcome",
    |request| request.target.contains("/../"),
    "refuses those with a segment . or .. with 400",
);
const NO_CACHE: Known = known(
    "response field cache-control",
    |_| true,
    "HAProxy sends Cache-Control: no-cache",
);
const NO_PAGE: &str = "a page where the rule gives no body";
/// Whether HAProxy answers a request of the case `answers` with a page that lb does not have.
fn without_page(request: &Request) -> bool {
    ["/alive", "/deny404", "/gone"].contains(&&*request.target)
}

/// Whether HAProxy answers a request of the case `h-wide` with a page that lb does not have.
fn is_refused(request: &Request) -> bool {
    ["/alive", "/.git/config", "/x.bak", "/x-i"].contains(&&*request.target)
}

/// Whether a request of the case `h-wide` gets a cookie of the proxy.
fn has_cookie(request: &Request) -> bool {
    request.over != Over::Http && request.host != "example.com" && !is_refused(request)
}

const STICKY: &str = "lb's cookie comes with Cache-Control: private";
const LATE: &str = "as HAProxy does by http-after-response, but not by http-response";
const PORT: Known = known(
    "outcome",
    |request| request.host.contains(':'),
    "lb compares hosts without their case and port",
);
const LOCATION_PORT: Known = known(
    "response field location",
    |request| request.host.contains(':'),
    "{host}: it has no port in lb",
);
const UNDERSCORES: Known = known(
    "request field x_app",
    |_| true,
    "lines that write _ for - in its name",
);

fn run(case: &Case, hosts: &[&str], targets: &[&str], known: &[Known]) -> Result<()> {
    run_with(case, hosts, targets, &[], known)
}

fn run_with(
    case: &Case,
    hosts: &[&str],
    targets: &[&str],
    variants: &[Variant],
    known: &[Known],
) -> Result<()> {
    let site = Site::raise(case)?;
    let targets = [TARGETS, targets].concat();
    let variants = [VARIANTS, variants].concat();
    let product = Product {
        hosts,
        targets: &targets,
        variants: &variants,
    };
    compare(&site, &product.requests(&site), known)
}
