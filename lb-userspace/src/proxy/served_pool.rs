//! A pool as one worker serves one service from it.

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

/// A pool that is to be served.
#[derive(Clone, Debug)]
pub(super) struct PoolPlan {
    /// Its name.
    pub(super) name: Name,
    /// Its views.
    pub(super) feed: watch::Receiver<Arc<PoolView>>,
    /// What other workers and services have of it too.
    pub(super) shared: SharedPool,
}

/// What there is for a request.
#[derive(Debug)]
pub(super) enum Choice {
    /// A backend, and a permit of it where the pool limits requests.
    Backend(Rc<PoolBackend>, Option<Permit>),
    /// Backends that have as many requests as they may have, or requests that came before.
    Full,
    /// No backend.
    None,
}

/// A pool as one worker serves one service from it. It changes in place, so that requests under way
/// see what became of their backends.
#[derive(Debug)]
pub(super) struct ServedPool {
    /// The pool.
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
    /// A pool with its plan. It looks at the feed of views whenever that changes, so that idle
    /// connections to a backend that is out are closed at once.
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
        pool.follow();
        pool
    }

    /// Takes another plan, from the next request on.
    pub(super) fn update(self: &Rc<Self>, plan: PoolPlan) {
        let feed = plan.feed;
        *self.shared.borrow_mut() = plan.shared;
        let is_same = self.feed.borrow().same_channel(&feed);
        *self.feed.borrow_mut() = feed;
        self.look(true);
        if !is_same {
            self.follow();
        }
    }

    /// Ends with the pool, with the feed's sender, and with a newer feed.
    fn follow(self: &Rc<Self>) {
        let mut feed = self.feed.borrow().clone();
        let pool = Rc::downgrade(self);
        spawn_local(async move {
            while feed.changed().await.is_ok() {
                match pool.upgrade() {
                    Some(pool) if pool.feed.borrow().same_channel(&feed) => pool.look(false),
                    _ => return,
                }
            }
        });
    }

    /// Takes over what the checks and the operator said about the pool since the last look, or
    /// `anyway`.
    fn look(&self, anyway: bool) {
        let mut feed = self.feed.borrow_mut();
        if anyway || feed.has_changed().unwrap_or(false) {
            let view = Arc::clone(&feed.borrow_and_update());
            drop(feed);
            let shared = self.shared.borrow();
            let worker = (&*self.upstreams, &*self.counters);
            self.backends.borrow_mut().update(view, worker, &shared);
            // Those who wait may find another backend, or none.
            if let Some(admission) = &shared.admission {
                admission.wake_all();
            }
        }
    }

    /// The service does not use the pool any more. Requests under way may still try its backends.
    pub(super) fn drop_idle(&self) {
        for backend in &self.backends.borrow().members {
            backend.upstream.drop_idle();
        }
    }

    /// A request came that began then.
    pub(super) fn count_request(&self, began: Instant) {
        self.budget.borrow_mut().request(began);
    }

    /// Whether a request may be sent again as far as the budget goes, which is then used.
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

    /// How many other backends a request may be sent to.
    pub(super) fn retries(&self) -> u8 {
        self.backends.borrow().view.pool.retries
    }

    /// Waits for what a backend does, unless it goes down while another one takes new requests.
    pub(super) async fn unless_down<T>(
        &self,
        backend: &PoolBackend,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (mut down, mut work) = (pin!(backend.is_down()), pin!(work));
        // With nobody else to ask, the backend may still come to it.
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

    /// What the choice of a backend for a request depends on.
    pub(super) fn selection(&self, request: &routing::Request<'_>) -> Selection {
        let backends = self.backends.borrow();
        let sessions = backends.sessions.as_ref();
        let hash_by = backends.view.pool.per_request.hash_by.as_ref();
        Selection {
            session: sessions.map(|sessions| sessions.session(request.fields, request.https)),
            hash: hash_by.and_then(|by| request_hash(by, request)),
        }
    }

    /// Chooses a backend for a request of a client, not one of `tried`: that of its session, or else
    /// as the pool balances. One that could not be reached a moment ago is taken only where there is
    /// no other, a backup only where all others are down, ejected or were tried, and one that is ejected
    /// only where there is no backup either.
    pub(super) fn choose(
        &self,
        (client, selection): (u64, &Selection),
        tried: &[Rc<PoolBackend>],
        place: Option<&QueuePlace>,
    ) -> Choice {
        self.look(false);
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
                    // Another worker was faster.
                    None => continue,
                },
            };
            if let (Some(sessions), Some(session)) = (&backends.sessions, &selection.session) {
                sessions.gave(session, number);
            }
            return Choice::Backend(Rc::clone(&backends.members[number]), permit);
        }
    }

    /// Takes in how a backend did with a request.
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

    /// A place in the queue, whether it is the first, and how long it is held; `None`: the queue is
    /// full.
    pub(super) fn join_queue(&self) -> Option<((QueuePlace, bool), Duration)> {
        let backends = self.backends.borrow();
        let Limiter {
            admission, limit, ..
        } = backends.limiter.as_ref()?;
        Some((admission.enqueue(limit.queue_size)?, limit.queue_timeout))
    }
}
