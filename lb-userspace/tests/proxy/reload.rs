//! Tests of reloads and of the shutdown of the front.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use lb::{
    config::{Mode, Tls},
    proxy::{Error, Frontend},
};

use rustls::version::TLS13;

use crate::{
    backends::{Backend, header, ok, read_head},
    clients::{Client, TlsClient, client_config},
    site::{Site, certificate, free_address, name, wait_until},
};

#[test]
fn connections_go_on_while_certificates_change() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut before = TlsClient::tls(site.address);
    before.get("/");
    let old = before.session().peer_certificates().expect("a chain")[0].to_vec();
    certificate(site.folder.path(), "localhost", "localhost");
    site.apply(site.service.clone()).expect("applied");
    assert_eq!(before.get("/").status(), 200);
    let after = TlsClient::tls(site.address);
    assert_ne!(
        after.session().peer_certificates().expect("a chain")[0].to_vec(),
        old
    );
}

#[test]
fn files_are_read_again_without_a_reload_and_a_bad_one_keeps_no_other_back() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let folder = site.folder.path();
    let (first, second) = (folder.join("localhost.pem"), folder.join("second.pem"));
    certificate(folder, "second", "second.example");
    let mut service = site.service.clone();
    service.mode = Mode::Https {
        certificates: vec![first.clone(), second.clone()],
        obtained: None,
        tls: Tls::default(),
    };
    site.apply(service).expect("applied");
    let mut open = TlsClient::tls(site.address);
    open.get("/");
    let shown = |name: &str| {
        let client = TlsClient::tls_with(site.address, &client_config(&TLS13).into(), name);
        client.session().peer_certificates().expect("a chain")[0].to_vec()
    };
    let before = [shown("localhost"), shown("second.example")];
    assert_ne!(before[0], before[1]);

    std::fs::write(&first, "half a certificate").expect("written");
    certificate(folder, "second", "second.example");
    let errors = site.proxy().reload_tls_files().expect_err("one is bad");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].to_string().contains("localhost.pem"),
        "{errors:?}"
    );
    assert_eq!(shown("localhost"), before[0], "what it held stays in use");
    assert_ne!(shown("second.example"), before[1], "the other is new");
    std::fs::remove_file(&first).expect("removed");
    site.proxy().reload_tls_files().expect_err("it is gone");
    assert_eq!(shown("localhost"), before[0]);
    assert_eq!(
        shown("nobody.example"),
        before[0],
        "the first is the default"
    );

    certificate(folder, "localhost", "localhost");
    site.proxy().reload_tls_files().expect("both are good");
    assert_ne!(shown("localhost"), before[0]);
    assert_eq!(open.get("/").status(), 200, "connections go on");
    let served = site.proxy().certificates();
    assert!(served.iter().map(|one| &one.path).eq([&first, &second]));
}

#[test]
fn a_configuration_with_errors_changes_nothing_and_names_them_all() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut service = site.service.clone();
    service.listen = taken.local_addr().expect("an address");
    service.mode = Mode::Https {
        certificates: vec!["/nonexistent/1.pem".into(), "/nonexistent/2.pem".into()],
        obtained: None,
        tls: Tls::default(),
    };
    let errors = site.apply(service).expect_err("bad");
    let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{sentences:?}");
    assert!(matches!(errors[2], Error::Listen { .. }), "{sentences:?}");
    assert!(sentences[0].contains("/nonexistent/1.pem"), "{sentences:?}");
    assert_eq!(TlsClient::tls(site.address).get("/").status(), 200);
    assert_eq!(site.proxy().certificates().len(), 1);
}

#[test]
fn two_services_on_one_address_are_refused() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let view = Arc::new(lb::pool::PoolView::new(
        Arc::clone(site.service.pool.as_ref().expect("a pool")),
        vec![lb_common::backend::BackendState::Up],
    ));
    let pool = tokio::sync::watch::Sender::new(view);
    let frontend = |text: &str| {
        let mut service = site.service.clone();
        service.name = name(text);
        Frontend {
            service,
            moves: false,
            pools: [(name("pool"), pool.subscribe())].into(),
        }
    };
    let frontends = vec![frontend("one"), frontend("two")];
    let errors = site
        .proxy()
        .apply((&site.limits, &site.log), frontends)
        .expect_err("bad");
    assert!(
        errors[0].to_string().contains("\"one\" and \"two\""),
        "{errors:?}"
    );
}

/// Returns a backend that answers the requests of each connection, so that its number of requests
/// is the number of its connections; and the number of connections that the front has closed.
fn counting_connections() -> (Backend, Arc<AtomicUsize>) {
    let closed = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&closed);
    let backend = Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while read_head(&mut reader).is_some() {
            stream.write_all(&ok(b"")).expect("sent");
        }
        count.fetch_add(1, SeqCst);
    });
    (backend, closed)
}

#[test]
fn connections_to_backends_that_stay_are_kept_when_others_come_and_go() {
    let ((stays, stays_closed), (comes, comes_closed), (goes, goes_closed)) = (
        counting_connections(),
        counting_connections(),
        counting_connections(),
    );
    let site = Site::plain(&[stays.address, goes.address], |_| {});
    // All requests of one connection are served by one worker, with its own connections to
    // backends. In turn, each of two backends gets three of six requests, and each of three gets two.
    let mut client = Client::plain(site.address);
    let mut ask = || {
        for _ in 0..6 {
            assert_eq!(client.get("/").status(), 200);
        }
    };
    ask();
    let connections = || [&stays, &comes, &goes].map(Backend::requests);
    assert_eq!(connections(), [1, 0, 1]);

    site.discover(&[(1, stays.address), (3, comes.address), (2, goes.address)]);
    ask();
    assert_eq!(connections(), [1, 1, 1], "one backend is added");

    site.discover(&[(1, stays.address), (3, comes.address)]);
    ask();
    assert_eq!(connections(), [1, 1, 1], "one backend is removed");
    wait_until("the connection to the removed backend is closed", || {
        goes_closed.load(SeqCst) == 1
    });
    assert_eq!(
        [stays_closed, comes_closed].map(|it| it.load(SeqCst)),
        [0, 0]
    );
}

#[test]
fn a_moved_service_leaves_its_old_address_and_lets_it_finish() {
    let backend = Backend::answering(|_| {
        thread::sleep(Duration::from_millis(300));
        ok(b"slow")
    });
    let site = Site::https(&[backend.address]);
    let mut idle = TlsClient::tls(site.address);
    idle.get("/");
    let mut busy = TlsClient::tls(site.address);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is under way", || backend.requests() == 2);
    let mut service = site.service.clone();
    service.listen = free_address();
    site.apply(service.clone()).expect("applied");
    assert_eq!(busy.response().text(), "slow");
    assert_eq!(busy.rest(), b"");
    assert_eq!(idle.rest(), b"");
    wait_until("the old address is left", || {
        TcpStream::connect(site.address).is_err()
    });
    assert_eq!(TlsClient::tls(service.listen).get("/").status(), 200);
}

#[test]
fn a_shutdown_lets_requests_finish_and_takes_no_new_ones() {
    let backend = Backend::answering(|_| {
        thread::sleep(Duration::from_millis(400));
        ok(b"slow")
    });
    let site = Site::https(&[backend.address]);
    let address = site.address;
    let mut idle = TlsClient::tls(address);
    idle.get("/");
    let mut busy = TlsClient::tls(address);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is under way", || backend.requests() == 2);
    let began = Instant::now();
    let stopper = thread::spawn(move || site.shutdown(Duration::from_secs(10)));
    let response = busy.response();
    assert_eq!(response.text(), "slow");
    assert_eq!(header(&response.head, "Content-Length"), Some("4"));
    assert_eq!(busy.rest(), b"");
    assert_eq!(idle.rest(), b"");
    stopper.join().expect("stopped");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_shutdown_does_not_wait_longer_than_its_grace() {
    let backend = Backend::raw(|_stream| thread::sleep(Duration::from_secs(20)));
    let site = Site::https(&[backend.address]);
    let mut stuck = TlsClient::tls(site.address);
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is under way", || backend.requests() == 1);
    let began = Instant::now();
    site.shutdown(Duration::from_millis(300));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(stuck.has_ended());
}
