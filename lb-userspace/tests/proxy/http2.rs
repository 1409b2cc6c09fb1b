//! Tests of requests of HTTP/2 clients.

use std::{
    io::{BufReader, Read as _},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use lb_common::backend::BackendState;

use crate::{
    backends::{Backend, header, ok, read_head},
    clients::curl,
    site::{Site, wait_until},
};

fn get(site: &Site, more: &[&str]) -> String {
    let url = format!("https://{}/x", site.address);
    let output = curl(
        &[
            &[
                "--http2",
                "--write-out",
                " %{http_version} %{http_code}",
                &url,
            ],
            more,
        ]
        .concat(),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_request_reaches_the_backend_as_http_1_with_the_proxy_s_headers() {
    let backend = Backend::answering(|seen| ok(seen.head.as_bytes()));
    let site = Site::https(&[backend.address]);
    let seen = get(
        &site,
        &[
            "--header",
            "X-Forwarded-For: 8.8.8.8",
            "--header",
            "Host: shop.example",
        ],
    );
    assert!(seen.starts_with("GET /x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with(" 2 200"), "{seen}");
    assert_eq!(header(&seen, "Host"), Some("shop.example"));
    assert_eq!(header(&seen, "X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(header(&seen, "X-Forwarded-Proto"), Some("https"));
}

#[test]
fn failures_are_told_over_http2_as_well() {
    let site = Site::https(&[Backend::absent()]);
    assert!(get(&site, &[]).ends_with(" 2 502"));
    site.set(0, BackendState::Down);
    assert!(get(&site, &[]).ends_with(" 2 503"));
    let backend = Backend::raw(|_stream| thread::sleep(Duration::from_secs(3)));
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.response_head = Duration::from_millis(200);
    });
    assert!(get(&site, &[]).ends_with(" 2 504"));
}

#[test]
fn a_dying_backend_s_requests_go_to_another_one() {
    let dying = Backend::answering(|_| Vec::new());
    let good = Backend::named("good");
    let site = Site::https(&[dying.address, good.address]);
    for _ in 0..4 {
        assert_eq!(get(&site, &[]), "good 2 200");
    }
    assert!(dying.requests() >= 1);
}

#[test]
fn many_streams_at_once_are_all_answered() {
    let backends = ["a", "b"].map(Backend::named);
    let site = Site::https(&backends.each_ref().map(|backend| backend.address));
    let output = Command::new("h2load")
        .args(["-n", "2000", "-c", "4", "-m", "32"])
        .arg(format!("https://{}/", site.address))
        .output()
        .expect("h2load");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2000 succeeded, 0 failed"), "{text}");
    wait_until("all are counted", || site.answered(200) == 2000);
}

#[test]
fn a_request_that_its_client_takes_back_is_taken_from_the_backend() {
    let ended = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&ended);
    let backend = Backend::raw(move |stream| {
        let mut reader = BufReader::new(stream);
        read_head(&mut reader);
        // This read returns only when the front closes the connection.
        let _done = reader.read_to_end(&mut Vec::new());
        count.fetch_add(1, SeqCst);
    });
    let site = Site::https(&[backend.address]);
    let mut client = Command::new("curl")
        .args(["-sk", "--http2", &format!("https://{}/", site.address)])
        .spawn()
        .expect("curl");
    wait_until("the request is under way", || backend.requests() == 1);
    client.kill().expect("killed");
    client.wait().expect("reaped");
    wait_until("the backend is let go", || ended.load(SeqCst) == 1);
}
