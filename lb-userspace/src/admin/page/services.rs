//! The section of the status page on the services.

use std::fmt::{self, Write};

use super::{Escaped, Table, graph};
use crate::admin::{
    ServiceStatus,
    history::{History, Series},
    wording::{bytes, count},
};

/// Writes the section of the status page on the services.
pub(super) fn write(
    page: &mut String,
    services: &[ServiceStatus],
    history: &History,
) -> fmt::Result {
    page.write_str("<section aria-labelledby=\"services\"><h2 id=\"services\">Services</h2>")?;
    let columns = [
        "Service",
        "Listen",
        "Mode",
        "Pool",
        "Rate",
        "Latency",
        "Connections",
        "Requests",
        "In",
        "Out",
    ];
    let mut table = Table::begin(page, "Services", &columns)?;
    for service in services {
        let history = history.service(&service.name);
        table.row()?;
        table.cell("name", Escaped(&service.name))?;
        table.cell("", service.listen)?;
        table.cell("", Escaped(&service.mode_in_words()))?;
        table.cell("", Escaped(&service.pool))?;
        let rate = history.map(|history| &history.rate);
        let unit = match service.requests {
            Some(_) => "Requests per second",
            None => "New connections per second",
        };
        let label = format!("{unit} of {}", Escaped(&service.name));
        table.cell_with("", |page| write_series(page, rate, &label, graph::rate))?;
        let latency = history.map(|history| &history.latency);
        let latency = latency.filter(|_| service.requests.is_some());
        let label = format!("Mean latency of {}", Escaped(&service.name));
        table.cell_with("", |page| {
            write_series(page, latency, &label, graph::latency)
        })?;
        table.cell("n", count(service.connections))?;
        table.cell("n", or_dash(service.requests.map(count)))?;
        table.cell("n", bytes(service.bytes_in))?;
        table.cell("n", or_dash(service.bytes_out.map(bytes)))?;
    }
    table.end()?;
    page.write_str("</section>")
}

/// Writes a graph and its newest value, or a dash if there is no `series`. `label` is HTML.
pub(super) fn write_series(
    page: &mut String,
    series: Option<&Series>,
    label: &str,
    format: impl Fn(f32) -> String,
) -> fmt::Result {
    let Some(series) = series else {
        return page.write_char('–');
    };
    page.write_str("<span class=\"value\">")?;
    graph::write(page, series, label, &format)?;
    let last = series.last().map(format);
    write!(page, "<span>{}</span></span>", or_dash(last))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}
