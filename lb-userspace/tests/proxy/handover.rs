//! Tests that client connections are drained while the listeners stay, as a host does before it
//! hands the active role over to its peer.

use std::time::Duration;

use crate::{
    backends::Backend,
    clients::TlsClient,
    site::{Site, wait_until},
};

#[test]
fn a_connection_is_answered_once_more_and_told_that_it_ends() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    assert!(!client.get("/").head.contains("Connection: close"));
    site.proxy().let_connections_end(true);
    // The pause lets the command to drain reach each worker's thread. After that, an idle
    // connection stays open for another second.
    std::thread::sleep(Duration::from_millis(100));
    let response = client.get("/");
    assert_eq!(response.text(), "a");
    assert!(
        response.head.contains("Connection: close"),
        "{}",
        response.head
    );
    assert!(client.has_ended());
    wait_until("no connection is open", || {
        site.proxy().open_connections() == 0
    });
}

#[test]
fn a_connection_without_a_request_is_closed_a_little_later() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.get("/");
    site.proxy().let_connections_end(true);
    wait_until("no connection is open", || {
        site.proxy().open_connections() == 0
    });
    assert!(client.has_ended());
}

#[test]
fn a_new_connection_is_answered_meanwhile_and_stays_again_afterwards() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    site.proxy().let_connections_end(true);
    std::thread::sleep(Duration::from_millis(100));
    let response = TlsClient::tls(site.address).get("/");
    assert!(
        response.head.contains("Connection: close"),
        "{}",
        response.head
    );
    site.proxy().let_connections_end(false);
    std::thread::sleep(Duration::from_millis(100));
    let mut client = TlsClient::tls(site.address);
    assert!(!client.get("/").head.contains("Connection: close"));
    assert_eq!(client.get("/").text(), "a");
}
