//! The memberships of all pools that discover their backends.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DiscoveryReading, Membership, MembershipChange, Now, QueryCounts, QueryOutcome, SavedBackends,
    SourceState,
};
use crate::config::{DiscoveredPools, Excluded, Name, Pool};

/// The memberships of all pools that discover their backends: a pure state machine without a clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovered {
    pools: BTreeMap<Name, PoolEntry>,
    /// The discovered backends that cannot be used.
    excluded: Vec<Excluded>,
}

#[derive(Clone, Debug, PartialEq)]
struct PoolEntry {
    membership: Membership,
    queries: QueryCounts,
}

/// The state of a pool's discovery, for the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolDiscovery {
    /// The source, such as `DNS name web.internal`.
    pub source: String,
    /// How the source answers.
    pub state: SourceState,
    /// The discovered backends that cannot be used, each with the reason.
    pub excluded: Vec<Excluded>,
}

impl Discovered {
    /// Returns the memberships of these pools when the agent starts, with the backends that an
    /// earlier agent saved.
    #[must_use]
    pub fn new(pools: &[Arc<Pool>], saved: &SavedBackends, now: Now) -> Self {
        Self::build(pools, |pool, membership| {
            let saved = saved.of(&pool.name).iter().cloned();
            let settings = membership.settings().clone();
            PoolEntry::new(Membership::with_saved(settings, saved, now))
        })
    }

    /// Returns the memberships after a reload: `pools` are those of the new file, and `before` the
    /// pools in force. A pool with the same source keeps its membership. Any other pool keeps its
    /// backends until the new source answers, so that a change of the source does not empty it;
    /// backends that are leaving continue to leave.
    #[must_use]
    pub fn reloaded(&self, pools: &[Arc<Pool>], before: &[Arc<Pool>]) -> Self {
        Self::build(pools, |pool, membership| {
            let settings = membership.settings();
            let known = self.pools.get(&pool.name);
            let same = |entry: &&PoolEntry| entry.membership.settings().source == settings.source;
            if let Some(entry) = known.filter(same) {
                let membership = entry.membership.clone().with_settings(settings.clone());
                return PoolEntry {
                    membership,
                    queries: entry.queries,
                };
            }
            if let Some(entry) = known {
                let membership = entry.membership.clone();
                return PoolEntry::new(membership.with_source(settings.clone()));
            }
            let old = before.iter().find(|old| old.name == pool.name);
            let old = old.into_iter().flat_map(|old| &old.backends);
            let old = old.map(Into::into);
            PoolEntry::new(Membership::with_listed(settings.clone(), old))
        })
    }

    fn build(pools: &[Arc<Pool>], entry: impl Fn(&Pool, Membership) -> PoolEntry) -> Self {
        let discovering = pools.iter().filter_map(|pool| {
            let settings = pool.discover.clone()?;
            Some((pool.name.clone(), entry(pool, Membership::new(settings))))
        });
        Self {
            pools: discovering.collect(),
            excluded: Vec::new(),
        }
    }

    /// Applies the outcome of a query. Returns what it changes. An outcome of a source that the
    /// pool no longer has is ignored.
    pub fn apply(&mut self, outcome: QueryOutcome, now: Now) -> Vec<MembershipChange> {
        let Some(entry) = self.pools.get_mut(&outcome.pool) else {
            return Vec::new();
        };
        if entry.membership.settings().source != outcome.source {
            return Vec::new();
        }
        entry.queries.count(&outcome.result);
        entry.membership.apply(outcome.result, now)
    }

    /// Removes the backends whose drain time has passed from each pool for which `is_served`
    /// returns true, which means that the pool has a backend that is up and not leaving. Returns
    /// each removal with its pool.
    pub fn expire(
        &mut self,
        now: Now,
        is_served: impl Fn(&Name) -> bool,
    ) -> Vec<(Name, MembershipChange)> {
        let pools = self.pools.iter_mut();
        let changes = pools.flat_map(|(pool, entry)| {
            let changes = entry.membership.expire(now, is_served(pool)).into_iter();
            changes.map(|change| (pool.clone(), change))
        });
        changes.collect()
    }

    /// Returns the backends of each pool.
    #[must_use]
    pub fn backends(&self) -> DiscoveredPools {
        let pools = self.pools.iter();
        let pools = pools.map(|(pool, entry)| (pool.clone(), entry.membership.backends()));
        pools.collect()
    }

    /// Returns the source of a pool in words, such as `DNS name web.internal`; `None` if the pool
    /// does not discover its backends.
    #[must_use]
    pub fn source_of(&self, pool: &Name) -> Option<String> {
        let entry = self.pools.get(pool)?;
        Some(entry.membership.settings().source.to_string())
    }

    /// Replaces the set of excluded backends. Returns those that were not excluded before.
    pub fn set_excluded(&mut self, excluded: Vec<Excluded>) -> Vec<Excluded> {
        let new = excluded.iter().filter(|one| !self.excluded.contains(one));
        let new = new.cloned().collect();
        self.excluded = excluded;
        new
    }

    /// Whether any discovered backend cannot be used.
    #[must_use]
    pub fn has_excluded(&self) -> bool {
        !self.excluded.is_empty()
    }

    /// Returns the backends to be saved for the next agent.
    #[must_use]
    pub fn saved(&self) -> SavedBackends {
        let mut saved = SavedBackends::default();
        for (pool, entry) in &self.pools {
            let membership = &entry.membership;
            saved.add(
                pool.clone(),
                &membership.settings().source,
                membership.saved(),
            );
        }
        saved
    }

    /// Returns the state of a pool's discovery; `None` if the pool does not discover its backends.
    #[must_use]
    pub fn status(&self, pool: &Name) -> Option<PoolDiscovery> {
        let entry = self.pools.get(pool)?;
        let excluded = self.excluded.iter().filter(|one| one.pool == *pool);
        Some(PoolDiscovery {
            source: entry.membership.settings().source.to_string(),
            state: entry.membership.source().clone(),
            excluded: excluded.cloned().collect(),
        })
    }

    /// Returns the readings of all pools for the metrics.
    #[must_use]
    pub fn readings(&self) -> Vec<DiscoveryReading> {
        let readings = self.pools.iter().map(|(pool, entry)| {
            let backends = entry.membership.backends();
            let leaving = backends.iter().filter(|backend| backend.leaving).count();
            DiscoveryReading {
                pool: pool.clone(),
                backends: backends.len() - leaving,
                leaving,
                excluded: self.excluded.iter().filter(|one| one.pool == *pool).count(),
                source: entry.membership.source().clone(),
                queries: entry.queries,
            }
        });
        readings.collect()
    }
}

impl PoolEntry {
    fn new(membership: Membership) -> Self {
        Self {
            membership,
            queries: QueryCounts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{
        super::{Answer, ListedBackend},
        *,
    };
    use crate::config::Config;

    const FILE: &str = r#"
        [node]
        name = "lb-a"
        interface = "lo"
        [[pool]]
        name = "web"
        POOL
        [[pool]]
        name = "app"
        backends = ["10.0.1.1:80"]
        [[service]]
        name = "web"
        listen = "127.0.0.1:80"
        mode = "http"
        pool = "web"
        [[service]]
        name = "app"
        listen = "127.0.0.1:81"
        mode = "http"
        pool = "app"
    "#;

    fn config(pool: &str) -> Config {
        let parsed = Config::parse(Path::new("lb.toml"), &FILE.replace("POOL", pool));
        parsed.unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn web() -> Name {
        Name::parse("web").expect("a name")
    }

    fn outcome(config: &Config, octets: &[u8]) -> QueryOutcome {
        let discover = config.pools[0].discover.as_ref().expect("it discovers");
        let address = |octet: &u8| ([10, 0, 0, *octet], 80).into();
        QueryOutcome {
            pool: web(),
            source: discover.source.clone(),
            result: Ok(Answer {
                backends: octets.iter().map(address).map(ListedBackend::at).collect(),
                valid_for: None,
            }),
        }
    }

    fn addresses(discovered: &Discovered) -> Vec<String> {
        let backends = &discovered.backends()[&web()];
        backends.iter().map(|one| one.address.to_string()).collect()
    }

    #[test]
    fn only_pools_that_discover_have_a_membership() {
        let config = config("[pool.discover]\nfile = \"/a\"");
        let mut discovered = Discovered::new(&config.pools, &SavedBackends::default(), Now::read());
        assert_eq!(discovered.backends().len(), 1);
        discovered.apply(outcome(&config, &[6]), Now::read());
        assert_eq!(addresses(&discovered), ["10.0.0.6:80"]);
        let app = Name::parse("app").expect("a name");
        assert_eq!(discovered.status(&app), None);
        assert_eq!(discovered.source_of(&web()).as_deref(), Some("file /a"));
    }

    #[test]
    fn a_reload_keeps_what_the_same_source_had_and_ignores_answers_of_the_old_one() {
        let old = config("[pool.discover]\nfile = \"/a\"");
        let mut discovered = Discovered::new(&old.pools, &SavedBackends::default(), Now::read());
        discovered.apply(outcome(&old, &[6, 7]), Now::read());
        let in_force = old.with_discovered(&discovered.backends()).config;

        let slower = config("[pool.discover]\nfile = \"/a\"\ninterval = \"5s\"\ndrain = \"0s\"");
        let mut reloaded = discovered.reloaded(&slower.pools, &in_force.pools);
        assert_eq!(reloaded.backends(), discovered.backends());
        let changes = reloaded.apply(outcome(&slower, &[6]), Now::read());
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(
            reloaded.expire(Now::read(), |_| true).len(),
            1,
            "the new drain time applies"
        );

        let other = config("[pool.discover]\nfile = \"/b\"");
        let mut reloaded = discovered.reloaded(&other.pools, &in_force.pools);
        assert_eq!(
            reloaded.backends(),
            discovered.backends(),
            "until the new source answers"
        );
        assert_eq!(reloaded.apply(outcome(&old, &[8]), Now::read()), []);
        reloaded.apply(outcome(&other, &[6, 8]), Now::read());
        let backends = &reloaded.backends()[&web()];
        let leaving: Vec<_> = backends.iter().map(|backend| backend.leaving).collect();
        assert_eq!(leaving, [false, true, false], "7 is drained: {backends:?}");
    }

    #[test]
    fn a_pool_that_begins_to_discover_keeps_its_backends_until_the_source_answers() {
        let listed = config("backends = [\"10.0.0.6:80\"]");
        let discovered = Discovered::new(&listed.pools, &SavedBackends::default(), Now::read());
        let new = config("[pool.discover]\nfile = \"/a\"");
        let discovered = discovered.reloaded(&new.pools, &listed.pools);
        assert_eq!(addresses(&discovered), ["10.0.0.6:80"]);
        assert_eq!(discovered.saved().of(&web()).len(), 1);
    }

    #[test]
    fn an_excluded_backend_is_new_once() {
        let config = config("[pool.discover]\nfile = \"/a\"");
        let mut discovered = Discovered::new(&config.pools, &SavedBackends::default(), Now::read());
        let excluded = || {
            vec![Excluded {
                pool: web(),
                address: ([10, 0, 0, 6], 80).into(),
                reason: crate::config::Exclusion::TooMany,
            }]
        };
        assert_eq!(discovered.set_excluded(excluded()), excluded());
        assert_eq!(discovered.set_excluded(excluded()), []);
        assert_eq!(
            discovered.status(&web()).expect("it discovers").excluded,
            excluded()
        );
        assert_eq!(discovered.readings()[0].excluded, 1);
        discovered.set_excluded(Vec::new());
        assert!(!discovered.has_excluded());
    }
}
