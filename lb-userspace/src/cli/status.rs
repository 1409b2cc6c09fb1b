//! Output of `lb status` as tables.

use super::table::{Align, Cell, Style, Table};
use crate::admin::{
    BackendStatus, PoolStatus, State, Status,
    wording::{bytes, count, counted, share, span},
};

mod pair;

/// Certificates with fewer days left until they expire are shown in yellow.
const SOON: i64 = 21;
/// Certificates with fewer days left until they expire are shown in red.
const VERY_SOON: i64 = 7;

/// Formats the agent's status as text for a terminal.
pub(super) fn render(status: &Status, colour: bool) -> String {
    let mut parts = vec![head(status, colour)];
    parts.extend(pair::render(status, colour));
    parts.push(services(status, colour));
    parts.extend(status.pools.iter().map(|one| pool(one, status, colour)));
    if !status.certificates.is_empty() {
        parts.push(certificates(status, colour));
    }
    parts.join("\n")
}

fn head(status: &Status, colour: bool) -> String {
    let xdp = &status.xdp;
    let mut text = format!(
        "{}  lb {}, {}, up {}, {} seen, {} dropped\n",
        Style::Bold.paint(&status.node, colour),
        status.version,
        xdp.in_words(),
        span(status.uptime()),
        counted(xdp.packets, "packet"),
        count(xdp.dropped),
    );
    for problem in &status.problems {
        text.push_str(&Style::Red.paint(&format!("PROBLEM: {problem}"), colour));
        text.push('\n');
    }
    text
}

fn services(status: &Status, colour: bool) -> String {
    let mut table = Table::new(&[
        ("SERVICE", Align::Left),
        ("LISTEN", Align::Left),
        ("MODE", Align::Left),
        ("POOL", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("REQUESTS", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
    ]);
    for service in &status.services {
        table.push(vec![
            Cell::new(&service.name),
            Cell::new(service.listen.to_string()),
            Cell::new(service.mode_in_words()),
            Cell::new(&service.pool),
            Cell::new(count(service.connections)),
            Cell::new(service.requests.map_or_else(|| "–".to_owned(), count)),
            Cell::new(bytes(service.bytes_in)),
            Cell::new(service.bytes_out.map_or_else(|| "–".to_owned(), bytes)),
        ]);
    }
    table.render(colour)
}

fn pool(pool: &PoolStatus, status: &Status, colour: bool) -> String {
    let mut columns = vec![
        ("BACKEND", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Right),
        ("WEIGHT", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("PACKETS", Align::Right),
        ("REQUESTS", Align::Right),
    ];
    columns.extend(pool.limit.map(|_limit| ("IN USE", Align::Right)));
    columns.push(("LAST CHECK", Align::Left));
    let mut table = Table::new(&columns);
    for backend in &pool.backends {
        let mut cells = vec![
            Cell::new(&backend.name),
            Cell::new(backend.address.to_string()),
            Cell::styled(backend.state_in_words(status.now), style_of(backend)),
            Cell::new(span(status.now.since(backend.since))),
            Cell::new(backend.weight.to_string()),
            Cell::new(count(backend.connections)),
            Cell::new(share(backend.packets, pool.packets())),
            Cell::new(share(backend.requests, pool.requests())),
        ];
        cells.extend(pool.in_use_in_words(backend).map(Cell::new));
        cells.push(last_check(backend, status));
        table.push(cells);
    }
    let name = Style::Bold.paint(&format!("pool {}", pool.name), colour);
    let check = pool.check.as_deref().unwrap_or("not checked");
    let all_down = pool.all_down.map_or_else(String::new, |all_down| {
        let words = all_down.in_words();
        format!("\n{}", Style::Red.paint(words, colour))
    });
    let (discovery, problems) = pool.discovery_in_words(status.now);
    let further = pool.per_request_in_words().into_iter().chain(discovery);
    let further: String = further.map(|words| format!("; {words}")).collect();
    let problems = problems.into_iter();
    let problems = problems.map(|problem| format!("\n{}", Style::Yellow.paint(&problem, colour)));
    let problems: String = problems.collect();
    format!(
        "{name}  {}; {check}{further}{all_down}{problems}\n{}",
        pool.balance,
        table.render(colour)
    )
}

fn style_of(backend: &BackendStatus) -> Style {
    match backend.state {
        State::Up if backend.ejected_until.is_some() => Style::Red,
        State::Up => Style::Green,
        State::Draining => Style::Yellow,
        State::Down => Style::Red,
    }
}

fn last_check(backend: &BackendStatus, status: &Status) -> Cell {
    let Some(check) = &backend.last_check else {
        return Cell::styled("–", Style::Faint);
    };
    let ago = span(status.now.since(check.at));
    let text = format!("{}, {ago} ago", backend.last_check_in_words());
    match check.error {
        Some(_) => Cell::styled(text, Style::Red),
        None => Cell::new(text),
    }
}

/// Formats the output of `lb certificate list`: the certificates in use, then those that the agent
/// obtains, if it obtains any.
pub(super) fn certificate_list(status: &Status, colour: bool) -> String {
    let in_use = certificates(status, colour);
    if status.obtained.is_empty() {
        return in_use;
    }
    let obtained = super::certificate::table(status, colour);
    format!("{in_use}\n{obtained}")
}

fn certificates(status: &Status, colour: bool) -> String {
    let mut table = Table::new(&[
        ("CERTIFICATE", Align::Left),
        ("DAYS LEFT", Align::Right),
        ("FILE", Align::Left),
    ]);
    for certificate in &status.certificates {
        let days = certificate.days_left(status.now);
        let style = match days {
            ..VERY_SOON => Style::Red,
            VERY_SOON..SOON => Style::Yellow,
            _ => Style::Plain,
        };
        table.push(vec![
            Cell::new(certificate.names.join(", ")),
            Cell::styled(days.to_string(), style),
            Cell::new(certificate.file.to_string_lossy()),
        ]);
    }
    table.render(colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{examples_of_per_request, examples_of_status};

    #[test]
    fn the_whole_status_is_in_the_table() {
        let text = render(&examples_of_status(), false);
        let wanted = "\
lb-a  lb 0.1.0, native XDP on eth0 and eth1, up 3d 2h, 123,456 packets seen, 7 dropped

pair  virtual router 41
HOST         ROLE    PRIORITY
lb-a (this)  master       110  for 3d 1h: no active host was heard
lb-b         backup       100  ready, heard 40 ms ago
Elastic IP   eipalloc-0123456789abcdef0 is on this host, confirmed by the EC2 API 2s ago, moved to this host once
link         up for 3d 0h, lag 0.42 ms
flows        synced: 12,345 sent, 17 received; last full pass 12s ago
tracked      2 of 2 healthy

SERVICE  LISTEN           MODE      POOL  CONNECTIONS  REQUESTS       IN      OUT
http     172.31.0.68:80   tcp, nat  web           750         –  1.0 MiB  3.0 GiB
https    172.31.0.68:443  https     web            75     1,000      0 B        –

pool web  round_robin; GET / every 2s
BACKEND  ADDRESS      STATE      SINCE  WEIGHT  CONNECTIONS  PACKETS  REQUESTS  LAST CHECK
web1     10.0.0.6:80  up        3m 20s       1          250    33.3%     33.3%  1.20 ms, 1s ago
web2     10.0.0.7:80  draining  3m 20s       1          250    33.3%     33.3%  1.20 ms, 1s ago
web3     10.0.0.9:80  down      3m 20s       1          250    33.3%     33.3%  connection refused, 1s ago

CERTIFICATE                   DAYS LEFT  FILE
example.org, www.example.org         61  /etc/lb/tls/example.org.pem
";
        assert_eq!(text, wanted, "\n{text}");
    }

    #[test]
    fn the_table_shows_what_a_pool_does_request_by_request() {
        let text = render(&examples_of_per_request(), false);
        let wanted = "\
pool web  round_robin; GET / every 2s; sticky by cookie lb; 3 requests queued, at most 1,024
BACKEND  ADDRESS      STATE                 SINCE  WEIGHT  CONNECTIONS  PACKETS  REQUESTS      IN USE  LAST CHECK
web1     10.0.0.6:80  up, ejected for 24s  3m 20s       1          250    33.3%     33.3%    7 of 100  1.20 ms, 1s ago
web2     10.0.0.7:80  draining, backup     3m 20s       1          250    33.3%     33.3%  100 of 100  1.20 ms, 1s ago
web3     10.0.0.9:80  down                 3m 20s       1          250    33.3%     33.3%    0 of 100  connection refused, 1s ago
";
        assert!(text.contains(wanted), "\n{text}");
    }

    #[test]
    fn problems_stand_at_the_top() {
        let mut status = examples_of_status();
        status
            .problems
            .push("the interface eth0 is missing".to_owned());
        let text = render(&status, false);
        assert_eq!(
            text.lines().nth(1),
            Some("PROBLEM: the interface eth0 is missing")
        );
    }
}
