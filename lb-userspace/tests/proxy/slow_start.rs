//! Tests that a backend in slow start gets a growing share of the requests.

use std::time::{Duration, Instant};

use lb::config::{Outlier, Percent};
use lb_common::backend::BackendState;

use crate::{
    backends::Backend,
    clients::{Client, TlsClient},
    site::{Site, wait_until},
};

const SLOW_START: Duration = Duration::from_secs(3);

/// Returns the first backend's share of the requests that are sent from `from` to `to` after
/// `began`.
fn share_within(
    (site, backends): (&Site, &[Backend; 2]),
    (from, to): (Duration, Duration),
    began: Instant,
) -> f64 {
    let mut client = TlsClient::tls(site.address);
    while began.elapsed() < from {
        std::thread::yield_now();
    }
    let counts = || backends.each_ref().map(Backend::requests);
    let before = counts();
    while began.elapsed() < to {
        assert_eq!(client.get("/").status(), 200);
    }
    let [one, other] = [0, 1].map(|backend| counts()[backend] - before[backend]);
    println!("{from:?} to {to:?}: {one} of {}", one + other);
    one as f64 / (one + other) as f64
}

#[test]
fn a_backend_that_comes_up_gets_more_and_more() {
    let backends = ["one", "two"].map(Backend::named);
    let site = Site::https(&backends.each_ref().map(|one| one.address));
    site.change_pool(|pool| pool.per_request.slow_start = Some(SLOW_START));
    let measure = |from: f64, to: f64, began| {
        let (from, to) = (SLOW_START.mul_f64(from), SLOW_START.mul_f64(to));
        share_within((&site, &backends), (from, to), began)
    };
    // Backends that were up when the front started have their full share immediately.
    let at_start = measure(0.0, 0.1, Instant::now());
    site.set(0, BackendState::Down);
    site.set(0, BackendState::Up);
    let began = Instant::now();
    let shares = [
        at_start,
        measure(0.0, 0.1, began),
        measure(0.45, 0.55, began),
        measure(1.0, 1.1, began),
    ];
    // These are the shares of the first backend, whose weight equals that of the other backend:
    // before it was down, and with a tenth, half and all of its weight after it came up.
    let wanted = [0.45..0.55, 0.07..0.12, 0.3..0.37, 0.45..0.55];
    for (share, wanted) in shares.iter().zip(wanted) {
        assert!(wanted.contains(share), "{shares:?}");
    }
}

#[test]
fn a_backend_whose_ejection_is_over_begins_slowly() {
    let good = Backend::named("good");
    let bad = Backend::answering({
        let failures = std::sync::atomic::AtomicUsize::new(0);
        move |_| match failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => crate::backends::ok(b"well"),
        }
    });
    let site = Site::plain(&[bad.address, good.address], |_| {});
    let ejection_time = Duration::from_millis(500);
    site.change_pool(|pool| {
        pool.per_request.slow_start = Some(Duration::from_secs(600));
        pool.per_request.outlier = Some(Outlier {
            consecutive_failures: 1,
            statuses: vec![500..=500],
            ejection_time,
            max_ejection_time: ejection_time,
            max_ejected: Percent::new(50),
        });
    });
    let mut client = Client::plain(site.address);
    wait_until("it is ejected", || client.get("/").status() == 500);
    wait_until("it is given requests again", || {
        client.get("/");
        bad.requests() > 1
    });
    let before = (bad.requests(), good.requests());
    for _ in 0..110 {
        client.get("/");
    }
    let share = (bad.requests() - before.0, good.requests() - before.1);
    assert!((8..=12).contains(&share.0), "{share:?}");
}
