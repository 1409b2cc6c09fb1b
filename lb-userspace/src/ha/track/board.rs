//! What is known of everything that is tracked, and the tasks that find it out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    super::Error, Effect, Fact, Look, Looks, Report, Reports, Standing, Tracked, Watched, What,
    interface, listener, pool, script, weigh,
};
use crate::config::TrackScript;

/// The tasks, and what they found out.
#[derive(Debug)]
pub(super) struct Board {
    /// Where the tasks run, whoever asks for more of them.
    runtime: Handle,
    reports: Reports,
    known: Arc<Known>,
    tasks: HashMap<What, Job>,
    collector: JoinHandle<()>,
}

/// A task, and what it was made for: it stays as long as that does.
#[derive(Debug)]
struct Job {
    made_for: Option<MadeFor>,
    task: JoinHandle<()>,
}

/// What a task cannot change while it runs.
#[derive(Debug, PartialEq)]
enum MadeFor {
    Script(TrackScript),
    Listener(std::net::SocketAddr),
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.collector.abort();
    }
}

impl Board {
    pub(super) fn start(
        watched: Watched,
    ) -> Result<
        (
            Self,
            watch::Receiver<Standing>,
            watch::Receiver<Vec<Tracked>>,
        ),
        Error,
    > {
        let (reports, received) = mpsc::unbounded_channel();
        let (known, standing, view) = Known::new();
        let known = Arc::new(known);
        let runtime = Handle::current();
        let eye = interface::Eye::open(&watched.interface, watched.program.clone())?;
        let at_interface = Job {
            made_for: None,
            task: runtime.spawn(eye.watch(reports.clone())),
        };
        let mut board = Self {
            collector: runtime.spawn(collect(received, Arc::clone(&known))),
            runtime,
            reports,
            known,
            tasks: HashMap::from([(What::Xdp, at_interface)]),
        };
        board.take_up(watched, None);
        Ok((board, standing, view))
    }

    pub(super) fn apply(&mut self, watched: Watched) {
        self.take_up(watched, Some(true));
    }

    /// Tracks these things and no others. What was not tracked before is `new`: well, not, or not
    /// known.
    fn take_up(&mut self, watched: Watched, new: Option<bool>) {
        let effects = effects(&watched);
        self.known.keep(&effects, new);
        let mut before = std::mem::take(&mut self.tasks);
        if let Some(at_interface) = before.remove(&What::Xdp) {
            self.tasks.insert(What::Xdp, at_interface);
        }
        for script in watched.scripts {
            let what = What::Script(script.name.clone());
            let kept = before.remove(&what);
            self.script(what, script, kept);
        }
        for (service, address) in watched.listeners {
            let what = What::Listener(service);
            let kept = before.remove(&what);
            self.listener(what, address, kept);
        }
        if watched.min_backends == 0 {
            return;
        }
        for view in watched.pools {
            let what = What::Pool(view.borrow().pool.name.clone());
            let follow = pool::follow(
                what.clone(),
                view,
                watched.min_backends,
                self.reports.clone(),
            );
            let task = self.runtime.spawn(follow);
            self.tasks.insert(
                what,
                Job {
                    made_for: None,
                    task,
                },
            );
        }
    }

    fn script(&mut self, what: What, script: TrackScript, kept: Option<Job>) {
        let made_for = Some(MadeFor::Script(script.clone()));
        let job = kept.filter(|kept| kept.made_for == made_for);
        let job = job.unwrap_or_else(|| {
            let well = self.known.well(&what);
            let run = script::run(what.clone(), script, well, self.reports.clone());
            let task = self.runtime.spawn(run);
            Job { made_for, task }
        });
        self.tasks.insert(what, job);
    }

    fn listener(&mut self, what: What, address: std::net::SocketAddr, kept: Option<Job>) {
        let made_for = Some(MadeFor::Listener(address));
        let job = kept.filter(|kept| kept.made_for == made_for);
        let job = job.unwrap_or_else(|| {
            let well = self.known.well(&what);
            let watch = listener::watch(what.clone(), address, well, self.reports.clone());
            let task = self.runtime.spawn(watch);
            Job { made_for, task }
        });
        self.tasks.insert(what, job);
    }
}

/// What is to be tracked, in the order in which people see it, and what each does to this host.
fn effects(watched: &Watched) -> Vec<(What, Effect)> {
    let interface = What::Interface(watched.interface.clone());
    let mut effects = vec![(interface, Effect::Fault), (What::Xdp, Effect::Fault)];
    let listeners = watched.listeners.iter();
    effects.extend(listeners.map(|(service, _)| (What::Listener(service.clone()), Effect::Fault)));
    if watched.min_backends > 0 {
        let pools = watched.pools.iter().map(|view| {
            let name = view.borrow().pool.name.clone();
            (What::Pool(name), Effect::Backends(watched.backends_weight))
        });
        effects.extend(pools);
    }
    let scripts = watched.scripts.iter().map(|script| {
        let effect = match script.weight {
            0 => Effect::Fault,
            weight => Effect::Weight(weight),
        };
        (What::Script(script.name.clone()), effect)
    });
    effects.extend(scripts);
    effects
}

async fn collect(mut reports: mpsc::UnboundedReceiver<Report>, known: Arc<Known>) {
    while let Some(report) = reports.recv().await {
        known.take(report);
    }
}

/// What is known, and who is shown it.
#[derive(Debug)]
struct Known {
    tracked: Mutex<Vec<Tracked>>,
    standing: watch::Sender<Standing>,
    view: watch::Sender<Vec<Tracked>>,
}

impl Known {
    fn new() -> (
        Self,
        watch::Receiver<Standing>,
        watch::Receiver<Vec<Tracked>>,
    ) {
        let (standing, standing_seen) = watch::channel(Standing::default());
        let (view, view_seen) = watch::channel(Vec::new());
        let known = Self {
            tracked: Mutex::default(),
            standing,
            view,
        };
        (known, standing_seen, view_seen)
    }

    fn well(&self, what: &What) -> Option<bool> {
        let tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        tracked.iter().find(|one| one.fact.what == *what)?.fact.well
    }

    /// These are tracked from now on, and no others.
    fn keep(&self, effects: &[(What, Effect)], new: Option<bool>) {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tracked);
        let after = effects.iter().map(|(what, effect)| {
            let known = before.iter().position(|one| one.fact.what == *what);
            match known.map(|known| before.swap_remove(known)) {
                Some(mut known) => {
                    known.fact.effect = *effect;
                    known
                }
                None => Tracked {
                    fact: Fact {
                        what: what.clone(),
                        effect: *effect,
                        well: new,
                        message: "nobody has looked yet".to_owned(),
                    },
                    since: SystemTime::now(),
                    looks: Looks::default(),
                },
            }
        });
        *tracked = after.collect();
        self.show(&tracked);
    }

    /// Takes in what a task found out. A report of what is not tracked any more is forgotten.
    fn take(&self, report: Report) {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = tracked.iter_mut().find(|one| one.fact.what == report.what) else {
            return;
        };
        match report.look {
            Look::Succeeded => known.looks.succeeded += 1,
            Look::Failed => known.looks.failed += 1,
            Look::TimedOut => {
                known.looks.failed += 1;
                known.looks.timed_out += 1;
            }
        }
        if known.fact.well != Some(report.well) {
            let Report { what, message, .. } = &report;
            match (known.fact.well, report.well) {
                (_, false) => tracing::warn!("{what} is not well: {message}"),
                (Some(_), true) => tracing::info!("{what} is well again: {message}"),
                (None, true) => {}
            }
            known.fact.well = Some(report.well);
            known.since = SystemTime::now();
        }
        known.fact.message = report.message;
        self.show(&tracked);
    }

    fn show(&self, tracked: &[Tracked]) {
        self.view.send_replace(tracked.to_vec());
        let facts: Vec<_> = tracked.iter().map(|one| one.fact.clone()).collect();
        let standing = weigh(&facts);
        self.standing.send_if_modified(|shown| {
            // A sentence that merely reads otherwise is no change of what this host may do.
            let changed = shown.weight != standing.weight
                || shown.fault.is_some() != standing.fault.is_some();
            *shown = standing;
            changed
        });
    }
}
