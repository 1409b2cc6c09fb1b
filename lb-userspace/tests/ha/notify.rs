//! Tests of the commands of `[ha.notify]`, which run as real processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb::{
    config::{self, Name},
    ha::notify::{Notifier, Outcome, Role},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::namespace::becomes;

/// A temporary folder with scripts that serve as commands, and with the files that they write.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Creates a shell script of these lines, in which `$LOG` is a file in the folder. Returns the
    /// command that runs it.
    pub(crate) fn script(&self, name: &str, lines: &str) -> Vec<String> {
        let path = self.path(name);
        let log = self.path("log");
        let text = format!("#!/bin/sh\nLOG={}\n{lines}\n", log.display());
        // The script is written under another name and then renamed: a process that the test forks
        // meanwhile would keep the script open for writing, and running the script would fail.
        let made = self.path(&format!("{name}.made"));
        fs::write(&made, text).expect("written");
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).expect("set");
        fs::rename(&made, &path).expect("renamed");
        vec![path.to_str().expect("text").to_owned()]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the lines that the scripts have written to `$LOG` so far.
    pub(crate) fn log(&self) -> Vec<String> {
        lines(&self.path("log"))
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns whether any of the processes is alive whose IDs are in this file.
pub(crate) fn is_alive(file: &Path) -> bool {
    let numbers = lines(file);
    assert!(!numbers.is_empty(), "no process was begun");
    numbers.iter().any(|number| {
        // A process does not count as alive if it has exited and its parent has not waited for it
        // (a zombie).
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let state = state
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| state != 'Z')
    })
}

fn node() -> Name {
    Name::parse("lb-a").expect("a name")
}

fn all(command: &[String]) -> config::Notify {
    let command = Some(command.to_vec());
    config::Notify {
        master: command.clone(),
        backup: command.clone(),
        fault: command.clone(),
        stop: command,
    }
}

#[tokio::test]
async fn a_command_gets_the_arguments_of_keepalived_and_nothing_else() {
    let folder = Folder::new();
    let mut command = folder.script(
        "on-change",
        "echo \"$*\" >>$LOG; env >>$LOG.env; pwd >>$LOG.env",
    );
    command.push("eth0".to_owned());
    let notifier = Notifier::start(&node(), all(&command));
    notifier.role_changed(Role::Master, 150);
    becomes("it ran", || notifier.view().last.is_some()).await;
    assert_eq!(folder.log(), ["eth0 INSTANCE lb-a MASTER 150"]);
    let environment = lines(&folder.path("log.env"));
    // The shell adds variables such as PWD, but the command gets no variable of the test's own
    // environment.
    assert!(
        environment
            .iter()
            .any(|line| line.starts_with("PATH=/usr/local/sbin:"))
    );
    assert!(!environment.iter().any(|line| line.starts_with("CARGO")));
    assert_eq!(environment.last().map(String::as_str), Some("/"));
    let view = notifier.view();
    assert_eq!(view.runs[&(Role::Master, Outcome::Succeeded)], 1);
    assert_eq!(view.running, None);
}

#[tokio::test]
async fn of_a_burst_the_first_and_the_last_are_run_and_never_two_at_once() {
    let folder = Folder::new();
    let command = folder.script(
        "on-change",
        "mkdir $LOG.busy || echo two at once >>$LOG; sleep 0.2; echo $3 $4 >>$LOG; rmdir $LOG.busy",
    );
    let notifier = Notifier::start(&node(), all(&command));
    for round in 0..25 {
        notifier.role_changed(Role::Master, 2 * round + 1);
        notifier.role_changed(Role::Backup, 2 * round + 2);
    }
    becomes("the last one ran", || {
        folder.log().last().is_some_and(|line| line == "BACKUP 50")
    })
    .await;
    becomes("it is counted", || notifier.view().running.is_none()).await;
    assert_eq!(folder.log(), ["MASTER 1", "BACKUP 50"]);
    let runs = notifier.view().runs;
    let passed_over: u64 = [Role::Master, Role::Backup]
        .iter()
        .filter_map(|role| runs.get(&(*role, Outcome::PassedOver)))
        .sum();
    assert_eq!(passed_over, 48);
}

#[tokio::test]
async fn a_role_with_a_command_has_counters_of_zero_before_its_first_run() {
    let folder = Folder::new();
    let command = folder.script("on-change", "exit 1");
    let commands = config::Notify {
        backup: None,
        fault: None,
        ..all(&command)
    };
    let notifier = Notifier::start(&node(), commands);
    becomes("the counters are there", || {
        !notifier.view().runs.is_empty()
    })
    .await;
    let runs = notifier.view().runs;
    let zero = |role| Outcome::ALL.map(|outcome| ((role, outcome), 0));
    let both = [zero(Role::Master), zero(Role::Stop)].concat();
    assert_eq!(runs, both.into_iter().collect());

    notifier.apply(all(&command));
    becomes("those of the new commands too", || {
        notifier.view().runs.len() == 16
    })
    .await;
    notifier.role_changed(Role::Backup, 100);
    becomes("it failed", || notifier.view().last.is_some()).await;
    assert_eq!(notifier.view().runs[&(Role::Backup, Outcome::Failed)], 1);
}

#[tokio::test]
async fn a_role_without_a_command_passes_over_one_that_waits() {
    let folder = Folder::new();
    let command = folder.script("on-change", "sleep 0.2; echo $3 >>$LOG");
    let commands = config::Notify {
        backup: None,
        ..all(&command)
    };
    let notifier = Notifier::start(&node(), commands);
    for role in [Role::Fault, Role::Master, Role::Backup] {
        notifier.role_changed(role, 100);
    }
    becomes("the fault is over", || notifier.view().last.is_some()).await;
    notifier.stop(100).await;
    assert_eq!(folder.log(), ["FAULT", "STOP"], "it is not active any more");
}

#[tokio::test]
async fn what_fails_is_said_with_its_last_line_and_the_next_one_is_run() {
    let folder = Folder::new();
    let command = folder.script(
        "on-change",
        "echo begun; yes nonsense | head -c 5000000 >&2; echo; echo no route to the gateway; exit 3",
    );
    let notifier = Notifier::start(&node(), all(&command));
    notifier.role_changed(Role::Master, 100);
    becomes("it ended", || notifier.view().last.is_some()).await;
    let last = notifier.view().last.expect("a run");
    assert_eq!(last.outcome, Outcome::Failed);
    assert_eq!(last.message, "exit status: 3: no route to the gateway");
    notifier.apply(all(&["/nowhere/at/all".to_owned()]));
    notifier.role_changed(Role::Backup, 100);
    becomes("that one failed", || {
        notifier
            .view()
            .last
            .is_some_and(|last| last.role == Role::Backup)
    })
    .await;
    let last = notifier.view().last.expect("a run");
    assert!(
        last.message.starts_with("cannot start /nowhere/at/all: "),
        "{}",
        last.message
    );
}

#[tokio::test]
async fn what_a_command_puts_into_the_background_stays_and_delays_nothing() {
    let folder = Folder::new();
    let command = folder.script(
        "on-change",
        "sleep 30 & echo $! >>$LOG.child; echo $3 >>$LOG",
    );
    let notifier = Notifier::start(&node(), all(&command));
    let begun = Instant::now();
    notifier.role_changed(Role::Master, 100);
    becomes("it ended", || notifier.view().last.is_some()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "its child holds the pipe"
    );
    let child = folder.path("log.child");
    assert!(is_alive(&child));
    let id = fs::read_to_string(&child).expect("the number of a process");
    let id = Pid::from_raw(id.trim().parse().expect("a number"));
    kill(id, Signal::SIGKILL).expect("it ends here");
}

#[tokio::test]
async fn the_end_waits_for_its_command_and_cuts_off_one_that_hangs() {
    let folder = Folder::new();
    let hangs = folder.script(
        "hangs",
        "sleep 60 & echo $! >>$LOG.child; echo $3 >>$LOG; wait",
    );
    let ends = folder.script("ends", "sleep 0.3; echo $3 $4 >>$LOG");
    let commands = config::Notify {
        master: Some(hangs),
        ..all(&ends)
    };
    let notifier = Notifier::start(&node(), commands);
    notifier.role_changed(Role::Master, 100);
    becomes("it hangs", || folder.log() == ["MASTER"]).await;
    let begun = Instant::now();
    notifier.role_changed(Role::Backup, 90);
    notifier.stop(90).await;
    let took = begun.elapsed();
    assert_eq!(folder.log(), ["MASTER", "STOP 90"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(
        !is_alive(&folder.path("log.child")),
        "its children went with it"
    );
}

#[tokio::test]
async fn a_notifier_that_is_dropped_leaves_no_process_behind() {
    let folder = Folder::new();
    let command = folder.script(
        "on-change",
        "sleep 60 & echo $! >>$LOG.child; echo $3 >>$LOG; wait",
    );
    let notifier = Notifier::start(&node(), all(&command));
    notifier.role_changed(Role::Master, 100);
    becomes("it hangs", || folder.log() == ["MASTER"]).await;
    drop(notifier);
    let child = folder.path("log.child");
    becomes("it is gone", || !is_alive(&child)).await;
}
