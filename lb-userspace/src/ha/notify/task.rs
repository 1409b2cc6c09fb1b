//! The task that runs the notify commands.

use std::time::{Duration, SystemTime};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    LastRun, NotifyView, Outcome,
    queue::{Change, Queue, Role},
};
use crate::{
    command::Running,
    config::{Name, Notify},
};

/// How long a notify command may run before it is killed.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a command that is already running may continue when the agent stops.
const LIMIT_BEFORE_STOP: Duration = Duration::from_secs(4);
/// How long the command for [`Role::Stop`] may run before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A message to the task that runs the notify commands.
#[derive(Debug)]
pub(super) enum Message {
    Change(Change),
    Commands(Notify),
}

struct Work {
    node: Name,
    commands: Notify,
    queue: Queue,
    current: Option<Current>,
    shown: watch::Sender<NotifyView>,
}

struct Current {
    role: Role,
    running: Running,
    deadline: Instant,
}

/// Runs notify commands until the command of [`Role::Stop`] has ended, or the notifier is dropped.
pub(super) async fn work(
    node: Name,
    commands: Notify,
    mut messages: mpsc::UnboundedReceiver<Message>,
    shown: watch::Sender<NotifyView>,
) {
    let mut work = Work {
        node,
        commands,
        queue: Queue::default(),
        current: None,
        shown,
    };
    work.show_counters();
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            outcome = ended(&mut work.current) => work.ended(outcome).await,
            message = messages.recv(), if !stopping => match message {
                Some(Message::Commands(commands)) => {
                    work.commands = commands;
                    work.show_counters();
                }
                Some(Message::Change(change)) => {
                    stopping = change.role == Role::Stop;
                    work.changed(change);
                }
                None => return,
            },
        }
        if stopping && work.current.is_none() {
            return;
        }
    }
}

/// Waits until the running command ends and returns its outcome; waits forever if no command is
/// running. Dropping the future loses nothing.
async fn ended(current: &mut Option<Current>) -> (Outcome, String) {
    let Some(current) = current else {
        return std::future::pending().await;
    };
    match timeout_at(current.deadline, current.running.end()).await {
        Ok(ended) if ended.success => (Outcome::Succeeded, ended.message),
        Ok(ended) => (Outcome::Failed, ended.message),
        Err(_elapsed) => {
            let message = "it exceeded its time limit and was killed";
            let message = match current.running.last_line() {
                Some(line) => format!("{message}: {line}"),
                None => message.to_owned(),
            };
            (Outcome::TimedOut, message)
        }
    }
}

impl Work {
    /// Publishes a counter of each outcome for each role that has a command.
    fn show_counters(&self) {
        let roles = Role::ALL
            .iter()
            .filter(|role| self.command(**role).is_some());
        self.shown.send_modify(|view| {
            for role in roles {
                for outcome in Outcome::ALL {
                    view.runs.entry((*role, outcome)).or_default();
                }
            }
        });
    }

    fn changed(&mut self, change: Change) {
        let (start, passed_over) = self.queue.push(change);
        if let Some(role) = passed_over
            && self.command(role).is_some()
        {
            self.count(role, Outcome::PassedOver);
        }
        if change.role == Role::Stop
            && let Some(current) = &mut self.current
        {
            let limit = Instant::now() + LIMIT_BEFORE_STOP;
            current.deadline = current.deadline.min(limit);
        }
        self.start(start);
    }

    async fn ended(&mut self, (outcome, message): (Outcome, String)) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        self.record(current.role, outcome, message);
        if outcome == Outcome::TimedOut {
            current.running.kill();
            // Wait for the killed command's end: two commands must never run at the same time, even
            // if this one cannot be killed immediately.
            current.running.end().await;
        } else {
            // Background processes that the command started are left running.
            current.running.leave();
        }
        let next = self.queue.ended();
        self.start(next);
    }

    /// Starts the command for a change of the role. If the role has no command, starts that of the
    /// next waiting change.
    fn start(&mut self, change: Option<Change>) {
        let mut next = change;
        while let Some(change) = next {
            match self.try_start(change) {
                Some(current) => {
                    self.current = Some(current);
                    return;
                }
                None => next = self.queue.ended(),
            }
        }
    }

    fn try_start(&self, change: Change) -> Option<Current> {
        let role = change.role;
        let mut words = self.command(role)?.clone();
        words.extend([
            "INSTANCE".to_owned(),
            self.node.to_string(),
            role.word().to_owned(),
            change.priority.to_string(),
        ]);
        match Running::start(&words) {
            Ok(running) => {
                let now = SystemTime::now();
                self.shown
                    .send_modify(|view| view.running = Some((role, now)));
                let limit = if role == Role::Stop {
                    STOP_LIMIT
                } else {
                    LIMIT
                };
                Some(Current {
                    role,
                    running,
                    deadline: Instant::now() + limit,
                })
            }
            Err(message) => {
                self.record(role, Outcome::Failed, message);
                None
            }
        }
    }

    fn command(&self, role: Role) -> Option<&Vec<String>> {
        let Notify {
            master,
            backup,
            fault,
            stop,
        } = &self.commands;
        match role {
            Role::Master => master,
            Role::Backup => backup,
            Role::Fault => fault,
            Role::Stop => stop,
        }
        .as_ref()
    }

    fn record(&self, role: Role, outcome: Outcome, message: String) {
        let word = role.word();
        if outcome == Outcome::Succeeded {
            tracing::info!(state = word, "the command of [ha.notify] succeeded");
        } else {
            tracing::error!(state = word, reason = %message, event = "notify_failed", "the command of [ha.notify] failed");
        }
        self.count(role, outcome);
        self.shown.send_modify(|view| {
            view.running = None;
            view.last = Some(LastRun {
                role,
                at: SystemTime::now(),
                outcome,
                message,
            });
        });
    }

    fn count(&self, role: Role, outcome: Outcome) {
        self.shown.send_modify(|view| {
            *view.runs.entry((role, outcome)).or_default() += 1;
        });
    }
}
