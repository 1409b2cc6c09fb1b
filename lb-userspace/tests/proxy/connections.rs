//! Tests of the limits of the number of client connections.

use std::{
    io::{ErrorKind, Read as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use lb::proxy::Reason;

use crate::{
    backends::Backend,
    clients::{Client, TlsClient},
    frames::Frames,
    raw_http2::HEADERS,
    site::{Site, wait_until},
};

const MOST: usize = 16;

fn crowded(backends: &[SocketAddr]) -> Site {
    Site::with_limits(backends, |limits| limits.max_connections = Some(MOST))
}

/// Opens this number of connections to the front, and sends nothing on them.
fn idle(site: &Site, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(site.address).expect("connected");
    (0..count).map(connect).collect()
}

#[test]
fn idle_connections_give_way_to_clients_with_requests() {
    let backend = Backend::named("a");
    let site = crowded(&[backend.address]);
    let _idle = idle(&site, 50);
    for _ in 0..20 {
        assert_eq!(TlsClient::tls(site.address).get("/").text(), "a");
    }
    let mut frames = Frames::connect(site.address, 65_535);
    frames.request(1, "GET", "/", true);
    let answered = frames.find(|frame| frame.kind == HEADERS && frame.stream == 1);
    assert!(answered.is_some());
    assert!(site.proxy().open_connections() <= MOST as u64);
    assert!(site.closed(Reason::LbKeepAliveRoom) >= 30);
}

#[test]
fn connections_that_wait_for_their_next_request_give_way_too() {
    let backend = Backend::named("a");
    let site = crowded(&[backend.address]);
    let kept: Vec<_> = (0..40)
        .map(|_| {
            let mut client = TlsClient::tls(site.address);
            assert_eq!(client.get("/").status(), 200);
            client
        })
        .collect();
    assert!(site.proxy().open_connections() <= MOST as u64);
    let mut newest = kept.into_iter().next_back().expect("some");
    assert_eq!(newest.get("/").status(), 200);
}

#[test]
fn a_request_under_way_is_not_broken_off_for_others() {
    let slow = Backend::slow("slow", Duration::from_millis(500));
    let site = crowded(&[slow.address]);
    let mut clients: Vec<_> = (0..4).map(|_| TlsClient::tls(site.address)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait_until("they are under way", || slow.requests() == 4);
    let _idle = idle(&site, 50);
    for client in &mut clients {
        assert_eq!(client.response().text(), "slow");
    }
}

#[test]
fn a_client_waits_while_all_others_are_busy() {
    let slow = Backend::slow("slow", Duration::from_millis(300));
    let site = crowded(&[slow.address]);
    let clients: Vec<_> = (0..2 * MOST)
        .map(|_| {
            let address = site.address;
            thread::spawn(move || TlsClient::tls(address).get("/").status())
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("answered"), 200);
    }
}

#[test]
fn one_client_has_no_more_connections_than_it_may() {
    let backend = Backend::named("a");
    let limited = |limits: &mut lb::config::Http| limits.max_connections_per_client = 3;
    let site = Site::plain(&[backend.address], limited);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::plain(site.address);
            assert_eq!(client.get("/").status(), 200);
            client
        })
        .collect();
    let mut refused = idle(&site, 1).remove(0);
    let end = refused.read(&mut [0]);
    let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(
        matches!(&end, Ok(0)) || end.as_ref().is_err_and(is_reset),
        "{end:?}"
    );
    assert_eq!(site.closed(Reason::LbHandshakeClientLimit), 1);
    drop(clients);
    wait_until("they are gone", || site.proxy().open_connections() == 0);
    assert_eq!(Client::plain(site.address).get("/").status(), 200);
    let proxied = Site::plain(&[backend.address], |limits| {
        limited(limits);
        limits.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    });
    let clients = (0..9).map(|_| Client::plain(proxied.address));
    for mut client in clients.collect::<Vec<_>>() {
        assert_eq!(client.get("/").status(), 200);
    }
}
