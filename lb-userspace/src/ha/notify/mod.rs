//! `[ha.notify]`: commands that are run when this host's role changes.
//!
//! One command runs at a time, and of the commands that wait only the newest is run: commands never
//! overtake each other, and the last one that is run is the one for the present role. Their
//! arguments are those of keepalived, so that its scripts can be used unchanged.

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

/// Longest time that a stopping agent waits for the notify commands.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs the notify commands. Dropping it kills a command that is running.
#[derive(Debug)]
pub struct Notifier {
    messages: mpsc::UnboundedSender<Message>,
    view: watch::Receiver<NotifyView>,
    task: JoinHandle<()>,
}

/// How the run of a notify command ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// The command ended with exit code 0.
    Succeeded,
    /// The command could not be started, ended with another exit code than 0, or by a signal.
    Failed,
    /// The command exceeded its time limit and was killed.
    TimedOut,
    /// The command was not started, because the role had changed again in the meantime.
    PassedOver,
}

impl Outcome {
    /// All outcomes of a notify command.
    pub const ALL: [Self; 4] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::PassedOver,
    ];
}

/// The notify commands that were run, and the one that is running now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NotifyView {
    /// Number of commands by role and outcome; 0 from the start for each outcome of a role that has
    /// a command, so that its first run is an increase of the counter.
    pub runs: BTreeMap<(Role, Outcome), u64>,
    /// The role whose command is running, and since when; `None` if no command is running.
    pub running: Option<(Role, SystemTime)>,
    /// The last command that ended; `None` if no command has ended yet.
    pub last: Option<LastRun>,
}

/// A notify command that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastRun {
    /// The role that the command was run for.
    pub role: Role,
    /// When the command ended.
    pub at: SystemTime,
    /// How the command ended.
    pub outcome: Outcome,
    /// How the command ended, as a sentence, with the last line of the output.
    pub message: String,
}

impl Notifier {
    /// Starts the task that runs the commands. No command is run until the role changes. Must be
    /// called within a tokio runtime.
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

    /// Replaces the configured commands, from the next change of the role on.
    pub fn apply(&self, commands: Notify) {
        self.send(Message::Commands(commands));
    }

    /// Reports a change of this host's role to the task, without waiting for the command to run.
    pub fn role_changed(&self, role: Role, priority: u8) {
        self.send(Message::Change(Change { role, priority }));
    }

    /// Reports to the task that the agent stops. Waits for the command that is running, then for
    /// the command of [`Role::Stop`], together at most 10 s.
    pub async fn stop(mut self, priority: u8) {
        self.role_changed(Role::Stop, priority);
        // Ten seconds are longer than the time limits of the task's last two commands together.
        if tokio::time::timeout(STOP_LIMIT, &mut self.task)
            .await
            .is_err()
        {
            tracing::warn!("the commands of [ha.notify] did not end within 10 s");
        }
    }

    /// Returns the notify commands that were run, and the one that is running now.
    #[must_use]
    pub fn view(&self) -> NotifyView {
        self.view.borrow().clone()
    }

    fn send(&self, message: Message) {
        // Sending fails only after the task has ended, which it does after `Role::Stop`: no change
        // follows that.
        let _ended = self.messages.send(message);
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}
