//! Tests of the status page as a whole.

use super::*;
use crate::{
    admin::status::examples,
    events::{Kind, Severity},
};

/// Renders the status page for a client that may change nothing: it has no buttons.
pub(super) fn render(status: &Status) -> String {
    rendered(status, Actions::Off)
}

/// Renders the status page of a host with `admin.token_file`, which has buttons and asks for the
/// token.
pub(super) fn render_with_actions(status: &Status) -> String {
    rendered(status, Actions::ByToken)
}

fn rendered(status: &Status, actions: Actions) -> String {
    let mut history = History::default();
    history.record(status.clone());
    super::render(View {
        status,
        history: &history,
        events: &[],
        actions,
    })
}

#[test]
fn the_page_shows_every_service_backend_and_certificate() {
    let page = render(&examples::status());
    for wanted in [
        "lb-a",
        "native XDP on eth0 and eth1",
        "172.31.0.68:443",
        "tcp, nat",
        "web1",
        "10.0.0.9:80",
        "class=\"draining\">draining</td>",
        "connection refused",
        "33.3%",
        "www.example.org",
        "61",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
    }
}

#[test]
fn the_page_shows_what_a_pool_does_request_by_request() {
    let page = render(&examples::per_request());
    for wanted in [
        "sticky by cookie lb · 3 requests queued, at most 1,024",
        "class=\"down\">up, ejected for 24s",
        "draining, backup",
        "100 of 100",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
    }
}

#[test]
fn what_a_backend_or_a_file_name_says_stays_text() {
    let mut status = examples::status();
    status.certificates[0].file = "/x/<script>alert(1)</script>".into();
    status
        .problems
        .push("\"><img src=x onerror=alert(1)>".to_owned());
    let page = render(&status);
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(!page.contains("<img"), "{page}");
}

#[test]
fn a_backend_has_a_button_for_each_override_that_would_change_something() {
    let status = examples::status();
    let page = render_with_actions(&status);
    for wanted in [
        "aria-label=\"Drain web/web1\"",
        "aria-label=\"Down web/web1\"",
        "aria-label=\"Ready web/web2\"",
        "data-request=\"{&quot;command&quot;:&quot;backend&quot;,&quot;name&quot;:&quot;web/web2&quot;,\
         &quot;order&quot;:&quot;ready&quot;}\"",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
    }
    assert!(!page.contains("Drain web/web2"), "{page}");
    assert!(!render(&status).contains("<button"));
}

#[test]
fn with_a_certificate_of_an_operator_the_page_asks_for_no_token() {
    let status = examples::status();
    let page = rendered(&status, Actions::ByCertificate);
    assert!(page.contains("aria-label=\"Drain web/web1\""), "{page}");
    assert!(page.contains("<p id=\"message\""), "{page}");
    assert!(!page.contains("<dialog"), "{page}");
    assert!(render_with_actions(&status).contains("<dialog"));
}

#[test]
fn graphs_show_their_values_as_text_too() {
    let mut status = examples::status();
    let mut history = History::default();
    history.record(status.clone());
    status.now.0 += std::time::Duration::from_secs(5);
    status.xdp.packets += 6_000;
    status.services[0].connections += 2;
    history.record(status.clone());
    let page = super::render(View {
        status: &status,
        history: &history,
        events: &[],
        actions: Actions::Off,
    });
    for wanted in [
        "<figcaption>Packets per second: <b>1,200/s</b>",
        "aria-label=\"Packets per second in the last 15 minutes: now 1,200/s, peak 1,200/s\"",
        "New connections per second of http in the last 15 minutes: now 0.4/s, peak 0.4/s",
        "Mean latency of https in the last 15 minutes: no data yet",
        "1 of the last 3 checks failed",
        "Dropped because of",
        "malformed",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
    }
}

#[test]
fn the_first_check_of_a_backend_is_not_called_all_of_1_checks() {
    for (check, wanted) in [
        (Some(0.0012), "the only check passed in 1.20 ms"),
        (None, "the only check failed"),
    ] {
        let mut drawn = String::new();
        graph::write_checks(&mut drawn, &[check]).expect("written to memory");
        assert!(drawn.contains(wanted), "{drawn}");
    }
}

#[test]
fn every_tag_that_is_opened_is_closed() {
    let page = render_with_actions(&examples::per_request());
    for tag in [
        "section", "table", "tr", "td", "th", "dl", "dd", "svg", "p", "div", "figure", "main",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn events_are_shown_newest_first_with_their_cause() {
    let status = examples::status();
    let event = |seconds: u64, kind, severity, subject: &str, cause: &str, count| {
        let time = status.now.0 - std::time::Duration::from_secs(seconds);
        Event {
            id: seconds,
            revision: seconds,
            time,
            last: time,
            count,
            kind,
            severity,
            subject: subject.to_owned(),
            cause: cause.to_owned(),
            message: String::new(),
            fields: serde_json::Map::new(),
        }
    };
    let events = [
        event(
            70,
            Kind::AgentStarted,
            Severity::Info,
            "lb-a",
            "the agent started",
            1,
        ),
        event(
            5,
            Kind::BackendDown,
            Severity::Warn,
            "<web1>",
            "connection refused",
            3,
        ),
    ];
    let page = super::render(View {
        status: &status,
        history: &History::default(),
        events: &events,
        actions: Actions::Off,
    });
    let newest = page.find("5s ago").expect("the newest");
    let oldest = page.find("1m 10s ago").expect("the oldest");
    assert!(newest < oldest, "{page}");
    for wanted in [
        "title=\"2027-01-15T07:59:55Z\"",
        "class=\"draining\">backend down</td>",
        "&lt;web1&gt;",
        "connection refused",
        "(3 times since",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing:\n{page}");
    }
}
