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
    balance::{Chance, mix},
    counters::ServiceCounters,
    gate::{Place, Slot},
    observed::{Observed, ejected},
    request_hash::request_hash,
    retry_budget::{Allowance, RetryBudget},
    routing,
    selection::Selection,
    shares::Shares,
    targets::{Candidate, Limiter, Targets},
    upstream::{Member, Upstreams},
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
    pub(super) shares: Shares,
}

/// What there is for a request.
#[derive(Debug)]
pub(super) enum Choice {
    /// A backend, and a slot of it where the pool limits requests.
    Backend(Rc<Member>, Option<Slot>),
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
    targets: RefCell<Targets>,
    shares: RefCell<Shares>,
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
            shares,
        } = plan;
        let view = Arc::clone(&feed.borrow_and_update());
        let targets = Targets::new(view, (upstreams, counters), &shares);
        let pool = Rc::new(Self {
            name,
            counters: Arc::clone(counters),
            upstreams: Rc::clone(upstreams),
            feed: RefCell::new(feed),
            targets: RefCell::new(targets),
            shares: RefCell::new(shares),
            budget: RefCell::new(RetryBudget::new(Instant::now())),
            random: Cell::new(mix(seed)),
        });
        pool.follow();
        pool
    }

    /// Takes another plan, from the next request on.
    pub(super) fn update(self: &Rc<Self>, plan: PoolPlan) {
        let feed = plan.feed;
        *self.shares.borrow_mut() = plan.shares;
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
            let shares = self.shares.borrow();
            let worker = (&*self.upstreams, &*self.counters);
            self.targets.borrow_mut().update(view, worker, &shares);
            // Those who wait may find another backend, or none.
            if let Some(gate) = &shares.gate {
                gate.wake_all();
            }
        }
    }

    /// The service does not use the pool any more. Requests under way may still try its backends.
    pub(super) fn drop_idle(&self) {
        for member in &self.targets.borrow().members {
            member.upstream.drop_idle();
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
                .targets
                .borrow()
                .view
                .pool
                .per_request
                .retry_budget
                .share,
            per_second: self.shares.borrow().retries_per_second,
        };
        self.budget.borrow_mut().retry(allowance, now)
    }

    /// How many other backends a request may be sent to.
    pub(super) fn retries(&self) -> u8 {
        self.targets.borrow().view.pool.retries
    }

    /// Waits for what a backend does, unless it goes down while another one takes new requests.
    pub(super) async fn unless_down<T>(
        &self,
        member: &Member,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (mut down, mut work) = (pin!(member.is_down()), pin!(work));
        // With nobody else to ask, the backend may still come to it.
        let mut alone = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            if !alone && down.as_mut().poll(context).is_ready() {
                if self.has_another(member) {
                    return Poll::Ready(None);
                }
                alone = true;
            }
            Poll::Pending
        })
        .await
    }

    fn has_another(&self, member: &Member) -> bool {
        let targets = self.targets.borrow();
        let mut others = targets.members.iter();
        others.any(|other| other.up.get() && !Rc::ptr_eq(&other.upstream, &member.upstream))
    }

    /// What the choice of a backend for a request depends on.
    pub(super) fn selection(&self, request: &routing::Request<'_>) -> Selection {
        let targets = self.targets.borrow();
        let sessions = targets.sessions.as_ref();
        let hash_by = targets.view.pool.per_request.hash_by.as_ref();
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
        tried: &[Rc<Member>],
        place: Option<&Place>,
    ) -> Choice {
        self.look(false);
        let mut targets = self.targets.borrow_mut();
        let limiter = targets.limiter.as_ref();
        if place.is_none() && limiter.is_some_and(|limiter| !limiter.gate.is_open()) {
            return Choice::Full;
        }
        targets.warm_up();
        loop {
            let random = mix(self.random.get());
            self.random.set(random);
            let chance = Chance {
                client,
                request: selection.hash,
                random,
            };
            let number = match targets.candidate(selection, chance, tried) {
                Candidate::Number(number) => number,
                Candidate::Full => return Choice::Full,
                Candidate::None => return Choice::None,
            };
            let slot = match &targets.limiter {
                None => None,
                Some(limiter) => match limiter.take(number) {
                    Some(slot) => Some(slot),
                    // Another worker was faster.
                    None => continue,
                },
            };
            if let (Some(sessions), Some(session)) = (&targets.sessions, &selection.session) {
                sessions.gave(session, number);
            }
            return Choice::Backend(Rc::clone(&targets.members[number]), slot);
        }
    }

    /// Takes in how a backend did with a request.
    pub(super) fn observe(&self, member: &Member, observed: Observed) {
        let record = member.record.borrow();
        let Some(record) = &*record else {
            return;
        };
        let (targets, shares) = (self.targets.borrow(), self.shares.borrow());
        let rules = targets.view.pool.per_request.outlier.as_ref();
        let (Some(rules), Some(outliers)) = (rules, &shares.outliers) else {
            return;
        };
        match observed.is_failure(rules) {
            None => {}
            Some(false) => record.succeeded(),
            Some(true) => {
                let members = targets.members.iter();
                let pool = || {
                    let states = members.filter_map(|member| {
                        let record = member.record.borrow().clone()?;
                        Some((record, member.up.get()))
                    });
                    states.collect()
                };
                let ejection = outliers.failed(record, rules, pool, Instant::now());
                if let Some(ejection) = ejection {
                    ejected(&self.name, member, ejection, shares.gate.clone());
                }
            }
        }
    }

    /// A place in the queue, whether it is the first, and how long it is held; `None`: the queue is
    /// full.
    pub(super) fn join_queue(&self) -> Option<((Place, bool), Duration)> {
        let targets = self.targets.borrow();
        let Limiter { gate, limit, .. } = targets.limiter.as_ref()?;
        Some((gate.join(limit.queue_size)?, limit.queue_timeout))
    }
}
