//! Tests of retries that hide failures of backends from clients.

use std::{
    io::{BufReader, Write as _},
    time::Duration,
};

use lb::{
    config::{Percent, RetryBudget},
    proxy::Reason,
};

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient},
    site::{Site, wait_until},
};

/// Returns a backend that keeps a connection open after one response, and closes it when the second
/// request arrives on it.
fn answers_once() -> Backend {
    Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let _done = stream.write_all(&ok(b"once"));
        read_head(&mut reader);
    })
}

#[test]
fn backends_that_refuse_are_all_passed_over() {
    let good = ["a", "b"].map(Backend::named);
    let mut addresses = vec![Backend::absent(); 5];
    addresses.extend(good.each_ref().map(|backend| backend.address));
    for _ in 0..8 {
        // Each round of the test starts a new front, which knows nothing yet about the backends.
        let site = Site::plain(&addresses, |_| {});
        let mut client = Client::plain(site.address);
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(client.get("/").status(), 200);
        addresses.rotate_left(1);
    }
}

#[test]
fn a_post_passes_over_backends_that_refuse() {
    let good = Backend::named("good");
    let absent = Backend::absent();
    let site = Site::plain(&[absent, Backend::absent(), good.address], |_| {});
    let mut client = Client::plain(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().text(), "good");
}

#[test]
fn kept_connections_that_are_dead_are_no_failure_of_their_backends() {
    let backends = [answers_once(), answers_once(), answers_once()];
    let site = Site::https(&backends.each_ref().map(|backend| backend.address));
    let mut client = TlsClient::tls(site.address);
    for request in 0..30 {
        assert_eq!(client.get("/").status(), 200, "{request}");
    }
    // The front avoided none of the backends: each got its share of the requests.
    for backend in &backends {
        assert!(backend.requests() >= 9, "{}", backend.requests());
    }
}

#[test]
fn two_backends_that_hang_up_do_not_fail_a_get() {
    let dying = ["a", "b"].map(|_| Backend::answering(|_| Vec::new()));
    let good = Backend::named("good");
    let site = Site::plain(
        &[dying[0].address, dying[1].address, good.address],
        |limits| limits.timeouts.response_head = Duration::from_secs(5),
    );
    let mut client = Client::plain(site.address);
    assert_eq!(client.get("/").text(), "good");
    assert_eq!(dying.iter().map(Backend::requests).sum::<usize>(), 2);
}

fn budget(site: &Site, share: u8, per_second: u32) {
    site.change_pool(|pool| {
        pool.per_request.retry_budget = RetryBudget {
            share: Percent::new(share),
            per_second,
        };
    });
}

#[test]
fn retries_add_no_more_load_than_their_budget_where_all_backends_fail() {
    let dying = ["a", "b", "c", "d"].map(|_| Backend::answering(|_| Vec::new()));
    let mut site = Site::plain(&dying.each_ref().map(|one| one.address), |_| {});
    let log = site.log_requests();
    budget(&site, 20, 0);
    let mut client = Client::plain(site.address);
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 502);
    }
    let sent: usize = dying.iter().map(Backend::requests).sum();
    // Each of the 100 requests is sent once whatever the retry budget is; what was sent beyond that
    // are retries.
    assert!((115..=120).contains(&sent), "{sent}");
    let counters = site.proxy().counters();
    assert_eq!(counters.retries[0].1, sent as u64 - 100);
    let refused = counters.retries_refused[0].1;
    assert!(refused >= 90, "{refused}");
    assert_eq!(
        site.answered_by_us(Reason::LbResponseHeadRetryBudget),
        refused
    );
    let said = "\"reason\":\"lb_response_head_retry_budget\"";
    wait_until("the log has it", || {
        let log = std::fs::read_to_string(&log).expect("a file");
        log.matches(said).count() as u64 == refused
    });
}

#[test]
fn some_retries_a_second_are_there_for_few_requests() {
    let dying = ["a", "b"].map(|_| Backend::answering(|_| Vec::new()));
    let good = Backend::named("good");
    let site = Site::plain(&[dying[0].address, dying[1].address, good.address], |_| {});
    budget(&site, 0, 10);
    let mut client = Client::plain(site.address);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(site.proxy().counters().retries_refused[0].1, 0);
}

#[test]
fn backends_that_refuse_and_kept_connections_that_are_dead_need_no_budget() {
    let once = [answers_once(), answers_once()];
    let absent = Backend::absent();
    let site = Site::plain(&[absent, once[0].address, once[1].address], |_| {});
    budget(&site, 0, 0);
    let mut client = Client::plain(site.address);
    for request in 0..30 {
        assert_eq!(client.get("/").status(), 200, "{request}");
    }
    assert_eq!(site.proxy().counters().retries_refused[0].1, 0);
}
