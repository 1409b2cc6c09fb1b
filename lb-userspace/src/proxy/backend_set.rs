//! The backends of a pool as one worker sees them, and the choice among them.

use std::{collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Instant};

use super::{
    admission_control::{AdmissionControl, InFlight, Permit},
    balance::{Balancer, ChoiceInput},
    counters::ServiceCounters,
    selection::Selection,
    shared_pools::SharedPool,
    slow_start::{WHOLE, share},
    sticky::StickySessions,
    upstream::{PoolBackend, Upstreams},
};
use crate::{
    config::{Name, Pool, RequestLimit},
    pool::PoolView,
};

/// The backends of a pool as one worker sees them.
#[derive(Debug)]
pub(super) struct BackendSet {
    /// The latest snapshot of the pool: its configuration, and the states and operator overrides
    /// of its backends.
    pub(super) view: Arc<PoolView>,
    /// The pool's backends, in the order of the configuration.
    pub(super) members: Vec<Rc<PoolBackend>>,
    balancer: Balancer,
    /// The sticky sessions of the pool; `None` if the pool has none.
    pub(super) sessions: Option<Rc<StickySessions>>,
    /// Limits the requests in flight at each backend; `None` if the pool has no limit.
    pub(super) limiter: Option<Limiter>,
}

/// Limits the requests in flight at each backend of the pool.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Counts the requests in flight of all workers, and queues requests.
    pub(super) admission: Arc<AdmissionControl>,
    /// The configured limit of requests in flight.
    pub(super) limit: RequestLimit,
    /// The counter of requests in flight of each backend, by the backend's index.
    in_flight: Vec<Arc<InFlight>>,
}

/// The outcome of choosing a backend for a request, before a permit (the right to be in flight at
/// that backend) is acquired.
pub(super) enum Candidate {
    /// The index of the chosen backend.
    Number(usize),
    /// Every eligible backend has as many requests in flight as the limit allows.
    Full,
    /// No backend is eligible.
    None,
}

/// A class of backends; a backend of a later class is chosen only if no earlier class has an
/// eligible backend.
struct Tier {
    /// Whether the class includes backends that are ejected for failing requests.
    ejected: bool,
    /// True: the class consists of backups. False: it consists of backends that are not backups.
    backup: bool,
    /// Whether the class includes backends that were unreachable a moment ago.
    avoided: bool,
}

/// The classes of backends in order of preference. Pools without outlier ejection use only the
/// second half of this array, whose classes do not exclude ejected backends.
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

impl BackendSet {
    /// Creates the backend set of the pool whose configuration and backend states `view` holds.
    pub(super) fn new(
        view: Arc<PoolView>,
        worker: (&Upstreams, &ServiceCounters),
        shared: &SharedPool,
    ) -> Self {
        Self::with_known(view, worker, shared, &mut HashMap::new())
    }

    /// Creates the backend set of a pool. A backend of the pool that is in `known`, by its name and
    /// address, is moved from there into the set; the others are created.
    fn with_known(
        view: Arc<PoolView>,
        (upstreams, counters): (&Upstreams, &ServiceCounters),
        shared: &SharedPool,
        known: &mut HashMap<(Name, SocketAddr), Rc<PoolBackend>>,
    ) -> Self {
        let pool = &view.pool;
        let backends = pool.backends.iter();
        let members: Vec<_> = backends
            .map(|backend| {
                if let Some(known) = known.remove(&(backend.name.clone(), backend.address)) {
                    return known;
                }
                let upstream = upstreams.at(backend.address);
                let counters = counters.backend(&pool.name, &backend.name);
                Rc::new(PoolBackend::new(&backend.name, upstream, counters))
            })
            .collect();
        let backends = pool.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| (u32::from(backend.weight.get()), backend.address))
            .collect();
        let balancer = Balancer::new(pool.balance, &backends);
        let backends = Self {
            sessions: StickySessions::new(&view.pool, shared.session_key.as_deref()),
            limiter: Limiter::new(&view.pool, shared.admission.as_ref()),
            view,
            members,
            balancer,
        };
        backends.apply_states(shared);
        backends
    }

    /// Replaces the snapshot of the pool's configuration and backend states. If the configuration
    /// has changed, the whole set is created again.
    pub(super) fn update(
        &mut self,
        view: Arc<PoolView>,
        worker: (&Upstreams, &ServiceCounters),
        shared: &SharedPool,
    ) {
        if *view.pool == *self.view.pool {
            self.sessions = StickySessions::new(&view.pool, shared.session_key.as_deref());
            self.limiter = Limiter::new(&view.pool, shared.admission.as_ref());
            self.view = view;
            self.apply_states(shared);
        } else {
            // A backend that stays keeps its idle connections, and requests in flight continue to
            // learn of its state.
            let backends = self.view.pool.backends.iter();
            let backends = backends.map(|backend| (backend.name.clone(), backend.address));
            let mut known: HashMap<_, _> = backends.zip(self.members.drain(..)).collect();
            let new = Self::with_known(view, worker, shared, &mut known);
            for removed in known.into_values() {
                removed.up.set(false);
                removed.upstream.drop_idle();
            }
            *self = new;
        }
    }

    /// Updates the balancing weights of the backends that are in slow start.
    pub(super) fn warm_up(&mut self) {
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

    /// Chooses a backend for a request: one that is eligible and has room for another request.
    pub(super) fn candidate(
        &mut self,
        selection: &Selection,
        input: ChoiceInput,
        tried: &[Rc<PoolBackend>],
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
        // If all backends of a class have as many requests in flight as the limit allows, the
        // request waits for one of them: backends of less preferred classes are not tried.
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
                match balancer.choose(eligible, load, input) {
                    Some(number) => return Candidate::Number(number),
                    None => continue,
                }
            };
            let roomy = |number: usize| eligible(number) && limiter.has_room(number);
            if let Some(number) = balancer.choose(roomy, load, input) {
                return Candidate::Number(number);
            }
            if (0..members.len()).any(eligible) {
                return Candidate::Full;
            }
        }
        Candidate::None
    }

    /// Returns the index of the backend of the request's sticky session; `None` if the request has
    /// no session or that backend is not available.
    fn of_session(&self, selection: &Selection) -> Option<usize> {
        let session = selection.session.as_ref()?;
        let number = self.sessions.as_ref()?.backend_of(session)?;
        let member = self.members.get(number)?;
        let serves = member.keeps_sessions() && !member.is_ejected();
        (serves && !member.upstream.is_avoided()).then_some(number)
    }

    /// Applies the backends' states in the pool's snapshot (`self.view`), and the failure records
    /// shared by all workers, to the members of this set.
    fn apply_states(&self, shared: &SharedPool) {
        let pool = &self.view.pool;
        let rules = pool.per_request.outlier.as_ref();
        let outliers = shared.outliers.as_ref().filter(|_| rules.is_some());
        let backends = self.members.iter().zip(&pool.backends);
        for ((member, backend), state) in backends.zip(self.view.taken_states()) {
            let record = outliers.map(|outliers| outliers.record(backend.address));
            member.record.replace(record);
            member.apply_state(Some(state));
        }
        let now = Instant::now();
        for (member, came_up) in self.members.iter().zip(&self.view.came_up) {
            // If the system's clock was set back, the backend counts as having come up just now.
            let ago = came_up.map(|came_up| came_up.elapsed().unwrap_or_default());
            member.came_up.set(ago.and_then(|ago| now.checked_sub(ago)));
        }
    }
}

impl Limiter {
    fn new(pool: &Pool, admission: Option<&Arc<AdmissionControl>>) -> Option<Self> {
        let (limit, admission) = (pool.per_request.limit?, admission?);
        let backends = pool.backends.iter();
        Some(Self {
            in_flight: backends
                .map(|backend| admission.in_flight(backend.address))
                .collect(),
            admission: Arc::clone(admission),
            limit,
        })
    }

    fn has_room(&self, backend: usize) -> bool {
        self.in_flight[backend].has_room(self.limit.per_backend)
    }

    /// Acquires a permit of the backend with this index if it has room for another request.
    pub(super) fn try_acquire(&self, backend: usize) -> Option<Permit> {
        self.admission
            .try_acquire(&self.in_flight[backend], self.limit.per_backend)
    }
}
