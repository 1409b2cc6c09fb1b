//! Tracks whether a pool has enough healthy backends.

use std::sync::Arc;

use lb_common::backend::BackendState;
use tokio::sync::watch;

use super::{Look, Report, Reports, What};
use crate::pool::PoolView;

/// Reports whether the pool has enough healthy backends, immediately and after each change, while
/// the pool exists.
pub(super) async fn follow(
    what: What,
    mut view: watch::Receiver<Arc<PoolView>>,
    wanted: u32,
    reports: Reports,
) {
    loop {
        let report = judge(&what, &view.borrow_and_update(), wanted);
        if reports.send(report).is_err() || view.changed().await.is_err() {
            return;
        }
    }
}

fn judge(what: &What, view: &PoolView, wanted: u32) -> Report {
    // Healthy backends that are leaving the pool count while they serve because no other is up.
    let states = match view.all_down() {
        None => view.taken_states(),
        Some(_) => view.states.clone(),
    };
    let healthy = states.iter().filter(|state| **state == BackendState::Up);
    let healthy = healthy.count();
    let well = u32::try_from(healthy).is_ok_and(|healthy| healthy >= wanted);
    let all = view.states.len();
    let message = format!("backends up: {healthy} of {all}, at least {wanted} needed");
    Report {
        what: what.clone(),
        well,
        look: if well { Look::Succeeded } else { Look::Failed },
        message,
    }
}
