//! Asks the sources of pools for their backends, in one task for each pool.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Answer, Schedule, Source, SourceError};
use crate::config::{Discover, DiscoverySource, Name, Pool};

/// Maximum number of outcomes of queries that wait for the agent to take them. At this number,
/// further queries wait.
const WAITING_OUTCOMES: usize = 64;

/// Time limit for one query of a source.
const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// The outcome of a query of a pool's source.
#[derive(Clone, Debug)]
pub struct QueryOutcome {
    /// The name of the pool.
    pub pool: Name,
    /// The source that was asked. A reload may have given the pool another one since.
    pub source: DiscoverySource,
    /// What the source answered, or why it could not be asked.
    pub result: Result<Answer, SourceError>,
}

/// The running queries. Dropping this value stops them.
#[derive(Debug)]
pub struct Queries {
    running: HashMap<Name, Running>,
    outcomes: mpsc::Sender<QueryOutcome>,
}

#[derive(Debug)]
struct Running {
    settings: Discover,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Queries {
    /// Creates a set of queries, which is empty, and the receiver of their outcomes.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<QueryOutcome>) {
        let (outcomes, receiver) = mpsc::channel(WAITING_OUTCOMES);
        let queries = Self {
            running: HashMap::new(),
            outcomes,
        };
        (queries, receiver)
    }

    /// Asks the sources of these pools from now on, and no others. A pool whose settings are
    /// unchanged keeps its schedule; the source of any other pool is asked immediately. Must be
    /// called within a tokio runtime.
    pub fn apply(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.running);
        for pool in pools {
            let Some(settings) = &pool.discover else {
                continue;
            };
            let kept = before.remove(&pool.name);
            let kept = kept.filter(|running| running.settings == *settings);
            let running = kept.unwrap_or_else(|| self.start(&pool.name, settings));
            self.running.insert(pool.name.clone(), running);
        }
    }

    fn start(&self, pool: &Name, settings: &Discover) -> Running {
        let (pool, outcomes) = (pool.clone(), self.outcomes.clone());
        let task = tokio::spawn(query_for_ever(pool, settings.clone(), outcomes));
        Running {
            settings: settings.clone(),
            task,
        }
    }
}

async fn query_for_ever(pool: Name, settings: Discover, outcomes: mpsc::Sender<QueryOutcome>) {
    let mut source = Source::new(&settings.source);
    let mut schedule = Schedule::new(settings.interval);
    loop {
        let result = timeout(QUERY_LIMIT, source.query()).await;
        let result = result.unwrap_or_else(|_elapsed| {
            Err(SourceError(format!(
                "{} did not answer within {} s; it is asked again",
                settings.source,
                QUERY_LIMIT.as_secs()
            )))
        });
        let wait = schedule.after(&result);
        let outcome = QueryOutcome {
            pool: pool.clone(),
            source: settings.source.clone(),
            result,
        };
        if outcomes.send(outcome).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}
