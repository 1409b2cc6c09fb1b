//! Decides which notify command is run next, without I/O.

/// The new role of this host, which is passed to a notify command.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// This host became the active host.
    Master,
    /// This host became the standby.
    Backup,
    /// This host is in fault: it must not be active.
    Fault,
    /// The agent on this host is stopping.
    Stop,
}

impl Role {
    /// All roles that a notify command can be run for.
    pub const ALL: [Self; 4] = [Self::Master, Self::Backup, Self::Fault, Self::Stop];

    /// Returns the name of the role that commands get as an argument, as keepalived writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }
}

/// A change of this host's role, and this host's VRRP priority at that moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Change {
    pub(super) role: Role,
    pub(super) priority: u8,
}

/// Whether a command is running, and the newest change that waits for its end: one command runs at
/// a time, and of the changes during its run only the newest is kept.
#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: bool,
    waiting: Option<Change>,
}

impl Queue {
    /// Records a change of the role. Returns the change whose command must be started now, if any,
    /// and the role of a waiting change that this one has replaced, if any.
    pub(super) fn push(&mut self, change: Change) -> (Option<Change>, Option<Role>) {
        if !self.runs {
            self.runs = true;
            return (Some(change), None);
        }
        let passed_over = self.waiting.replace(change);
        (None, passed_over.map(|change| change.role))
    }

    /// Records that the running command has ended. Returns the change whose command must be started
    /// now, or `None` if no change waits.
    pub(super) fn ended(&mut self) -> Option<Change> {
        let next = self.waiting.take();
        self.runs = next.is_some();
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(role: Role) -> Change {
        Change {
            role,
            priority: 100,
        }
    }

    #[test]
    fn a_burst_runs_its_first_and_its_last() {
        let mut queue = Queue::default();
        let master = change(Role::Master);
        assert_eq!(queue.push(master), (Some(master), None));
        assert_eq!(queue.push(change(Role::Backup)), (None, None));
        assert_eq!(queue.push(change(Role::Fault)), (None, Some(Role::Backup)));
        assert_eq!(queue.push(master), (None, Some(Role::Fault)));
        // The command for master is run again although it ran last: the other host's commands may
        // have run in between.
        assert_eq!(queue.ended(), Some(master));
        assert_eq!(queue.ended(), None);
    }

    proptest! {
        /// In whatever order changes arrive and commands end, the last command run is for the last
        /// change.
        #[test]
        fn the_newest_change_is_the_last_to_run(steps in prop::collection::vec(0..5_usize, 1..100)) {
            let mut queue = Queue::default();
            let (mut running, mut newest, mut last) = (false, None, None);
            for step in steps {
                let started = match Role::ALL.get(step) {
                    Some(role) => {
                        newest = Some(*role);
                        queue.push(change(*role)).0
                    }
                    None if running => {
                        running = false;
                        queue.ended()
                    }
                    None => None,
                };
                if let Some(started) = started {
                    prop_assert!(!running, "two at a time");
                    running = true;
                    last = Some(started.role);
                }
            }
            while running {
                match queue.ended() {
                    Some(started) => last = Some(started.role),
                    None => running = false,
                }
            }
            prop_assert_eq!(last, newest);
        }
    }
}
