//! The status page: one HTML document, rendered by the agent for each request.
//!
//! The document is complete without scripts. `live.js` keeps it up to date: the agent renders the
//! content of `<main>` every second and sends it as a server-sent event, and the script applies the
//! differences. So every text has one source, and the browser needs no template of its own.

use std::fmt::{self, Write};

use super::{
    CertificateStatus, Status, XdpStatus,
    history::{History, Series},
    wording::{count, share, span},
};

mod escaped;
mod events;
mod graph;
mod pair;
mod pools;
mod services;
mod table;

use crate::events::Event;
use escaped::Escaped;
use table::Table;

/// The style sheet of the status page, at `/status.css`.
pub(super) const STYLE: &str = include_str!("page/status.css");
/// The script of the status page, at `/live.js`.
pub(super) const SCRIPT: &str = include_str!("page/live.js");

/// The data that the status page shows.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// The state of the agent.
    pub(super) status: &'a Status,
    /// The values of the page's graphs, of the last 15 minutes.
    pub(super) history: &'a History,
    /// The latest events, the oldest first.
    pub(super) events: &'a [Event],
    pub(super) actions: Actions,
}

/// Whether the status page has buttons that change something, and by what the server permits the
/// changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Actions {
    /// The page has no buttons.
    Off,
    /// The page has buttons, and asks for the operator token before the first change.
    ByToken,
    /// The page has buttons. The browser shows the certificate of an operator by itself.
    ByCertificate,
}

impl View<'_> {
    /// Returns whether the status page has buttons that change something.
    fn has_actions(&self) -> bool {
        self.actions != Actions::Off
    }
}

/// Renders the whole HTML document of the status page.
pub(super) fn render(view: View<'_>) -> String {
    let node = Escaped(&view.status.node);
    let main = render_main(view);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\
         <title>{node} · lb</title><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/status.css\"><script src=\"/live.js\" defer></script></head>\
         <body><p id=\"live\" role=\"status\"></p><main>{main}</main>\
         <footer><a href=\"/metrics\">metrics</a> · <a href=\"/healthz\">healthz</a> · \
         <a href=\"/api/v1/status\">JSON</a></footer>{}</body></html>\n",
        match view.actions {
            Actions::Off => String::new(),
            Actions::ByToken => format!("{MESSAGE}{DIALOG}"),
            Actions::ByCertificate => MESSAGE.to_owned(),
        },
    )
}

/// Where the status page shows the result of a change.
const MESSAGE: &str = "<p id=\"message\" role=\"status\"></p>";

/// The dialog in which the status page asks for the operator token before the first change.
const DIALOG: &str = "\
<dialog aria-labelledby=\"token-title\"><form method=\"dialog\"><h2 id=\"token-title\">Operator token</h2>\
<p><label for=\"token\">The content of <code>admin.token_file</code>; this tab keeps it until it is closed.\
</label></p><p><input id=\"token\" type=\"password\" autocomplete=\"off\" required></p>\
<p><button value=\"use\">Continue</button> <button value=\"\" formnovalidate>Cancel</button></p></form></dialog>";

/// Renders the content of the status page's `<main>`.
pub(super) fn render_main(view: View<'_>) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a string does not fail.
    let _written = write_main(&mut page, view);
    page
}

fn write_main(page: &mut String, view: View<'_>) -> fmt::Result {
    let View {
        status, history, ..
    } = view;
    write_head(page, status)?;
    pair::write(page, view)?;
    services::write(page, &status.services, history)?;
    for pool in &status.pools {
        pools::write(page, pool, view)?;
    }
    write_packets(page, &status.xdp, history)?;
    write_certificates(page, status)?;
    events::write(page, view)
}

fn write_head(page: &mut String, status: &Status) -> fmt::Result {
    write!(
        page,
        "<h1>{}</h1><p class=\"soft\">lb {} · {} · running for {}</p>",
        Escaped(&status.node),
        Escaped(&status.version),
        Escaped(&status.xdp.in_words()),
        span(status.uptime()),
    )?;
    if status.problems.is_empty() {
        return Ok(());
    }
    page.write_str("<section aria-label=\"Problems\"><ul class=\"problems\">")?;
    for problem in &status.problems {
        write!(page, "<li>{}</li>", Escaped(problem))?;
    }
    page.write_str("</ul></section>")
}

/// Writes how many packets the XDP program saw, and how many it dropped for each reason.
fn write_packets(page: &mut String, xdp: &XdpStatus, history: &History) -> fmt::Result {
    write!(
        page,
        "<section aria-labelledby=\"packets\"><h2 id=\"packets\">Packets</h2>\
         <p class=\"soft\">{} seen, {} dropped</p><div class=\"pair\">",
        count(xdp.packets),
        count(xdp.dropped),
    )?;
    write_figure(page, "Packets per second", &history.packets)?;
    write_figure(page, "Dropped per second", &history.drops)?;
    page.write_str("</div>")?;
    if !xdp.drops.is_empty() {
        let columns = ["Dropped because of", "Packets", "Share"];
        let mut table = Table::begin(page, "Dropped packets by reason", &columns)?;
        for one in &xdp.drops {
            table.row()?;
            table.cell("", Escaped(&one.reason.replace('_', " ")))?;
            table.cell("n", count(one.packets))?;
            table.cell("n", share(one.packets, xdp.dropped))?;
        }
        table.end()?;
    }
    page.write_str("</section>")
}

fn write_figure(page: &mut String, label: &str, series: &Series) -> fmt::Result {
    write!(page, "<figure><figcaption>{label}: <b>")?;
    match series.last() {
        Some(last) => write!(page, "{}", graph::rate(last))?,
        None => page.write_char('–')?,
    }
    page.write_str("</b></figcaption>")?;
    graph::write(page, series, label, graph::rate)?;
    page.write_str("</figure>")
}

fn write_certificates(page: &mut String, status: &Status) -> fmt::Result {
    if status.certificates.is_empty() {
        return Ok(());
    }
    page.write_str(
        "<section aria-labelledby=\"certificates\"><h2 id=\"certificates\">Certificates</h2>",
    )?;
    let mut table = Table::begin(page, "Certificates", &["Names", "File", "Days left"])?;
    for certificate in &status.certificates {
        let CertificateStatus { file, names, .. } = certificate;
        let days = certificate.days_left(status.now);
        table.row()?;
        table.cell("", Escaped(&names.join(", ")))?;
        table.cell("", Escaped(&file.to_string_lossy()))?;
        table.cell(urgency(days), days)?;
    }
    table.end()?;
    page.write_str("</section>")
}

/// Returns the CSS classes that highlight a number of days until a certificate expires.
/// Certificates that the agent obtains are renewed more than 14 days before their end, so they are
/// highlighted only if that fails.
fn urgency(days: i64) -> &'static str {
    match days {
        ..3 => "n down",
        3..14 => "n draining",
        _ => "n",
    }
}

#[cfg(test)]
mod tests;
