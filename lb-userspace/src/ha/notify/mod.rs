//! `[ha.notify]`: commands that are run when this host's role changes.
//!
//! One runs at a time, and of those that wait only the newest is run: commands never overtake each
//! other, and the last one run is that of the present role. Their arguments are those of keepalived,
//! so that its scripts can be used unchanged.

mod queue;
mod task;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub use self::queue::Role;
use self::{queue::Change, task::Message};
use crate::config::{Name, Notify};

/// Longest time that a stopping agent waits for the commands.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs the commands. Dropping it kills a running command.
#[derive(Debug)]
pub struct Notifier {
    messages: mpsc::UnboundedSender<Message>,
    view: watch::Receiver<NotifyView>,
    task: JoinHandle<()>,
}

/// The result of a command.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It ended with exit code 0.
    Succeeded,
    /// It could not be started, ended with another code, or by a signal.
    Failed,
    /// It exceeded its time limit and was killed.
    TimedOut,
    /// It was not started, because the role had changed again.
    PassedOver,
}

/// The commands that were run, and the one that is running.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NotifyView {
    /// Number of commands by role and result. Counts of zero are omitted.
    pub runs: BTreeMap<(Role, Outcome), u64>,
    /// The role whose command is running, and since when.
    pub running: Option<(Role, SystemTime)>,
    /// The last command that ended.
    pub last: Option<LastRun>,
}

/// A command that ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastRun {
    /// The role that the command was run for.
    pub role: Role,
    /// When it ended.
    pub at: SystemTime,
    /// Its result.
    pub outcome: Outcome,
    /// The result as a sentence, with the last line of the output.
    pub message: String,
}

impl Notifier {
    /// Starts the task. Nothing is run until the role changes. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(node: &Name, commands: Notify) -> Self {
        let (messages, received) = mpsc::unbounded_channel();
        let (shown, view) = watch::channel(NotifyView::default());
        let task = tokio::spawn(task::work(node.clone(), commands, received, shown));
        Self {
            messages,
            view,
            task,
        }
    }

    /// Replaces the commands, from the next change on.
    pub fn apply(&self, commands: Notify) {
        self.send(Message::Commands(commands));
    }

    /// Reports a change of the role, and does not wait.
    pub fn tell(&self, role: Role, priority: u8) {
        self.send(Message::Change(Change { role, priority }));
    }

    /// Reports the end of the agent: waits for the command that runs, then for that of [`Role::Stop`],
    /// together up to 10 s.
    pub async fn stop(mut self, priority: u8) {
        self.tell(Role::Stop, priority);
        // Ten seconds are more than the task takes by its own deadlines.
        if tokio::time::timeout(STOP_LIMIT, &mut self.task)
            .await
            .is_err()
        {
            tracing::warn!("the commands of [ha.notify] did not end within 10 s");
        }
    }

    /// Returns the commands that were run, and the one that is running.
    #[must_use]
    pub fn view(&self) -> NotifyView {
        self.view.borrow().clone()
    }

    fn send(&self, message: Message) {
        // The task ends only after `Role::Stop`, after which there are no changes.
        let _ended = self.messages.send(message);
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}
