//! Tests that the outcome of a request does not depend on how its bytes are cut into segments, or
//! on pauses between the segments.

use std::{thread, time::Duration};

use crate::{
    backends::{Backend, ok},
    clients::Client,
    site::{Site, wait_until},
};

/// A pause that is long enough for the front to read what was sent before it.
const PAUSE: Duration = Duration::from_millis(15);

#[test]
fn an_empty_line_before_a_request_may_be_cut_in_two() {
    let backend = Backend::answering(|seen| ok(&seen.body));
    let site = Site::plain(&[backend.address], |_| {});
    let mut client = Client::plain(site.address);
    for body in ["one", "two"] {
        for part in [
            "\r",
            "\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        ] {
            client.send(part);
            thread::sleep(PAUSE);
        }
        client.send(body);
        assert_eq!(client.response().text(), body);
    }
    // An empty line may also follow the last request on a connection: some clients send one after a
    // POST.
    client.send("\r");
    thread::sleep(PAUSE);
    client.send("\n");
    thread::sleep(PAUSE);
    drop(client);
    wait_until("the connection is no longer counted", || {
        site.proxy().open_connections() == 0
    });
    assert_eq!(site.proxy().counters().panics[0].1, 0);
}

#[test]
fn an_empty_line_after_a_request_is_no_request_that_takes_too_long() {
    let backend = Backend::named("a");
    let site = Site::plain(&[backend.address], |limits| {
        limits.timeouts.head = Duration::from_millis(100);
    });
    let mut client = Client::plain(site.address);
    assert_eq!(client.get("/").status(), 200);
    client.send("\r\n");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(client.get("/").status(), 200);
}
