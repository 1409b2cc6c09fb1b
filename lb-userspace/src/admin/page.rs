//! The status page: one HTML document without scripts or external assets, rendered for each request.

use std::fmt::{self, Write};

use super::{
    BackendStatus, CertificateStatus, Moment, PoolStatus, ServiceStatus, Status,
    wording::{bytes, count, milliseconds, share, span},
};
use crate::pool::AllDown;

mod pair;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#888;--up:#1a7f37;--draining:#9a6700;--down:#cf222e}\
@media(prefers-color-scheme:dark){:root{--up:#3fb950;--draining:#d29922;--down:#f85149}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:2rem 0 .4rem}\
p{margin:.2rem 0;color:var(--soft)}.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);white-space:nowrap}\
th{font-weight:600;color:var(--soft);font-size:.85rem}.n{text-align:right}\
.up{color:var(--up)}.draining{color:var(--draining)}.down,.problem{color:var(--down)}\
.up,.draining,.down{font-weight:600}";

/// Renders `status` as an HTML page.
pub(super) fn render(status: &Status) -> String {
    let mut page = String::with_capacity(8 * 1024);
    // Writing to a string in memory does not fail.
    let _written = write_page(&mut page, status);
    page
}

fn write_page(page: &mut String, status: &Status) -> fmt::Result {
    let node = Escaped(&status.node);
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"2\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{node} · lb</title><style>{STYLE}</style>"
    )?;
    write_head(page, status)?;
    pair::write(page, status)?;
    write_services(page, &status.services)?;
    for pool in &status.pools {
        write_pool(page, pool, status)?;
    }
    write_certificates(page, status)?;
    page.write_str(
        "<p style=\"margin-top:2rem\"><a href=\"/metrics\">metrics</a> · \
         <a href=\"/healthz\">healthz</a> · <a href=\"/api/v1/status\">JSON</a></p></html>\n",
    )
}

fn write_head(page: &mut String, status: &Status) -> fmt::Result {
    let xdp = &status.xdp;
    write!(
        page,
        "<h1>{}</h1><p>lb {} · {} · {} packets, {} dropped · up {}</p>",
        Escaped(&status.node),
        Escaped(&status.version),
        Escaped(&xdp.in_words()),
        count(xdp.packets),
        count(xdp.dropped),
        span(status.uptime()),
    )?;
    for problem in &status.problems {
        write!(page, "<p class=\"problem\">{}</p>", Escaped(problem))?;
    }
    Ok(())
}

fn write_services(page: &mut String, services: &[ServiceStatus]) -> fmt::Result {
    page.write_str(
        "<h2>Services</h2><div class=\"wide\"><table><tr><th>Service<th>Listen<th>Mode<th>Pool\
         <th class=\"n\">Connections<th class=\"n\">Requests<th class=\"n\">In<th class=\"n\">Out",
    )?;
    for service in services {
        let requests = service.requests.map_or_else(|| "–".to_owned(), count);
        write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{requests}\
             <td class=\"n\">{}<td class=\"n\">{}",
            Escaped(&service.name),
            service.listen,
            Escaped(&service.mode_in_words()),
            Escaped(&service.pool),
            count(service.connections),
            bytes(service.bytes_in),
            service.bytes_out.map_or_else(|| "–".to_owned(), bytes),
        )?;
    }
    page.write_str("</table></div>")
}

fn write_pool(page: &mut String, pool: &PoolStatus, status: &Status) -> fmt::Result {
    write!(
        page,
        "<h2>Pool {}</h2><p>{} · {}{}{}</p><div class=\"wide\"><table><tr><th>Backend<th>Address\
         <th>State<th>Since<th>Last check<th class=\"n\">Weight<th class=\"n\">Connections\
         <th class=\"n\">Packets<th class=\"n\">Requests{}",
        Escaped(&pool.name),
        Escaped(&pool.balance),
        Escaped(pool.check.as_deref().unwrap_or("not checked")),
        pool.per_request_in_words()
            .iter()
            .map(|words| format!(" · {}", Escaped(words)))
            .collect::<String>(),
        pool.all_down
            .map(|all_down| format!(" · <b class=\"down\">{}</b>", all_down.in_words()))
            .unwrap_or_default(),
        pool.limit.map_or("", |_limit| "<th class=\"n\">In use"),
    )?;
    for backend in &pool.backends {
        write_backend(page, backend, pool, status)?;
    }
    page.write_str("</table></div>")
}

fn write_backend(
    page: &mut String,
    backend: &BackendStatus,
    pool: &PoolStatus,
    status: &Status,
) -> fmt::Result {
    let state = match backend.ejected_until {
        Some(_) => super::State::Down.as_str(),
        None => backend.state.as_str(),
    };
    write!(
        page,
        "<tr><td>{}<td>{}<td class=\"{state}\">{}<td>{}<td>{}<td class=\"n\">{}\
         <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}{}",
        Escaped(&backend.name),
        backend.address,
        backend.state_in_words(status.now),
        span(status.now.since(backend.since)),
        Escaped(&backend.last_check_in_words()),
        backend.weight,
        count(backend.connections),
        share(backend.packets, pool.packets()),
        share(backend.requests, pool.requests()),
        match pool.in_use_in_words(backend) {
            Some(words) => format!("<td class=\"n\">{words}"),
            None => String::new(),
        },
    )
}

fn write_certificates(page: &mut String, status: &Status) -> fmt::Result {
    if status.certificates.is_empty() {
        return Ok(());
    }
    page.write_str(
        "<h2>Certificates</h2><div class=\"wide\"><table><tr><th>Names<th>File\
         <th class=\"n\">Days left",
    )?;
    for certificate in &status.certificates {
        let CertificateStatus { file, names, .. } = certificate;
        write!(
            page,
            "<tr><td>{}<td>{}<td class=\"n\">{}",
            Escaped(&names.join(", ")),
            Escaped(&file.to_string_lossy()),
            certificate.days_left(status.now),
        )?;
    }
    page.write_str("</table></div>")
}

impl ServiceStatus {
    /// Returns the service's mode for display, such as `tcp, nat` or `https`.
    #[must_use]
    pub fn mode_in_words(&self) -> String {
        match &self.forward {
            Some(forward) => format!("{}, {forward}", self.mode),
            None => self.mode.clone(),
        }
    }
}

impl AllDown {
    /// Returns, as a sentence, what happens to new connections while no backend of the pool is up.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Trying => "no backend is up: new connections are tried on all backends",
            Self::Refusing => "no backend is up: new connections are refused",
        }
    }
}

impl PoolStatus {
    /// Returns the number of packets to and from all backends of the pool.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.backends.iter().map(|backend| backend.packets).sum()
    }

    /// Returns texts about the features that the pool uses for each request: `sticky by cookie lb`,
    /// `3 of 1,024 queued`.
    #[must_use]
    pub fn per_request_in_words(&self) -> Vec<String> {
        let sticky = self.sticky.as_ref();
        let sticky = sticky.map(|cookie| format!("sticky by cookie {cookie}"));
        let queued = self.limit.map(|limit| {
            let (queued, size) = (limit.queued as u64, limit.queue_size as u64);
            format!("{} of {} queued", count(queued), count(size))
        });
        sticky.into_iter().chain(queued).collect()
    }

    /// Returns how many requests are in flight at a backend and its limit, such as `7 of 100`;
    /// `None` if the pool has no limit.
    #[must_use]
    pub fn in_use_in_words(&self, backend: &BackendStatus) -> Option<String> {
        let limit = self.limit?.per_backend as u64;
        let in_use = backend.in_use.unwrap_or_default() as u64;
        Some(format!("{} of {}", count(in_use), count(limit)))
    }

    /// Returns the number of requests that all backends of the pool answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.backends.iter().map(|backend| backend.requests).sum()
    }
}

impl BackendStatus {
    /// Returns the backend's state for display, with anything else that keeps requests away from
    /// the backend: an operator override, being a backup, an ejection.
    #[must_use]
    pub fn state_in_words(&self, now: Moment) -> String {
        let state = self.state.as_str();
        let mut words = match (self.state, self.order) {
            (super::State::Down, crate::pool::AdminState::Down) => format!("{state} (override)"),
            (super::State::Down, crate::pool::AdminState::Drain) => format!("{state} (drained)"),
            _ => state.to_owned(),
        };
        if self.backup {
            words += ", backup";
        }
        if let Some(until) = self.ejected_until {
            words += &format!(", ejected for {}", span(until.since(now)));
        }
        words
    }

    /// Returns the duration of the backend's last health check, or why it failed; a dash before the
    /// first check.
    #[must_use]
    pub fn last_check_in_words(&self) -> String {
        match &self.last_check {
            None => "–".to_owned(),
            Some(check) => match &check.error {
                None => milliseconds(check.seconds),
                Some(error) => error.clone(),
            },
        }
    }
}

/// Text that is displayed escaped for HTML, so that it is safe in the content of an element and in
/// a quoted attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::examples;

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
            "class=\"draining\">draining",
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
            "sticky by cookie lb · 3 of 1,024 queued",
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
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("<img"), "{page}");
    }
}
