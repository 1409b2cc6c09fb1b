//! The channels by which the agent publishes the state of pools to the HTTP front: one `watch`
//! channel for each pool, which keeps only the newest view of the pool.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    config::{Config, Ha, Mode, Name},
    pool::{BackendRegistry, PoolView},
    proxy::Frontend,
};

/// The senders of the channels that publish the views of pools (the backends of a pool with their
/// states), by pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds(HashMap<Name, Arc<watch::Sender<Arc<PoolView>>>>);

impl Feeds {
    /// Returns the feeds for a new registry. A pool that still exists keeps its channel, which has
    /// the old view until [`Self::send_all`] is called: so a reload that fails half-way has changed
    /// nothing.
    pub(super) fn renewed(&self, registry: &BackendRegistry) -> Self {
        let feeds = registry.views().map(|view| {
            let name = view.pool.name.clone();
            let feed = self.0.get(&name).cloned();
            let feed = feed.unwrap_or_else(|| Arc::new(watch::Sender::new(Arc::clone(view))));
            (name, feed)
        });
        Self(feeds.collect())
    }

    /// Returns a receiver of the views of a pool (its backends with their states); `None` if there
    /// is no such pool.
    pub(super) fn subscribe(&self, pool: &Name) -> Option<watch::Receiver<Arc<PoolView>>> {
        self.0.get(pool).map(|feed| feed.subscribe())
    }

    /// Returns the services that the HTTP front serves, each with the receivers by which it learns
    /// the states of its pools' backends.
    pub(super) fn frontends(&self, config: &Config) -> Vec<Frontend> {
        let by_agent = config.services.iter().filter(|service| match service.mode {
            Mode::Http | Mode::Https { .. } => true,
            Mode::Tcp { .. } => false,
        });
        let moving = config.ha.as_ref().map(Ha::moving_addresses);
        let moving = moving.unwrap_or_default();
        let frontends = by_agent.filter_map(|service| {
            let pools = service.pools().into_iter().map(|pool| {
                let feed = self.0.get(&pool.name)?;
                Some((pool.name.clone(), feed.subscribe()))
            });
            Some(Frontend {
                service: service.clone(),
                moves: moving.contains(&service.listen.ip()),
                pools: pools.collect::<Option<_>>()?,
            })
        });
        frontends.collect()
    }

    /// Publishes the current view of one pool (its backends with their states) to the HTTP front.
    pub(super) fn send(&self, view: &Arc<PoolView>) {
        if let Some(feed) = self.0.get(&view.pool.name) {
            feed.send_replace(Arc::clone(view));
        }
    }

    /// Publishes the current view of every pool (its backends with their states) to the HTTP front.
    pub(super) fn send_all(&self, registry: &BackendRegistry) {
        for view in registry.views() {
            self.send(view);
        }
    }
}
