//! Logs changes of the states of backends and pools.

use lb_common::backend::BackendState;

use crate::{
    config::Name,
    pool::{AllDown, Change, state_name},
};

/// Logs a change of a backend's state, and what it means for the pool.
pub(super) fn change(change: &Change, reason: &str) {
    let (pool, backend) = (&change.view.pool.name, &change.backend);
    if change.from != change.to {
        state(change, reason);
    }
    let was_last = change.from == BackendState::Up || change.from == change.to;
    match change.view.all_down().filter(|_| was_last) {
        Some(all_down) => pool_down(pool, all_down),
        None if is_first_up(change) => tracing::info!(
            %pool, %backend, event = "pool_restored", "the pool has a backend that is up again"
        ),
        None => {}
    }
}

/// Logs that no backend of a pool is up, and what happens to new connections.
pub(super) fn pool_down(pool: &Name, all_down: AllDown) {
    let new_connections = match all_down {
        AllDown::Trying => "tried on all of them",
        AllDown::Refusing => "refused",
    };
    tracing::error!(
        %pool, new_connections, event = "pool_down", "no backend of the pool is up"
    );
}

fn state(change: &Change, reason: &str) {
    let (pool, backend) = (&change.view.pool.name, &change.backend);
    let (from, to) = (state_name(change.from), state_name(change.to));
    match change.to {
        BackendState::Down => {
            tracing::warn!(
                %pool, %backend, from, to, reason, event = "backend_down", "backend state changed"
            );
        }
        BackendState::Draining => tracing::info!(
            %pool, %backend, from, to, reason, event = "backend_draining", "backend state changed"
        ),
        BackendState::Up => tracing::info!(
            %pool, %backend, from, to, reason, event = "backend_up", "backend state changed"
        ),
    }
}

/// Returns whether this change brought up a backend that is now the only one of its pool that is
/// up.
fn is_first_up(change: &Change) -> bool {
    let up = change.view.states.iter();
    change.to == BackendState::Up && up.filter(|state| **state == BackendState::Up).count() == 1
}
