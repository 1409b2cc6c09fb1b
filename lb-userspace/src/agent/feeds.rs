//! The pools as the HTTP front sees them: one channel a pool, of which only the newest view counts.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    config::{Config, Ha, Mode, Name},
    pool::{BackendRegistry, PoolView},
    proxy::Frontend,
};

/// The sending ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds(HashMap<Name, Arc<watch::Sender<Arc<PoolView>>>>);

impl Feeds {
    /// The feeds of another registry. A pool that stays keeps its channel, and what it shows until
    /// [`Self::send_all`]: so a reload that fails half-way changed nothing.
    pub(super) fn renewed(&self, registry: &BackendRegistry) -> Self {
        let feeds = registry.views().map(|view| {
            let name = view.pool.name.clone();
            let feed = self.0.get(&name).cloned();
            let feed = feed.unwrap_or_else(|| Arc::new(watch::Sender::new(Arc::clone(view))));
            (name, feed)
        });
        Self(feeds.collect())
    }

    /// The feed of a pool.
    pub(super) fn subscribe(&self, pool: &Name) -> Option<watch::Receiver<Arc<PoolView>>> {
        self.0.get(pool).map(|feed| feed.subscribe())
    }

    /// The services that the HTTP front serves, each with its feed.
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

    /// Shows one pool as it is now.
    pub(super) fn send(&self, view: &Arc<PoolView>) {
        if let Some(feed) = self.0.get(&view.pool.name) {
            feed.send_replace(Arc::clone(view));
        }
    }

    /// Shows every pool as it is now.
    pub(super) fn send_all(&self, registry: &BackendRegistry) {
        for view in registry.views() {
            self.send(view);
        }
    }
}
