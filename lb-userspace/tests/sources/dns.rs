//! Tests of sources that are DNS.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hickory_resolver::proto::{
    op::ResponseCode,
    rr::{Record, RecordType},
};
use lb::{
    config::{AddressFamily, DiscoverySource},
    discovery::{Answer, Source, SourceError},
};

use crate::name_server::{NameServer, Reply, a, aaaa, cname, srv};

const NAME: &str = "web.internal";
const SERVICE: &str = "_http._tcp.web.internal";

fn addresses(family: AddressFamily, servers: &[&NameServer]) -> Source {
    addresses_of(&[NAME], family, servers)
}

fn addresses_of(names: &[&str], family: AddressFamily, servers: &[&NameServer]) -> Source {
    Source::new(&DiscoverySource::Dns {
        names: names.iter().map(ToString::to_string).collect(),
        port: 80,
        family,
        nameservers: servers.iter().map(|server| server.address).collect(),
    })
}

fn ipv4(servers: &[&NameServer]) -> Source {
    addresses(AddressFamily::Ipv4, servers)
}

fn service(servers: &[&NameServer]) -> Source {
    Source::new(&DiscoverySource::Srv {
        name: SERVICE.to_owned(),
        family: AddressFamily::Ipv4,
        nameservers: servers.iter().map(|server| server.address).collect(),
    })
}

/// Returns the addresses of an answer, sorted, and how many seconds it is valid.
fn seen(answer: Result<Answer, SourceError>) -> (Vec<String>, Option<u64>) {
    let answer = answer.expect("an answer");
    let mut addresses: Vec<_> = answer
        .backends
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    addresses.sort();
    (addresses, answer.valid_for.map(|valid| valid.as_secs()))
}

fn expected(addresses: &[&str], valid_for: Option<u64>) -> (Vec<String>, Option<u64>) {
    (
        addresses.iter().map(ToString::to_string).collect(),
        valid_for,
    )
}

/// Asserts that a query failed, with an error that contains these words.
fn failed(answer: Result<Answer, SourceError>, words: &[&str]) {
    let error = answer.expect_err("an error").to_string();
    for word in words {
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

#[tokio::test]
async fn the_addresses_of_a_name_are_backends_for_the_smallest_ttl() {
    let server = NameServer::start().await;
    let mut source = ipv4(&[&server]);
    let records = vec![a(NAME, 300, [10, 0, 0, 6]), a(NAME, 60, [10, 0, 0, 7])];
    server.reply(NAME, RecordType::A, Reply::Records(records));
    assert_eq!(
        seen(source.query().await),
        expected(&["10.0.0.6:80", "10.0.0.7:80"], Some(60))
    );

    // Nothing is cached: the next query sees the change, though the TTL has not passed.
    server.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![a(NAME, 0, [10, 0, 0, 8])]),
    );
    assert_eq!(
        seen(source.query().await),
        expected(&["10.0.0.8:80"], Some(0))
    );
    let asked = (format!("{NAME}."), RecordType::A, "udp");
    assert_eq!(server.questions(), [asked.clone(), asked]);
}

#[tokio::test]
async fn the_backends_of_several_names_are_the_addresses_of_all_that_exist() {
    let server = NameServer::start().await;
    let names: Vec<_> = (0..40)
        .map(|number| format!("web{number}.internal"))
        .collect();
    for (number, name) in (0..).zip(&names) {
        let records = vec![a(name, 60 + u32::from(number), [10, 0, 0, number])];
        server.reply(name, RecordType::A, Reply::Records(records));
    }
    // An address is one backend, however many names it has.
    let same = vec![a("web1.internal", 30, [10, 0, 0, 2])];
    server.reply("web1.internal", RecordType::A, Reply::Records(same));
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    names.push("gone.internal");
    let mut source = addresses_of(&names, AddressFamily::Ipv4, &[&server]);
    let (found, valid_for) = seen(source.query().await);
    assert_eq!((found.len(), valid_for), (39, Some(30)));
    assert!(!found.contains(&"10.0.0.1:80".to_owned()), "{found:?}");

    // The backends of a name that cannot be looked up would be missing.
    let failure = Reply::Code(ResponseCode::ServFail);
    server.reply("web7.internal", RecordType::A, failure);
    failed(source.query().await, &["web7.internal", "SERVFAIL"]);
}

#[tokio::test]
async fn the_other_family_has_addresses_of_its_own() {
    let server = NameServer::start().await;
    server.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![a(NAME, 60, [10, 0, 0, 6])]),
    );
    server.reply(
        NAME,
        RecordType::AAAA,
        Reply::Records(vec![aaaa(NAME, 30, "2001:db8::6")]),
    );
    let answer = addresses(AddressFamily::Ipv6, &[&server]).query().await;
    assert_eq!(seen(answer), expected(&["[2001:db8::6]:80"], Some(30)));
}

#[tokio::test]
async fn an_alias_is_followed_and_its_ttl_counts() {
    let server = NameServer::start().await;
    let whole = vec![
        cname(NAME, 20, "b.internal"),
        cname("b.internal", 30, "c.internal"),
        a("c.internal", 60, [10, 0, 0, 6]),
        a("stray.internal", 10, [10, 0, 0, 99]),
    ];
    server.reply(NAME, RecordType::A, Reply::Records(whole));
    let mut source = ipv4(&[&server]);
    assert_eq!(
        seen(source.query().await),
        expected(&["10.0.0.6:80"], Some(20))
    );

    // A server that does not resolve recursively answers with the alias alone.
    server.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![cname(NAME, 20, "b.internal")]),
    );
    let rest = vec![
        cname("B.internal", 15, "c.internal"),
        a("C.internal", 60, [10, 0, 0, 7]),
    ];
    server.reply("b.internal", RecordType::A, Reply::Records(rest));
    assert_eq!(
        seen(source.query().await),
        expected(&["10.0.0.7:80"], Some(15))
    );
}

#[tokio::test]
async fn aliases_in_a_loop_are_an_error() {
    let server = NameServer::start().await;
    server.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![cname(NAME, 20, "b.internal")]),
    );
    let back = vec![cname("b.internal", 20, NAME)];
    server.reply("b.internal", RecordType::A, Reply::Records(back));
    failed(ipv4(&[&server]).query().await, &[NAME, "aliases"]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_or_has_no_addresses_has_no_backends() {
    let server = NameServer::start().await;
    let mut source = ipv4(&[&server]);
    assert_eq!(source.query().await, Ok(Answer::default()), "NXDOMAIN");
    server.reply(
        NAME,
        RecordType::AAAA,
        Reply::Records(vec![aaaa(NAME, 30, "2001:db8::6")]),
    );
    assert_eq!(
        source.query().await,
        Ok(Answer::default()),
        "no records of type A"
    );
    server.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![cname(NAME, 20, "gone.internal")]),
    );
    assert_eq!(
        source.query().await,
        Ok(Answer::default()),
        "an alias of nothing"
    );
    assert_eq!(service(&[&server]).query().await, Ok(Answer::default()));
}

#[tokio::test]
async fn an_error_of_a_name_server_is_reported_and_not_asked_for_again() {
    let server = NameServer::start().await;
    for (code, word) in [
        (ResponseCode::ServFail, "answered SERVFAIL"),
        (ResponseCode::Refused, "answered REFUSED"),
        (ResponseCode::FormErr, "answered FORMERR"),
    ] {
        server.reply(NAME, RecordType::A, Reply::Code(code));
        let words = [NAME, &server.address.to_string(), word, "nameservers"];
        failed(ipv4(&[&server]).query().await, &words);
        assert_eq!(server.questions().len(), 1, "{word}");
    }
}

#[tokio::test]
async fn the_next_name_server_is_asked_and_is_asked_first_from_then_on() {
    let (first, second) = (NameServer::start().await, NameServer::start().await);
    first.reply(NAME, RecordType::A, Reply::Code(ResponseCode::ServFail));
    second.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![a(NAME, 60, [10, 0, 0, 6])]),
    );
    let mut source = ipv4(&[&first, &second]);
    assert_eq!(seen(source.query().await).0, ["10.0.0.6:80"]);
    assert_eq!((first.questions().len(), second.questions().len()), (1, 1));
    assert_eq!(seen(source.query().await).0, ["10.0.0.6:80"]);
    assert_eq!((first.questions().len(), second.questions().len()), (0, 1));

    second.reply(NAME, RecordType::A, Reply::Code(ResponseCode::Refused));
    let (one, two) = (first.address.to_string(), second.address.to_string());
    failed(source.query().await, &[&one, "SERVFAIL", &two, "REFUSED"]);
    first.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![a(NAME, 60, [10, 0, 0, 7])]),
    );
    assert_eq!(seen(source.query().await).0, ["10.0.0.7:80"]);
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_given_up_in_time() {
    let (silent, second) = (NameServer::start().await, NameServer::start().await);
    silent.reply(NAME, RecordType::A, Reply::Silence);
    let began = Instant::now();
    let words = [
        NAME,
        &silent.address.to_string(),
        "did not answer within 2.0 s",
    ];
    failed(ipv4(&[&silent]).query().await, &words);
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );

    second.reply(
        NAME,
        RecordType::A,
        Reply::Records(vec![a(NAME, 60, [10, 0, 0, 6])]),
    );
    let began = Instant::now();
    assert_eq!(
        seen(ipv4(&[&silent, &second]).query().await).0,
        ["10.0.0.6:80"]
    );
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_query_of_a_service_ends_in_time_though_no_server_answers_for_its_targets() {
    let servers = [
        NameServer::start().await,
        NameServer::start().await,
        NameServer::start().await,
    ];
    for server in &servers {
        let records = vec![srv(SERVICE, 60, [0, 1, 80], "a.internal")];
        server.reply(SERVICE, RecordType::SRV, Reply::Records(records));
        server.reply("a.internal", RecordType::A, Reply::Silence);
    }
    let began = Instant::now();
    let words = [
        "a target of _http._tcp.web.internal",
        "a.internal",
        "did not answer",
    ];
    failed(service(&servers.each_ref()).query().await, &words);
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_udp_is_asked_for_over_tcp() {
    let server = NameServer::start().await;
    let records: Vec<Record> = (0..250).map(|last| a(NAME, 60, [10, 0, 0, last])).collect();
    server.reply(NAME, RecordType::A, Reply::Long(records));
    let (found, valid_for) = seen(ipv4(&[&server]).query().await);
    assert_eq!((found.len(), valid_for), (250, Some(60)));
    let protocols: Vec<_> = server
        .questions()
        .into_iter()
        .map(|asked| asked.2)
        .collect();
    assert_eq!(protocols, ["udp", "tcp"]);
    server.reply(NAME, RecordType::A, Reply::LongWithoutTcp);
    failed(
        ipv4(&[&server]).query().await,
        &[NAME, "too long for UDP", "over TCP"],
    );
}

#[tokio::test]
async fn records_of_a_service_give_ports_weights_and_backups() {
    let server = NameServer::start().await;
    let records = vec![
        srv(SERVICE, 60, [10, 3, 80], "a.internal"),
        srv(SERVICE, 60, [10, 1, 8080], "b.internal"),
        srv(SERVICE, 60, [20, 0, 81], "c.internal"),
        srv(SERVICE, 60, [10, 1, 80], "gone.internal"),
    ];
    server.reply(SERVICE, RecordType::SRV, Reply::Records(records));
    let two = vec![
        a("a.internal", 90, [10, 0, 0, 1]),
        a("a.internal", 40, [10, 0, 0, 2]),
    ];
    server.reply("a.internal", RecordType::A, Reply::Records(two));
    let alias = vec![
        cname("b.internal", 50, "d.internal"),
        a("d.internal", 90, [10, 0, 0, 3]),
    ];
    server.reply("b.internal", RecordType::A, Reply::Records(alias));
    server.reply(
        "c.internal",
        RecordType::A,
        Reply::Records(vec![a("c.internal", 90, [10, 0, 0, 4])]),
    );
    let answer = service(&[&server]).query().await.expect("an answer");
    assert_eq!(answer.valid_for, Some(Duration::from_secs(40)));
    let mut backends: Vec<(SocketAddr, u16, bool)> = answer
        .backends
        .iter()
        .map(|one| (one.address, one.weight.get(), one.backup))
        .collect();
    backends.sort();
    let at = |last, port| SocketAddr::from(([10, 0, 0, last], port));
    let expected = [
        (at(1, 80), 3, false),
        (at(2, 80), 3, false),
        (at(3, 8080), 1, false),
        (at(4, 81), 1, true),
    ];
    assert_eq!(backends, expected);
    assert!(answer.backends.iter().all(|one| one.name.is_none()));
}

#[tokio::test]
async fn a_service_may_be_an_alias_and_may_be_unavailable() {
    let server = NameServer::start().await;
    let records = vec![
        cname(SERVICE, 20, "_http._tcp.other.internal"),
        srv("_http._tcp.other.internal", 60, [0, 0, 80], "a.internal"),
    ];
    server.reply(SERVICE, RecordType::SRV, Reply::Records(records));
    server.reply(
        "a.internal",
        RecordType::A,
        Reply::Records(vec![a("a.internal", 90, [10, 0, 0, 1])]),
    );
    let mut source = service(&[&server]);
    assert_eq!(
        seen(source.query().await),
        expected(&["10.0.0.1:80"], Some(20))
    );
    server.reply(
        SERVICE,
        RecordType::SRV,
        Reply::Records(vec![srv(SERVICE, 60, [0, 0, 0], ".")]),
    );
    assert_eq!(seen(source.query().await).0, [""; 0]);
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_fails_the_whole_query() {
    let server = NameServer::start().await;
    let records = vec![
        srv(SERVICE, 60, [0, 1, 80], "a.internal"),
        srv(SERVICE, 60, [0, 1, 80], "b.internal"),
    ];
    server.reply(SERVICE, RecordType::SRV, Reply::Records(records));
    server.reply(
        "a.internal",
        RecordType::A,
        Reply::Records(vec![a("a.internal", 90, [10, 0, 0, 1])]),
    );
    server.reply(
        "b.internal",
        RecordType::A,
        Reply::Code(ResponseCode::ServFail),
    );
    let words = [
        "a target of _http._tcp.web.internal",
        "b.internal",
        "SERVFAIL",
    ];
    failed(service(&[&server]).query().await, &words);
}

#[tokio::test]
async fn a_service_with_many_targets_is_looked_up_completely() {
    let server = NameServer::start().await;
    let target = |number: u8| format!("web{number}.internal");
    let records = (0..100).map(|number| srv(SERVICE, 60, [0, 1, 80], &target(number)));
    server.reply(SERVICE, RecordType::SRV, Reply::Long(records.collect()));
    for number in 0..100 {
        let record = a(&target(number), 60, [10, 0, 0, number]);
        server.reply(&target(number), RecordType::A, Reply::Records(vec![record]));
    }
    assert_eq!(seen(service(&[&server]).query().await).0.len(), 100);
}
