//! Starts and ends the tasks that check the tracked objects.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use super::{
    super::Error,
    Effect, Report, Reports, Watched, What,
    findings::{Findings, Seen},
    interface, listener, pool, script,
};
use crate::config::TrackScript;

/// The tasks, by the object that each one tracks, and the results of their checks.
#[derive(Debug)]
pub(super) struct Trackers {
    /// The runtime that the tasks run on.
    runtime: Handle,
    reports: Reports,
    findings: Arc<Findings>,
    tasks: HashMap<What, Job>,
    collector: JoinHandle<()>,
}

/// A task that checks an object, and the configuration that it was started with. A reload that does
/// not change this configuration keeps the task.
#[derive(Debug)]
struct Job {
    made_for: Option<MadeFor>,
    task: JoinHandle<()>,
}

/// The part of a task's configuration that cannot change while the task runs.
#[derive(Debug, PartialEq)]
enum MadeFor {
    Script(TrackScript),
    Listener(SocketAddr),
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Trackers {
    fn drop(&mut self) {
        self.collector.abort();
    }
}

impl Trackers {
    pub(super) fn start(watched: Watched) -> Result<(Self, Seen), Error> {
        let (reports, received) = mpsc::unbounded_channel();
        let (findings, seen) = Findings::new(&effects(&watched));
        let findings = Arc::new(findings);
        let runtime = Handle::current();
        let mut tasks = HashMap::new();
        for name in &watched.interfaces {
            let monitor = interface::InterfaceMonitor::open(name, watched.program.clone())?;
            let job = Job {
                made_for: None,
                task: runtime.spawn(monitor.watch(reports.clone())),
            };
            tasks.insert(What::Interface(name.clone()), job);
        }
        let mut trackers = Self {
            collector: runtime.spawn(collect(received, Arc::clone(&findings))),
            runtime,
            reports,
            findings,
            tasks,
        };
        trackers.take_up(watched, None);
        Ok((trackers, seen))
    }

    pub(super) fn apply(&mut self, watched: Watched) {
        self.take_up(watched, Some(true));
    }

    /// Replaces the set of tracked objects. An object that was not tracked before gets the health
    /// `new`: healthy (`Some(true)`), unhealthy (`Some(false)`) or unknown (`None`).
    fn take_up(&mut self, watched: Watched, new: Option<bool>) {
        let effects = effects(&watched);
        self.findings.keep(&effects, new);
        let at_interface = |what: &What| matches!(what, What::Interface(_));
        let (at_interfaces, mut before) = std::mem::take(&mut self.tasks)
            .into_iter()
            .partition(|(what, _)| at_interface(what));
        self.tasks = at_interfaces;
        let scripts = watched.scripts.into_iter().map(|script| {
            let what = What::Script(script.name.clone());
            (what, MadeFor::Script(script))
        });
        let listeners = watched.listeners.into_iter().map(|(service, listen)| {
            let what = What::Listener(service);
            (what, MadeFor::Listener(listen))
        });
        for (what, made_for) in scripts.chain(listeners) {
            let kept = before.remove(&what);
            let kept = kept.filter(|kept| kept.made_for.as_ref() == Some(&made_for));
            let job = kept.unwrap_or_else(|| self.begin(&what, made_for));
            self.tasks.insert(what, job);
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

    fn begin(&self, what: &What, made_for: MadeFor) -> Job {
        let well = self.findings.well(what);
        let (what, reports) = (what.clone(), self.reports.clone());
        let task = match &made_for {
            MadeFor::Script(script) => {
                let run = script::run(what, script.clone(), well, reports);
                self.runtime.spawn(run)
            }
            MadeFor::Listener(listen) => {
                let watch = listener::watch(what, *listen, well, reports);
                self.runtime.spawn(watch)
            }
        };
        Job {
            made_for: Some(made_for),
            task,
        }
    }
}

/// Returns the objects to track, in the order in which `lb status` shows them, each with the effect
/// that its failure has on this host.
fn effects(watched: &Watched) -> Vec<(What, Effect)> {
    let interfaces = watched.interfaces.iter();
    let mut effects: Vec<_> = interfaces
        .flat_map(|name| [What::Interface(name.clone()), What::Xdp(name.clone())])
        .map(|what| (what, Effect::Fault))
        .collect();
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

async fn collect(mut reports: mpsc::UnboundedReceiver<Report>, findings: Arc<Findings>) {
    while let Some(report) = reports.recv().await {
        findings.take(report);
    }
}
