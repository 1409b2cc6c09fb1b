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
    balance::{Balancer, Chance, mix},
    counters::ServiceCounters,
    gate::{Gate, Place, Slot, Slots},
    observed::{Observed, ejected},
    request_hash::request_hash,
    retry_budget::{Allowance, RetryBudget},
    routing,
    selection::Selection,
    sessions::Sessions,
    shares::Shares,
    slow_start::{WHOLE, share},
    upstream::{Member, Upstreams},
};
use crate::{
    config::{Name, Pool, RequestLimit},
    pool::PoolView,
};

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

/// The same before a slot was taken.
enum Candidate {
    Number(usize),
    Full,
    None,
}

/// Which backends a request is given to where there are no better ones.
struct Tier {
    /// Those that are ejected, too.
    ejected: bool,
    /// Backups, or else those that are none.
    backup: bool,
    /// Those that were out of reach a moment ago, too.
    avoided: bool,
}

/// The best first. Pools that eject no backends need the second half only.
const TIERS: [Tier; 8] = {
    const fn tier(ejected: bool, backup: bool, avoided: bool) -> Tier {
        Tier {
            ejected,
            backup,
            avoided,
        }
    }
    [
        tier(false, false, false),
        tier(false, false, true),
        tier(false, true, false),
        tier(false, true, true),
        tier(true, false, false),
        tier(true, false, true),
        tier(true, true, false),
        tier(true, true, true),
    ]
};

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

#[derive(Debug)]
struct Targets {
    view: Arc<PoolView>,
    members: Vec<Rc<Member>>,
    balancer: Balancer,
    /// `None`: requests are independent of each other.
    sessions: Option<Rc<Sessions>>,
    /// `None`: requests are not limited.
    limiter: Option<Limiter>,
}

/// The limit of each backend's requests.
#[derive(Debug)]
struct Limiter {
    gate: Arc<Gate>,
    limit: RequestLimit,
    /// For each backend.
    slots: Vec<Arc<Slots>>,
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

impl Limiter {
    fn new(pool: &Pool, gate: Option<&Arc<Gate>>) -> Option<Self> {
        let (limit, gate) = (pool.per_request.limit?, gate?);
        let backends = pool.backends.iter();
        Some(Self {
            slots: backends
                .map(|backend| gate.slots(backend.address))
                .collect(),
            gate: Arc::clone(gate),
            limit,
        })
    }

    fn has_room(&self, backend: usize) -> bool {
        self.slots[backend].has_room(self.limit.per_backend)
    }

    fn take(&self, backend: usize) -> Option<Slot> {
        self.gate.take(&self.slots[backend], self.limit.per_backend)
    }
}

impl Targets {
    fn new(
        view: Arc<PoolView>,
        (upstreams, counters): (&Upstreams, &ServiceCounters),
        shares: &Shares,
    ) -> Self {
        let pool = &view.pool;
        let backends = pool.backends.iter();
        let members: Vec<_> = backends
            .map(|backend| {
                let upstream = upstreams.at(backend.address);
                let counters = counters.backend(&pool.name, &backend.name);
                Rc::new(Member::new(&backend.name, upstream, counters))
            })
            .collect();
        let backends = pool.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| (u32::from(backend.weight.get()), backend.address))
            .collect();
        let balancer = Balancer::new(pool.balance, &backends);
        let targets = Self {
            sessions: Sessions::new(&view.pool, shares.session_key.as_deref()),
            limiter: Limiter::new(&view.pool, shares.gate.as_ref()),
            view,
            members,
            balancer,
        };
        targets.follow(shares);
        targets
    }

    fn update(
        &mut self,
        view: Arc<PoolView>,
        worker: (&Upstreams, &ServiceCounters),
        shares: &Shares,
    ) {
        if *view.pool == *self.view.pool {
            self.sessions = Sessions::new(&view.pool, shares.session_key.as_deref());
            self.limiter = Limiter::new(&view.pool, shares.gate.as_ref());
            self.view = view;
            self.follow(shares);
        } else {
            for member in &self.members {
                member.up.set(false);
                member.upstream.drop_idle();
            }
            *self = Self::new(view, worker, shares);
        }
    }

    /// Gives backends that came up a moment ago their growing share.
    fn warm_up(&mut self) {
        let Some(slow_start) = self.view.pool.per_request.slow_start else {
            return;
        };
        let now = Instant::now();
        let backends = self.members.iter().zip(&self.view.pool.backends);
        for (number, (member, backend)) in backends.enumerate() {
            let share = match member.up_for(now) {
                None => WHOLE,
                Some(up_for) => share(up_for, slow_start),
            };
            let weight = u32::from(backend.weight.get());
            self.balancer.set_share(number, weight, share);
        }
    }

    /// The backend for a request, of those that have room.
    fn candidate(
        &mut self,
        selection: &Selection,
        chance: Chance,
        tried: &[Rc<Member>],
    ) -> Candidate {
        if tried.is_empty()
            && let Some(number) = self.of_session(selection)
        {
            let limiter = self.limiter.as_ref();
            return match limiter.is_none_or(|limiter| limiter.has_room(number)) {
                true => Candidate::Number(number),
                false => Candidate::Full,
            };
        }
        let Self {
            view,
            members,
            balancer,
            limiter,
            ..
        } = self;
        let untried = |number: usize| {
            let upstream = &members[number].upstream;
            members[number].up.get()
                && !tried
                    .iter()
                    .any(|other| Rc::ptr_eq(&other.upstream, upstream))
        };
        let load = |number: usize| members[number].upstream.load();
        // The better ones first: those of a worse kind do not stand in for those that are full.
        let tiers = match view.pool.per_request.outlier {
            Some(_) => &TIERS[..],
            None => &TIERS[TIERS.len() / 2..],
        };
        for tier in tiers {
            let eligible = |number: usize| {
                let member = &members[number];
                untried(number)
                    && view.pool.backends[number].backup == tier.backup
                    && (tier.avoided || !member.upstream.is_avoided())
                    && (tier.ejected || !member.is_ejected())
            };
            let Some(limiter) = limiter else {
                match balancer.choose(eligible, load, chance) {
                    Some(number) => return Candidate::Number(number),
                    None => continue,
                }
            };
            let roomy = |number: usize| eligible(number) && limiter.has_room(number);
            if let Some(number) = balancer.choose(roomy, load, chance) {
                return Candidate::Number(number);
            }
            if (0..members.len()).any(eligible) {
                return Candidate::Full;
            }
        }
        Candidate::None
    }

    /// The backend of a request's session, while that serves its sessions.
    fn of_session(&self, selection: &Selection) -> Option<usize> {
        let session = selection.session.as_ref()?;
        let number = self.sessions.as_ref()?.backend_of(session)?;
        let member = self.members.get(number)?;
        let serves = member.keeps_sessions() && !member.is_ejected();
        (serves && !member.upstream.is_avoided()).then_some(number)
    }

    /// Takes over what the checks and the operator say, and what others know of failures.
    fn follow(&self, shares: &Shares) {
        let pool = &self.view.pool;
        let rules = pool.per_request.outlier.as_ref();
        let outliers = shares.outliers.as_ref().filter(|_| rules.is_some());
        let backends = self.members.iter().zip(&pool.backends);
        for ((member, backend), state) in backends.zip(self.view.taken_states()) {
            let record = outliers.map(|outliers| outliers.record(backend.address));
            member.record.replace(record);
            member.follow(Some(state));
        }
        let now = Instant::now();
        for (member, came_up) in self.members.iter().zip(&self.view.came_up) {
            // A clock that was set back makes it a moment ago.
            let ago = came_up.map(|came_up| came_up.elapsed().unwrap_or_default());
            member.came_up.set(ago.and_then(|ago| now.checked_sub(ago)));
        }
    }
}
