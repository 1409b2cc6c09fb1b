//! The section of the status page on a pool and its backends.

use std::fmt::{self, Write};

use super::{Escaped, Table, View, graph, services::write_series};
use crate::{
    admin::{
        BackendStatus, PoolStatus, Request, State, Status,
        wording::{count, share, span},
    },
    pool::AdminState,
};

/// Writes the section of the status page on one pool.
pub(super) fn write(page: &mut String, pool: &PoolStatus, view: View<'_>) -> fmt::Result {
    let name = Escaped(&pool.name);
    let (discovery, problems) = pool.discovery_in_words(view.status.now);
    write!(
        page,
        "<section aria-labelledby=\"pool-{name}\"><h2 id=\"pool-{name}\">Pool {name}</h2>\
         <p class=\"soft\">{} · {}{}{}</p>{}",
        Escaped(&pool.balance),
        Escaped(pool.check.as_deref().unwrap_or("not checked")),
        pool.per_request_in_words()
            .iter()
            .chain(&discovery)
            .map(|words| format!(" · {}", Escaped(words)))
            .collect::<String>(),
        pool.all_down
            .map(|all_down| format!(" · <b class=\"down\">{}</b>", all_down.in_words()))
            .unwrap_or_default(),
        problems
            .iter()
            .map(|problem| format!("<p class=\"draining\">{}</p>", Escaped(problem)))
            .collect::<String>(),
    )?;
    let mut columns = vec![
        "Backend",
        "Address",
        "State",
        "Since",
        "Checks",
        "Last check",
        "Rate",
        "Weight",
        "Connections",
        "Packets",
        "Requests",
    ];
    columns.extend(pool.limit.map(|_limit| "In use"));
    columns.extend(view.has_actions().then_some("Actions"));
    let label = format!("Backends of pool {}", pool.name);
    let mut table = Table::begin(page, &label, &columns)?;
    for backend in &pool.backends {
        write_backend(&mut table, backend, pool, view)?;
    }
    table.end()?;
    page.write_str("</section>")
}

fn write_backend(
    table: &mut Table<'_>,
    backend: &BackendStatus,
    pool: &PoolStatus,
    view: View<'_>,
) -> fmt::Result {
    let Status { now, .. } = *view.status;
    let state = match backend.ejected_until {
        Some(_) => State::Down.as_str(),
        None => backend.state.as_str(),
    };
    table.row()?;
    table.cell("name", Escaped(&backend.name))?;
    table.cell("", backend.address)?;
    table.cell(state, backend.state_in_words(now))?;
    table.cell("", span(now.since(backend.since)))?;
    table.cell_with("", |page| graph::write_checks(page, &backend.recent_checks))?;
    table.cell("", Escaped(&backend.last_check_in_words()))?;
    let rate = view.history.backend(&pool.name, &backend.name);
    let label = format!(
        "Requests and connections per second of {}",
        Escaped(&backend.name)
    );
    table.cell_with("", |page| write_series(page, rate, &label, graph::rate))?;
    table.cell("n", backend.weight)?;
    table.cell("n", count(backend.connections))?;
    table.cell("n", share(backend.packets, pool.packets()))?;
    table.cell("n", share(backend.requests, pool.requests()))?;
    if let Some(words) = pool.in_use_in_words(backend) {
        table.cell("n", words)?;
    }
    if view.has_actions() {
        table.cell_with("", |page| write_actions(page, backend, pool))?;
    }
    Ok(())
}

/// Writes a button for each operator override that differs from the backend's present one.
fn write_actions(page: &mut String, backend: &BackendStatus, pool: &PoolStatus) -> fmt::Result {
    let orders = match backend.order {
        AdminState::Ready => [("Drain", AdminState::Drain), ("Down", AdminState::Down)].as_slice(),
        AdminState::Drain | AdminState::Down => &[("Ready", AdminState::Ready)],
    };
    for (title, order) in orders {
        let name = format!("{}/{}", pool.name, backend.name);
        let request = Request::Backend {
            name: name.clone(),
            order: *order,
        };
        let confirm = match order {
            AdminState::Ready | AdminState::Drain => None,
            AdminState::Down => Some(format!("Close the connections of {name}?")),
        };
        write_button(
            page,
            title,
            &format!("{title} {name}"),
            &request,
            confirm.as_deref(),
        )?;
    }
    Ok(())
}

/// Writes a button that sends a request to the agent. `label` names the button for screen readers;
/// `confirm` is the question that the page asks first.
pub(super) fn write_button(
    page: &mut String,
    title: &str,
    label: &str,
    request: &Request,
    confirm: Option<&str>,
) -> fmt::Result {
    let request = serde_json::to_string(request).map_err(|_unwritable| fmt::Error)?;
    write!(
        page,
        "<button type=\"button\" aria-label=\"{}\" data-request=\"{}\"",
        Escaped(label),
        Escaped(&request)
    )?;
    if let Some(question) = confirm {
        write!(page, " data-confirm=\"{}\"", Escaped(question))?;
    }
    write!(page, ">{title}</button>")
}
