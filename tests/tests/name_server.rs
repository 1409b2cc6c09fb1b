//! Tests of the lab's name server, which other tests rely on. dig and glibc's resolver, which are
//! not ours, read its answers.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use lab::{
    Host,
    name_server::{Data, NameServer, Record},
};

const ZONE: &str = "lab.example";

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The exit code of dig if no server answered.
const NO_ANSWER: i32 = 9;

/// A host with a name server, which the tests ask on the same host.
struct Site {
    host: Host,
    server: NameServer,
}

/// What dig printed for a query, and its exit code.
struct Answer {
    text: String,
    code: Option<i32>,
}

impl Site {
    fn raise() -> Result<Self> {
        let host = Host::raise("dns")?;
        let server = NameServer::start(&host, ADDRESS, ZONE)?;
        Ok(Self { host, server })
    }

    fn dig(&self, arguments: &[&str]) -> Result<Answer> {
        let server = format!("@{ADDRESS}");
        let output = (self.host.command("dig"))
            .args(["+tries=1", "+time=1", &server])
            .args(arguments)
            .output()?;
        Ok(Answer {
            text: String::from_utf8(output.stdout)?,
            code: output.status.code(),
        })
    }

    /// Returns the data of the answer's records, sorted.
    fn data(&self, kind: &str, name: &str) -> Result<Vec<String>> {
        let answer = self.dig(&["+short", kind, name])?.text;
        let mut data: Vec<_> = answer.lines().map(str::to_owned).collect();
        data.sort_unstable();
        Ok(data)
    }
}

fn web(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

#[test]
fn records_of_each_type_are_answered_with_their_time_to_live() -> Result<()> {
    let mut site = Site::raise()?;
    let alias = Data::Cname("web.lab.example".to_owned());
    site.server.set(&[
        Record::a("web.lab.example", 7, web(6)),
        Record::a("web.lab.example", 7, web(7)),
        Record::aaaa("web.lab.example", 8, "fd00::6".parse()?),
        Record::srv("_http._tcp.lab.example", 9, 10, 8080, "web.lab.example"),
        Record::new("alias.lab.example", 10, alias),
    ])?;
    ensure!(site.data("A", "web.lab.example")? == ["10.0.0.6", "10.0.0.7"]);
    ensure!(site.data("AAAA", "web.lab.example")? == ["fd00::6"]);
    let service = site.data("SRV", "_http._tcp.lab.example")?;
    ensure!(service == ["0 10 8080 web.lab.example."], "{service:?}");
    let through_alias = site.data("A", "alias.lab.example")?;
    ensure!(
        through_alias == ["10.0.0.6", "10.0.0.7", "web.lab.example."],
        "{through_alias:?}"
    );
    for (kind, name, ttl) in [
        ("A", "web.lab.example", "7"),
        ("AAAA", "web.lab.example", "8"),
        ("SRV", "_http._tcp.lab.example", "9"),
    ] {
        let line = site.dig(&["+noall", "+answer", kind, name])?.text;
        let found = line.split_whitespace().nth(1);
        ensure!(found == Some(ttl), "{line}");
    }
    Ok(())
}

#[test]
fn a_changed_zone_is_answered_when_the_change_returns() -> Result<()> {
    let mut site = Site::raise()?;
    for last in 1..=20 {
        let record = Record::a("web.lab.example", 1, web(last));
        site.server.set(&[record])?;
        let data = site.data("A", "web.lab.example")?;
        ensure!(data == [web(last).to_string()], "{data:?} after {last}");
    }
    Ok(())
}

#[test]
fn a_name_without_addresses_differs_from_one_that_does_not_exist() -> Result<()> {
    let mut site = Site::raise()?;
    let status = |site: &Site| site.dig(&["A", "web.lab.example"]);
    ensure!(status(&site)?.text.contains("status: NXDOMAIN"));
    site.server.set(&[Record::no_data("web.lab.example")])?;
    let empty = status(&site)?.text;
    ensure!(
        empty.contains("status: NOERROR") && empty.contains("ANSWER: 0"),
        "{empty}"
    );
    site.server.set(&[])?;
    ensure!(status(&site)?.text.contains("status: NXDOMAIN"));
    let elsewhere = site.dig(&["A", "www.example.net"])?.text;
    ensure!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
    let record = Record::a("web.notlab.example", 1, web(6));
    ensure!(site.server.set(&[record]).is_err(), "outside of the zone");
    Ok(())
}

#[test]
fn more_records_than_fit_into_a_datagram_are_answered_over_tcp() -> Result<()> {
    let mut site = Site::raise()?;
    let records: Vec<_> = (1..=200)
        .map(|last| Record::a("web.lab.example", 1, web(last)))
        .collect();
    site.server.set(&records)?;
    let whole = site.data("A", "web.lab.example")?;
    ensure!(whole.len() == 200, "{} records", whole.len());
    let datagram = site.dig(&["+ignore", "A", "web.lab.example"])?.text;
    ensure!(datagram.contains(" tc "), "{datagram}");
    Ok(())
}

#[test]
fn a_stopped_server_refuses_and_a_frozen_one_is_silent() -> Result<()> {
    let mut site = Site::raise()?;
    let record = |last| [Record::a("web.lab.example", 1, web(last))];
    site.server.set(&record(6))?;

    site.server.freeze()?;
    let silent = site.dig(&["A", "web.lab.example"])?;
    ensure!(silent.code == Some(NO_ANSWER), "{}", silent.text);
    ensure!(silent.text.contains("timed out"), "{}", silent.text);
    site.server.thaw()?;
    ensure!(site.data("A", "web.lab.example")? == ["10.0.0.6"]);

    site.server.stop()?;
    let refused = site.dig(&["A", "web.lab.example"])?;
    ensure!(refused.code == Some(NO_ANSWER), "{}", refused.text);
    ensure!(refused.text.contains("refused"), "{}", refused.text);
    site.server.set(&record(7))?;
    site.server.start_again()?;
    ensure!(site.data("A", "web.lab.example")? == ["10.0.0.7"]);

    site.server.freeze()?;
    site.server.stop()?;
    site.server.start_again()?;
    ensure!(site.data("A", "web.lab.example")? == ["10.0.0.7"]);
    Ok(())
}

#[test]
fn a_host_resolves_names_by_it() -> Result<()> {
    let mut site = Site::raise()?;
    // glibc looks for addresses only on a host that has one beside those of loopback.
    site.host.script(
        "ip link add eth0 type veth peer name eth1\n\
         ip address add 192.0.2.1/24 dev eth0\n\
         ip link set eth0 up\nip link set eth1 up",
    )?;
    site.server.resolve_for(&site.host)?;
    site.server
        .set(&[Record::a("web.lab.example", 1, web(6))])?;
    let found = site.host.run("getent", &["ahostsv4", "web.lab.example"])?;
    ensure!(found.starts_with("10.0.0.6 "), "{found}");
    Ok(())
}

#[test]
fn a_record_that_nsd_does_not_accept_is_an_error_with_its_log() -> Result<()> {
    let mut site = Site::raise()?;
    let text = Data::Txt("a \" quote".to_owned());
    let bad = Record::new("web.lab.example", 1, text);
    let Err(error) = site.server.set(&[bad]) else {
        anyhow::bail!("it was accepted");
    };
    let error = format!("{error:#}");
    ensure!(
        error.contains("NSD said") && error.contains("zone"),
        "{error}"
    );
    Ok(())
}
