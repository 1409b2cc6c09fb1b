//! A pool of one service, as one worker uses it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::spawn_local};

use super::{
    admission_control::{Permit, QueuePlace},
    backend_set::{BackendSet, Candidate, Limiter},
    balance::{ChoiceInput, mix},
    counters::ServiceCounters,
    observation::{Observation, ejected},
    request_hash::request_hash,
    retry_budget::{Allowance, RetryBudget},
    routing,
    selection::Selection,
    shared_pools::SharedPool,
    upstream::{PoolBackend, Upstreams},
};
use crate::{config::Name, pool::PoolView};

/// A pool that a service is to be served from.
#[derive(Clone, Debug)]
pub(super) struct PoolPlan {
    /// The name of the pool.
    pub(super) name: Name,
    /// Receives snapshots of the pool: its configuration and the states of its backends.
    pub(super) feed: watch::Receiver<Arc<PoolView>>,
    /// The state of the pool that other workers and services share.
    pub(super) shared: SharedPool,
}

/// The outcome of choosing a backend for a request.
#[derive(Debug)]
pub(super) enum Choice {
    /// The chosen backend, and a permit if the pool limits requests in flight.
    Backend(Rc<PoolBackend>, Option<Permit>),
    /// All eligible backends are at their limit of requests in flight, or earlier requests are
    /// queued.
    Full,
    /// No backend of the pool is available.
    None,
}

/// The state of a pool in one worker for one service. It is updated in place, so that requests in
/// flight see the current state of their backends.
#[derive(Debug)]
pub(super) struct ServedPool {
    /// The name of the pool.
    pub(super) name: Name,
    counters: Arc<ServiceCounters>,
    upstreams: Rc<Upstreams>,
    feed: RefCell<watch::Receiver<Arc<PoolView>>>,
    backends: RefCell<BackendSet>,
    shared: RefCell<SharedPool>,
    budget: RefCell<RetryBudget>,
    random: Cell<u64>,
}

impl ServedPool {
    /// Creates the pool. A task applies each new snapshot of the pool as soon as it is published,
    /// so that idle connections to a backend that is no longer in use are closed immediately.
    pub(super) fn new(
        plan: PoolPlan,
        counters: &Arc<ServiceCounters>,
        (upstreams, seed): (&Rc<Upstreams>, u64),
    ) -> Rc<Self> {
        let PoolPlan {
            name,
            mut feed,
            shared,
        } = plan;
        let view = Arc::clone(&feed.borrow_and_update());
        let backends = BackendSet::new(view, (upstreams, counters), &shared);
        let pool = Rc::new(Self {
            name,
            counters: Arc::clone(counters),
            upstreams: Rc::clone(upstreams),
            feed: RefCell::new(feed),
            backends: RefCell::new(backends),
            shared: RefCell::new(shared),
            budget: RefCell::new(RetryBudget::new(Instant::now())),
            random: Cell::new(mix(seed)),
        });
        pool.spawn_follower();
        pool
    }

    /// Replaces the channel that delivers snapshots of the pool, and the state that the pool shares
    /// with other workers and services, by those of `plan`. They apply from the next request on.
    pub(super) fn update(self: &Rc<Self>, plan: PoolPlan) {
        let feed = plan.feed;
        *self.shared.borrow_mut() = plan.shared;
        let is_same = self.feed.borrow().same_channel(&feed);
        *self.feed.borrow_mut() = feed;
        self.apply_view(true);
        if !is_same {
            self.spawn_follower();
        }
    }

    /// Starts a task that applies each snapshot of the pool that its channel (`feed`) delivers. The
    /// task ends when the pool or the channel's sender is dropped, or when the pool uses another
    /// channel.
    fn spawn_follower(self: &Rc<Self>) {
        let mut feed = self.feed.borrow().clone();
        let pool = Rc::downgrade(self);
        spawn_local(async move {
            while feed.changed().await.is_ok() {
                match pool.upgrade() {
                    Some(pool) if pool.feed.borrow().same_channel(&feed) => pool.apply_view(false),
                    _ => return,
                }
            }
        });
    }

    /// Applies the latest snapshot of the pool if it has not been applied yet, or in any case if
    /// `anyway` is true.
    fn apply_view(&self, anyway: bool) {
        let mut feed = self.feed.borrow_mut();
        if anyway || feed.has_changed().unwrap_or(false) {
            let view = Arc::clone(&feed.borrow_and_update());
            drop(feed);
            let shared = self.shared.borrow();
            let worker = (&*self.upstreams, &*self.counters);
            self.backends.borrow_mut().update(view, worker, &shared);
            // Queued requests are woken, because they may find another backend now, or none.
            if let Some(admission) = &shared.admission {
                admission.wake_all();
            }
        }
    }

    /// Closes idle connections to the pool's backends, because the service no longer uses the pool.
    /// Requests in flight may still be retried at these backends.
    pub(super) fn drop_idle(&self) {
        for backend in &self.backends.borrow().members {
            backend.upstream.drop_idle();
        }
    }

    /// Counts, for the retry budget, a request that began at `began`.
    pub(super) fn count_request(&self, began: Instant) {
        self.budget.borrow_mut().request(began);
    }

    /// Returns whether the retry budget allows a retry at the time `now`; if so, counts it.
    pub(super) fn may_retry(&self, now: Instant) -> bool {
        let allowance = Allowance {
            share: self
                .backends
                .borrow()
                .view
                .pool
                .per_request
                .retry_budget
                .share,
            per_second: self.shared.borrow().retries_per_second,
        };
        self.budget.borrow_mut().retry(allowance, now)
    }

    /// Returns how often a request to this pool may be retried.
    pub(super) fn retries(&self) -> u8 {
        self.backends.borrow().view.pool.retries
    }

    /// Runs `work` and returns its result; returns `None` if the backend goes down first while
    /// another backend takes requests.
    pub(super) async fn unless_down<T>(
        &self,
        backend: &PoolBackend,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (mut down, mut work) = (pin!(backend.is_down()), pin!(work));
        // While no other backend takes requests, this backend is waited for even if it goes down.
        let mut alone = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            if !alone && down.as_mut().poll(context).is_ready() {
                if self.has_another(backend) {
                    return Poll::Ready(None);
                }
                alone = true;
            }
            Poll::Pending
        })
        .await
    }

    fn has_another(&self, backend: &PoolBackend) -> bool {
        let backends = self.backends.borrow();
        let mut others = backends.members.iter();
        others.any(|other| other.up.get() && !Rc::ptr_eq(&other.upstream, &backend.upstream))
    }

    /// Returns the inputs for choosing a backend for this request.
    pub(super) fn selection(&self, request: &routing::Request<'_>) -> Selection {
        let backends = self.backends.borrow();
        let sessions = backends.sessions.as_ref();
        let hash_by = backends.view.pool.per_request.hash_by.as_ref();
        Selection {
            session: sessions.map(|sessions| sessions.session(request.fields, request.https)),
            hash: hash_by.and_then(|by| request_hash(by, request)),
        }
    }

    /// Chooses a backend for a client's request, not one of `tried`: the backend of its sticky
    /// session, or else one by the pool's algorithm. A backend that was unreachable a moment ago is
    /// chosen only if there is no other; a backup only if all other backends are down, ejected or
    /// tried; an ejected backend only if there is no backup either.
    pub(super) fn choose(
        &self,
        (client, selection): (u64, &Selection),
        tried: &[Rc<PoolBackend>],
        place: Option<&QueuePlace>,
    ) -> Choice {
        self.apply_view(false);
        let mut backends = self.backends.borrow_mut();
        let limiter = backends.limiter.as_ref();
        if place.is_none() && limiter.is_some_and(|limiter| !limiter.admission.queue_is_empty()) {
            return Choice::Full;
        }
        backends.warm_up();
        loop {
            let random = mix(self.random.get());
            self.random.set(random);
            let input = ChoiceInput {
                client,
                request: selection.hash,
                random,
            };
            let number = match backends.candidate(selection, input, tried) {
                Candidate::Number(number) => number,
                Candidate::Full => return Choice::Full,
                Candidate::None => return Choice::None,
            };
            let permit = match &backends.limiter {
                None => None,
                Some(limiter) => match limiter.try_acquire(number) {
                    Some(permit) => Some(permit),
                    // A request of another worker has acquired the last permit meanwhile, so
                    // another backend is chosen.
                    None => continue,
                },
            };
            if let (Some(sessions), Some(session)) = (&backends.sessions, &selection.session) {
                sessions.assign(session, number);
            }
            return Choice::Backend(Rc::clone(&backends.members[number]), permit);
        }
    }

    /// Records the result of a request at a backend, and ejects the backend if it has failed too
    /// many requests.
    pub(super) fn observe(&self, backend: &PoolBackend, observation: Observation) {
        let record = backend.record.borrow();
        let Some(record) = &*record else {
            return;
        };
        let (backends, shared) = (self.backends.borrow(), self.shared.borrow());
        let rules = backends.view.pool.per_request.outlier.as_ref();
        let (Some(rules), Some(outliers)) = (rules, &shared.outliers) else {
            return;
        };
        match observation.is_failure(rules) {
            None => {}
            Some(false) => record.succeeded(),
            Some(true) => {
                let members = backends.members.iter();
                let pool = || {
                    let states = members.filter_map(|backend| {
                        let record = backend.record.borrow().clone()?;
                        Some((record, backend.up.get()))
                    });
                    states.collect()
                };
                let ejection = outliers.failed(record, rules, pool, Instant::now());
                if let Some(ejection) = ejection {
                    ejected(&self.name, backend, ejection, shared.admission.clone());
                }
            }
        }
    }

    /// Enqueues a request. Returns its place in the queue, whether it is the first there, and how
    /// long it may wait; `None` if the queue is full.
    pub(super) fn join_queue(&self) -> Option<((QueuePlace, bool), Duration)> {
        let backends = self.backends.borrow();
        let Limiter {
            admission, limit, ..
        } = backends.limiter.as_ref()?;
        Some((admission.enqueue(limit.queue_size)?, limit.queue_timeout))
    }
}
