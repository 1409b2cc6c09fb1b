//! Tests of balancing by properties of a request (sticky sessions, hashing) and of limits and
//! queues.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use lb::config::{Balance, HashBy, RequestLimit, SameSite, Sticky};
use lb_common::backend::BackendState;

use crate::{
    backends::{Backend, header, ok},
    clients::{Response, TlsClient, curl},
    site::{Site, wait_until},
};

/// Returns a backend that answers with its name and the cookies that it received.
fn naming_itself(name: &'static str) -> Backend {
    Backend::answering(move |seen| {
        let cookies = header(&seen.head, "Cookie").unwrap_or("-");
        ok(format!("{name} {cookies}").as_bytes())
    })
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

pub(crate) fn sticky(site: &Site) -> Sticky {
    let key_file = site.folder.path().join("sticky.key");
    if !key_file.exists() {
        fs::write(&key_file, "0123456789abcdef0123456789abcdef\n").expect("write");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    Sticky {
        cookie: "lb".to_owned(),
        path: "/".to_owned(),
        secure: None,
        http_only: true,
        same_site: SameSite::Lax,
        max_age: None,
        key_file,
    }
}

fn sticky_site(backends: &[Backend]) -> Site {
    let site = Site::https(&addresses(backends));
    site.change_pool(|pool| pool.per_request.sticky = Some(sticky(&site)));
    site
}

/// Sends a request with these cookies over a new connection, and returns the response.
fn ask(site: &Site, cookies: &str) -> Response {
    let mut client = TlsClient::tls(site.address);
    let cookies = match cookies {
        "" => String::new(),
        cookies => format!("Cookie: {cookies}\r\n"),
    };
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookies}\r\n"));
    client.response()
}

/// Returns the cookie that a response sets, in the form in which the client sends it back.
fn given(response: &Response) -> Option<String> {
    let line = header(&response.head, "Set-Cookie")?;
    Some(line.split(';').next()?.to_owned())
}

fn who(response: &Response) -> String {
    let text = response.text();
    text.split(' ').next().expect("a name").to_owned()
}

#[test]
fn a_cookie_keeps_a_client_with_its_backend() {
    let site = sticky_site(&[
        naming_itself("one"),
        naming_itself("two"),
        naming_itself("three"),
    ]);
    for _ in 0..6 {
        let first = ask(&site, "");
        let cookie = given(&first).expect("a cookie");
        assert_eq!(header(&first.head, "Cache-Control"), Some("private"));
        assert!(first.text().ends_with(" -"), "{}", first.text());
        for _ in 0..5 {
            let next = ask(&site, &format!("a=1; {cookie}; b=2"));
            assert_eq!(next.text(), format!("{} a=1; b=2", who(&first)));
            assert_eq!(given(&next), None);
            assert_eq!(header(&next.head, "Cache-Control"), None);
        }
        assert_eq!(ask(&site, &cookie).text(), format!("{} -", who(&first)));
    }
}

#[test]
fn a_cookie_keeps_a_client_over_http2() {
    let site = sticky_site(&[
        naming_itself("one"),
        naming_itself("two"),
        naming_itself("three"),
    ]);
    let url = format!("https://{}/", site.address);
    let ask = |cookies: &[&str]| {
        let lines = cookies.iter().flat_map(|cookie| ["--header", cookie]);
        let arguments: Vec<_> = ["--http2", "--include"].into_iter().chain(lines).collect();
        let output = curl(&[&arguments[..], &[&url]].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for _ in 0..4 {
        let first = ask(&[]);
        let cookie = header(&first, "set-cookie").expect("a cookie");
        assert_eq!(header(&first, "cache-control"), Some("private"));
        let cookie = cookie.split(';').next().expect("a pair");
        let name = first.lines().last().expect("a body").trim_end_matches('-');
        // The request has its cookies in separate fields, as HTTP/2 clients may send them (RFC 9113
        // §8.2.3).
        let lines = ["Cookie: a=1".to_owned(), format!("Cookie: {cookie}")];
        let next = ask(&[&lines[0], &lines[1], "Cookie: b=2"]);
        assert!(next.ends_with(&format!("{name}a=1; b=2")), "{next}");
        assert_eq!(header(&next, "set-cookie"), None);
        let alone = ask(&[&lines[1]]);
        assert!(alone.ends_with(&format!("{name}-")), "{alone}");
    }
}

#[test]
fn a_draining_backend_keeps_its_sessions_and_one_that_is_down_loses_them() {
    let site = sticky_site(&[naming_itself("one"), naming_itself("two")]);
    let first = ask(&site, "");
    let (cookie, name) = (given(&first).expect("a cookie"), who(&first));
    let backend = usize::from(name == "two");
    site.set(backend, BackendState::Draining);
    for _ in 0..4 {
        assert_eq!(who(&ask(&site, &cookie)), name);
        assert_ne!(who(&ask(&site, "")), name);
    }
    site.set(backend, BackendState::Down);
    let moved = ask(&site, &cookie);
    assert_ne!(who(&moved), name);
    let moved = given(&moved).expect("another cookie");
    assert_ne!(moved, cookie);
    site.set(backend, BackendState::Up);
    for _ in 0..4 {
        assert_ne!(who(&ask(&site, &moved)), name);
    }
}

#[test]
fn a_forged_cookie_and_a_backend_that_refuses_lead_to_another_with_a_new_cookie() {
    let backends = [naming_itself("one"), naming_itself("two")];
    let site = sticky_site(&backends);
    for forged in ["lb=AAAAAAAAAAAAAAAAAAAAAA", "lb=127.0.0.1", "lb="] {
        assert!(given(&ask(&site, forged)).is_some(), "{forged}");
    }
    let first = ask(&site, "");
    let cookie = given(&first).expect("a cookie");
    let other_key = site.folder.path().join("other.key");
    fs::write(&other_key, "another key of some length").expect("write");
    fs::set_permissions(&other_key, fs::Permissions::from_mode(0o600)).expect("chmod");
    site.change_pool(|pool| {
        let sticky = pool.per_request.sticky.as_mut().expect("sticky");
        sticky.key_file = other_key;
    });
    assert!(given(&ask(&site, &cookie)).is_some_and(|given| given != cookie));
    // If the pool has no sticky sessions, the front sets no cookie and hides none from the backend.
    site.change_pool(|pool| pool.per_request.sticky = None);
    let plain = ask(&site, &cookie);
    assert_eq!(given(&plain), None);
    assert!(plain.text().ends_with(&cookie), "{}", plain.text());
}

#[test]
fn a_session_whose_backend_refuses_goes_on_with_another() {
    let absent = Backend::absent();
    let site = Site::https(&[absent, naming_itself("two").address]);
    site.set(0, BackendState::Down);
    site.change_pool(|pool| pool.per_request.sticky = Some(sticky(&site)));
    let cookie = given(&ask(&site, "")).expect("a cookie");
    site.set(1, BackendState::Down);
    site.set(0, BackendState::Up);
    let refused = ask(&site, &cookie);
    assert_eq!(refused.status(), 502);
    assert_eq!(given(&refused), None);
    site.set(1, BackendState::Up);
    let served = ask(&site, &cookie);
    assert_eq!((served.status(), given(&served)), (200, None));
}

#[test]
fn requests_with_the_same_part_go_to_one_backend_over_both_protocols() {
    let backends = ["one", "two", "three"].map(Backend::named);
    let site = Site::https(&addresses(&backends));
    let by = |balance, hash_by| {
        site.change_pool(|pool| {
            pool.balance = balance;
            pool.per_request.hash_by = hash_by;
        });
    };
    let ask = |version: &str, path: &str, line: &str| {
        let url = format!("https://{}{path}", site.address);
        String::from_utf8_lossy(&curl(&[version, "--header", line, &url]).stdout).into_owned()
    };
    let spread = |ask: &dyn Fn(&str, usize) -> String| {
        let backends = (0..12).map(|number| {
            let first = ask("--http1.1", number);
            assert_eq!(ask("--http2", number), first, "{number}");
            assert_eq!(ask("--http1.1", number), first, "{number}");
            first
        });
        let mut backends: Vec<_> = backends.collect();
        backends.sort();
        backends.dedup();
        assert_eq!(backends.len(), 3, "{backends:?}");
    };
    by(Balance::Hash, Some(HashBy::Path));
    spread(&|version, number| ask(version, &format!("/{number}?{version}"), "X: 1"));
    by(Balance::Hash, Some(HashBy::Header("x-user".to_owned())));
    spread(&|version, number| ask(version, "/", &format!("X-User: {number}")));
    by(Balance::Hash, Some(HashBy::Cookie("id".to_owned())));
    spread(&|version, number| ask(version, "/", &format!("Cookie: a={version}; id={number}")));
    // Requests without the cookie `id`, by which the pool balances, are balanced by round robin,
    // separately in each worker.
    let mut client = TlsClient::tls(site.address);
    let mut turn: Vec<_> = (0..3).map(|_| client.get("/").text()).collect();
    turn.sort();
    assert_eq!(turn, ["one", "three", "two"]);
}

#[test]
fn a_backup_is_used_only_when_all_others_are_down_or_refuse() {
    let backends = ["one", "two", "backup"].map(Backend::named);
    let site = Site::https(&addresses(&backends));
    site.change_pool(|pool| pool.backends[2].backup = true);
    let mut client = TlsClient::tls(site.address);
    let mut names = || {
        let mut names: Vec<_> = (0..6).map(|_| client.get("/").text()).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    };
    assert_eq!(names(), "one two");
    site.set(0, BackendState::Down);
    assert_eq!(names(), "two");
    site.set(1, BackendState::Draining);
    assert_eq!(names(), "backup");
    site.set(0, BackendState::Up);
    assert_eq!(names(), "one");
    site.change_pool(|pool| pool.backends[0].address = Backend::absent());
    assert_eq!(names(), "backup");
}

/// Returns a backend that takes the time `after` for each request, and the largest number of
/// concurrent requests that it has had.
fn counting(after: Duration) -> (Backend, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let seen_most = Arc::clone(&most);
    let backend = Backend::answering(move |_| {
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::sleep(after);
        now.fetch_sub(1, SeqCst);
        ok(b"served")
    });
    (backend, seen_most)
}

fn limited(site: &Site, per_backend: usize, queue_size: usize, queue_timeout: Duration) {
    site.change_pool(|pool| {
        pool.per_request.limit = Some(RequestLimit {
            per_backend,
            queue_size,
            queue_timeout,
        });
    });
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_backend_has_no_more_requests_than_its_limit_and_all_are_served() {
    let (one, most_of_one) = counting(Duration::from_millis(20));
    let (two, most_of_two) = counting(Duration::from_millis(20));
    let site = Site::https(&[one.address, two.address]);
    limited(&site, 2, 100, LONG);
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = TlsClient::tls(site.address);
                for _ in 0..10 {
                    assert_eq!(client.get("/").text(), "served");
                }
            });
        }
    });
    assert_eq!(one.requests() + two.requests(), 240);
    for most in [most_of_one, most_of_two] {
        assert_eq!(most.load(SeqCst), 2);
    }
    let counters = site.proxy().counters();
    assert!(
        counters.queue_waits[0].1 > 100,
        "{:?}",
        counters.queue_waits
    );
    assert_eq!(counters.queue_rejections[0].1, 0);
    wait_until("the queue is empty", || {
        site.proxy().counters().queued[0].1 == 0
    });
}

#[test]
fn a_full_queue_and_a_long_wait_are_answered_with_503() {
    let (backend, _most) = counting(Duration::from_secs(2));
    let site = Site::https(&[backend.address]);
    limited(&site, 1, 1, Duration::from_millis(300));
    let mut first = TlsClient::tls(site.address);
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the backend has it", || {
        site.proxy()
            .counters()
            .backend_connections
            .iter()
            .any(|one| one.in_use == 1)
    });
    let mut waiting = TlsClient::tls(site.address);
    let began = Instant::now();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it waits", || site.proxy().counters().queued[0].1 == 1);
    let refused = ask(&site, "");
    assert_eq!(refused.status(), 503);
    assert_eq!(header(&refused.head, "Retry-After"), Some("1"));
    assert!(began.elapsed() < Duration::from_millis(300));
    let late = waiting.response();
    assert_eq!(late.status(), 503);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(300) && waited < Duration::from_secs(2),
        "{waited:?}"
    );
    assert_eq!(first.response().status(), 200);
    assert_eq!(site.proxy().counters().queue_rejections[0].1, 2);
    assert_eq!(ask(&site, "").status(), 200);
}

#[test]
fn a_client_that_leaves_the_queue_takes_no_slot() {
    let (backend, _most) = counting(Duration::from_millis(700));
    let site = Site::https(&[backend.address]);
    limited(&site, 1, 9, LONG);
    let mut first = TlsClient::tls(site.address);
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the backend has it", || backend.requests() == 1);
    let url = format!("https://{}/", site.address);
    let mut gone = TlsClient::tls(site.address);
    gone.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it waits", || site.proxy().counters().queued[0].1 == 1);
    drop(gone);
    // With this option, curl cancels its HTTP/2 request after 0.1 s.
    curl(&["--http2", "--max-time", "0.1", &url]);
    wait_until("both have left", || {
        site.proxy().counters().queued[0].1 == 0
    });
    assert_eq!(first.response().status(), 200);
    assert_eq!(ask(&site, "").status(), 200);
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_backend_that_comes_up_and_a_higher_limit_serve_those_who_wait() {
    let slow = Backend::slow("slow", Duration::from_secs(5));
    let fast = Backend::named("fast");
    let site = Site::https(&[slow.address, fast.address]);
    site.set(1, BackendState::Down);
    limited(&site, 1, 9, LONG);
    let wait = |before: usize| {
        let mut client = TlsClient::tls(site.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("it waits", || {
            site.proxy().counters().queued[0].1 == before as u64
        });
        client
    };
    let _first = {
        let mut client = TlsClient::tls(site.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("the backend has it", || {
            let counters = site.proxy().counters();
            counters
                .backend_connections
                .iter()
                .any(|one| one.in_use == 1)
        });
        client
    };
    let began = Instant::now();
    let mut second = wait(1);
    site.set(1, BackendState::Up);
    assert_eq!(second.response().text(), "fast");
    site.set(1, BackendState::Down);
    let _third = wait(1);
    limited(&site, 2, 9, LONG);
    wait_until("it is served", || site.proxy().counters().queued[0].1 == 0);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}
