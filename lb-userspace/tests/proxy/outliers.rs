//! Tests that backends that fail consecutive requests are ejected, whatever their health checks
//! report.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use lb::config::{Outlier, Percent};
use lb_common::backend::BackendState;

use crate::{
    backends::{Backend, header, ok},
    balancing::sticky,
    clients::{Client, Response, TlsClient},
    site::{Site, wait_until},
};

fn rules() -> Outlier {
    Outlier {
        consecutive_failures: 3,
        statuses: vec![500..=500, 502..=504],
        ejection_time: Duration::from_secs(2),
        max_ejection_time: Duration::from_secs(60),
        max_ejected: Percent::new(50),
    }
}

/// Returns a backend, and a flag: while the flag is set, the backend answers with status 500.
fn breakable() -> (Backend, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&broken);
    let backend = Backend::answering(move |_| match now.load(SeqCst) {
        true => b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".to_vec(),
        false => ok(b"well"),
    });
    (backend, broken)
}

fn ejections(site: &Site) -> u64 {
    let backends = site.proxy().counters().backend_connections;
    backends.iter().map(|one| one.ejections).sum()
}

/// Returns for each backend of the front under test, in order, whether it is ejected now.
fn ejected(site: &Site) -> Vec<bool> {
    let pool = site.pool();
    let usage = site.proxy().usage(&pool);
    let backends = pool.backends.iter();
    let ejected = backends.map(|one| usage.backends[&one.address].ejected_for.is_some());
    ejected.collect()
}

#[test]
fn a_backend_that_answers_500_is_ejected_and_comes_back() {
    let (bad, broken) = breakable();
    let good = ["one", "two"].map(Backend::named);
    let site = Site::https(&[bad.address, good[0].address, good[1].address]);
    site.change_pool(|pool| pool.per_request.outlier = Some(rules()));
    let began = Instant::now();
    // Each request may be served by another worker, and all workers count failures together.
    let ask = || TlsClient::tls(site.address).get("/").status();
    let mut failures = 0;
    while failures < 3 {
        failures += u32::from(ask() == 500);
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    let when = Instant::now();
    wait_until("it is ejected", || ejected(&site) == [true, false, false]);
    let answers: Vec<_> = (0..40).map(|_| ask()).collect();
    if when.elapsed() < Duration::from_secs(2) {
        assert_eq!(answers, [200; 40]);
        assert_eq!(bad.requests(), 3);
    }
    assert_eq!(ejections(&site), 1);
    broken.store(false, SeqCst);
    wait_until("it is given requests again", || {
        ask();
        bad.requests() > 3
    });
    // The two seconds of the ejection begin when the front counts the third failure, which is not
    // exactly when the client receives the response; `began`, before all requests, is certainly
    // earlier.
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(ejected(&site), [false; 3]);
    assert_eq!(site.answered(500), 3);
}

#[test]
fn without_rules_and_after_a_reload_that_takes_them_away_nobody_is_ejected() {
    let (bad, _broken) = breakable();
    let site = Site::https(&[bad.address, Backend::named("good").address]);
    let mut client = TlsClient::tls(site.address);
    let mut failures = || (0..20).filter(|_| client.get("/").status() == 500).count();
    assert_eq!(failures(), 10);
    site.change_pool(|pool| pool.per_request.outlier = Some(rules()));
    assert_eq!(failures(), 3);
    assert_eq!(ejected(&site), [true, false]);
    // A reload that changes a setting does not end the ejection, but one that removes outlier
    // detection does.
    site.change_pool(|pool| {
        pool.per_request.outlier = Some(Outlier {
            consecutive_failures: 4,
            ..rules()
        });
    });
    assert_eq!(failures(), 0);
    site.change_pool(|pool| pool.per_request.outlier = None);
    assert_eq!(failures(), 10);
    site.change_pool(|pool| pool.per_request.outlier = Some(rules()));
    assert_eq!(ejected(&site), [false, false]);
}

#[test]
fn the_last_backend_is_not_ejected_and_one_that_is_ejected_serves_where_no_other_does() {
    let (one, other) = (breakable().0, breakable().0);
    let site = Site::https(&[one.address, other.address]);
    site.change_pool(|pool| {
        pool.per_request.outlier = Some(Outlier {
            ejection_time: Duration::from_secs(60),
            max_ejected: Percent::new(100),
            ..rules()
        });
    });
    let mut client = TlsClient::tls(site.address);
    for _ in 0..30 {
        assert_eq!(client.get("/").status(), 500);
    }
    wait_until("one is ejected", || ejected(&site).contains(&true));
    let out = ejected(&site);
    assert_eq!(out.iter().filter(|out| **out).count(), 1);
    let (last, first) = match out[0] {
        true => (1, 0),
        false => (0, 1),
    };
    let requests = [&one, &other][first].requests();
    assert_eq!(requests, 3);
    // The other backend fails its health checks, so the ejected backend is used, which is better
    // than none.
    site.set(last, BackendState::Down);
    assert_eq!(client.get("/").status(), 500);
    assert_eq!([&one, &other][first].requests(), 4);
}

#[test]
fn a_backup_is_better_than_one_that_is_ejected() {
    let (bad, _broken) = breakable();
    let site = Site::https(&[bad.address, Backend::named("backup").address]);
    site.change_pool(|pool| {
        pool.backends[1].backup = true;
        pool.per_request.outlier = Some(rules());
    });
    let mut client = TlsClient::tls(site.address);
    let statuses: Vec<_> = (0..8).map(|_| client.get("/").status()).collect();
    assert_eq!(statuses, [500, 500, 500, 200, 200, 200, 200, 200]);
}

#[test]
fn a_session_whose_backend_is_ejected_goes_on_with_another() {
    let (bad, broken) = breakable();
    broken.store(false, SeqCst);
    let site = Site::https(&[bad.address, Backend::named("good").address]);
    site.change_pool(|pool| {
        pool.per_request.sticky = Some(sticky(&site));
        pool.per_request.outlier = Some(rules());
    });
    let ask = |cookie: &str| {
        let mut client = TlsClient::tls(site.address);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"
        ));
        client.response()
    };
    let given = |response: &Response| {
        let line = header(&response.head, "Set-Cookie")?;
        Some(line.split(';').next()?.to_owned())
    };
    let mut cookie = String::new();
    wait_until("a session on the backend that will be bad", || {
        let response = ask("");
        cookie = given(&response).expect("a cookie");
        response.text() == "well"
    });
    broken.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(ask(&cookie).status(), 500);
    }
    wait_until("it is ejected", || ejected(&site) == [true, false]);
    let moved = ask(&cookie);
    assert_eq!(moved.text(), "good");
    let moved = given(&moved).expect("another cookie");
    assert_ne!(moved, cookie);
    assert_eq!(given(&ask(&moved)), None);
}

#[test]
fn connections_that_break_and_answers_that_do_not_come_count_and_statuses_only_if_named() {
    // How a backend fails depends on its number: it sends no response, half a head, or half a body.
    let breaking = |number: usize| {
        Backend::raw(move |mut stream| {
            let said: &[u8] = match number {
                0 => return thread::sleep(Duration::from_millis(700)),
                1 => b"HTTP/1.1 200",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            };
            // This read waits until the request has arrived.
            let mut byte = [0];
            let _read = std::io::Read::read(&mut stream, &mut byte);
            let _written = stream.write_all(said);
        })
    };
    for number in 0..3 {
        let bad = breaking(number);
        let good = Backend::named("good");
        let site = Site::plain(&[bad.address, good.address], |limits| {
            limits.timeouts.response_head = Duration::from_millis(200);
        });
        site.change_pool(|pool| {
            pool.retries = 0;
            pool.per_request.outlier = Some(Outlier {
                statuses: Vec::new(),
                consecutive_failures: 2,
                ..rules()
            });
        });
        for _ in 0..8 {
            let mut client = Client::plain(site.address);
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.rest_of_any_kind();
        }
        wait_until("it is ejected", || ejected(&site) == [true, false]);
        assert_eq!(bad.requests(), 2, "{number}");
    }
    let (bad, _broken) = breakable();
    let site = Site::plain(&[bad.address, Backend::named("good").address], |_| {});
    site.change_pool(|pool| {
        pool.per_request.outlier = Some(Outlier {
            statuses: Vec::new(),
            ..rules()
        });
    });
    let mut client = Client::plain(site.address);
    let failures = (0..20).filter(|_| client.get("/").status() == 500).count();
    assert_eq!(failures, 10);
}

#[test]
fn a_backend_that_uses_up_the_time_of_requests_is_ejected() {
    let bad = Backend::slow("bad", Duration::from_secs(5));
    let site = Site::plain(&[bad.address, Backend::named("good").address], |limits| {
        limits.timeouts.request = Some(Duration::from_millis(700));
    });
    site.change_pool(|pool| {
        pool.per_request.outlier = Some(Outlier {
            consecutive_failures: 2,
            ..rules()
        });
    });
    let mut client = Client::plain(site.address);
    let statuses: Vec<_> = (0..8).map(|_| client.get("/").status()).collect();
    assert_eq!(statuses, [504, 200, 504, 200, 200, 200, 200, 200]);
    assert_eq!(ejected(&site), [true, false]);
}
