//! Check of `lb doctor` for the agent that runs on this host: finds it, and reports its problems.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::Path,
    time::Duration,
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Gid, Uid, User, getegid, geteuid},
};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    admin::{Client, Status},
    private_file::{self, group_name, user_name},
};

pub(super) static RUNNING: Check = Check {
    name: "agent",
    group: Group::Agent,
    looks_at: "Whether an agent answers on `admin.socket`, and the problems that it reports.",
    why: "Beside a running agent its ports, capabilities and XDP program are its own, not conflicts, and \
          more can be checked. Without one, the checks that need it are skipped.",
    fix: "`systemctl start lb`; the problems that it reports say what to do.",
};

pub(super) static CHECKS: [&Check; 1] = [&RUNNING];

/// Time limit for the agent to answer with its status.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running agent.
#[derive(Clone, Debug)]
pub(super) struct RunningAgent {
    /// The process ID of the agent.
    pub(super) pid: i32,
    /// The effective user and group of the agent; `None` if they cannot be read.
    pub(super) account: Option<Account>,
    /// The status of the agent; `None` if the agent did not answer, or not in time.
    pub(super) status: Option<Status>,
}

/// The IDs of a user and of that user's group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// Returns the account of this process.
    pub(super) fn ours() -> Self {
        Self {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
        }
    }

    /// Returns the account of the running agent. If no agent runs, or its account is not known,
    /// returns the account that an agent will probably have: `lb` if that user exists and this
    /// process runs as root, otherwise the account of this process.
    pub(super) fn of(agent: Option<&RunningAgent>) -> Self {
        if let Some(account) = agent.and_then(|agent| agent.account) {
            return account;
        }
        let own = Self::ours();
        match User::from_name("lb") {
            Ok(Some(user)) if own.user == 0 => Self {
                user: user.uid.as_raw(),
                group: user.gid.as_raw(),
            },
            _ => own,
        }
    }

    /// Returns the name of the user and the name of the group, as `chown` and `install` take them.
    /// An ID without a name is returned as a number.
    pub(super) fn names(self) -> (String, String) {
        let Self { user, group } = self;
        (
            user_name(Uid::from_raw(user)),
            group_name(Gid::from_raw(group)),
        )
    }

    /// Returns the account in the type by which private files are read.
    pub(super) fn reader(self) -> private_file::Account {
        private_file::Account::new(Uid::from_raw(self.user), Gid::from_raw(self.group))
    }

    /// Returns whether this account has all permissions `wanted` (the bits `rwx` as one octal
    /// digit) for a file. Supplementary groups of the user are not considered.
    pub(super) fn may(self, wanted: u32, file: &fs::Metadata) -> bool {
        self.has(wanted, (file.uid(), file.gid(), file.mode()))
    }

    pub(super) fn has(self, wanted: u32, (owner, group, mode): (u32, u32, u32)) -> bool {
        let shift = match self {
            Self { user: 0, .. } => return true,
            Self { user, .. } if user == owner => 6,
            Self { group: own, .. } if own == group => 3,
            Self { .. } => 0,
        };
        mode >> shift & wanted == wanted
    }
}

/// Finds the agent that listens on the admin socket. Returns the agent, if there is one, and the
/// finding about it.
pub(super) async fn find(socket: &Path) -> (Option<RunningAgent>, Vec<Finding>) {
    let (pid, account) = match listener_of(socket) {
        Ok(listener) => listener,
        Err(error) => return (None, vec![without(socket, &error)]),
    };
    let client = Client::new(socket);
    let asked = tokio::task::spawn_blocking(move || client.status());
    let status = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Ok(status))) => Some(status),
        _ => None,
    };
    let agent = RunningAgent {
        pid,
        account,
        status,
    };
    let finding = judge(socket, &agent);
    (Some(agent), vec![finding])
}

/// Returns the process that listens on a Unix socket: its process ID, and its account if that can
/// be read.
fn listener_of(socket: &Path) -> io::Result<(i32, Option<Account>)> {
    let stream = UnixStream::connect(socket)?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    let account = fs::read_to_string(format!("/proc/{}/status", peer.pid()))
        .ok()
        .and_then(|status| account_of(&status));
    Ok((peer.pid(), account))
}

/// Parses the effective user and group of a process from the content of /proc/PID/status.
fn account_of(status: &str) -> Option<Account> {
    let effective = |prefix: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Account {
        user: effective("Uid:")?,
        group: effective("Gid:")?,
    })
}

/// Returns the finding for an admin socket on which no agent could be reached.
fn without(socket: &Path, error: &io::Error) -> Finding {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return RUNNING.warn(
            socket.display(),
            "the socket belongs to another user: whether an agent runs is not known, and its ports may look \
             like conflicts",
            "run this as root or as the agent's user",
        );
    }
    let found = "no agent is running: checks that need one are skipped";
    RUNNING.skipped(socket.display(), found)
}

fn judge(socket: &Path, agent: &RunningAgent) -> Finding {
    let Some(status) = &agent.status else {
        return RUNNING.fail(
            socket.display(),
            format!(
                "process {} listens, but did not answer within {PATIENCE:?}",
                agent.pid
            ),
            "run this as root or as the agent's user; if the agent hangs, see its log: \
             `journalctl -u lb`, and restart it: `systemctl restart lb`",
        );
    };
    let running = format!("version {} runs as process {}", status.version, agent.pid);
    if status.problems.is_empty() {
        return RUNNING.ok(socket.display(), running);
    }
    RUNNING.warn(
        socket.display(),
        format!("{running}, and reports: {}", status.problems.join("; ")),
        "see `lb status`, and the checks below",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admin::examples_of_status, doctor::State};

    #[test]
    fn the_effective_user_is_the_second_number() {
        let status = "Name:\tlb\nUid:\t0\t997\t997\t997\nGid:\t0\t998\t998\t998\n";
        let account = account_of(status).expect("parsed");
        assert_eq!((account.user, account.group), (997, 998));
        assert_eq!(account_of("Name: lb\n"), None);
    }

    #[test]
    fn an_account_is_shown_by_its_names_and_by_its_numbers_without_one() {
        let names = |user, group| Account { user, group }.names();
        assert_eq!(names(0, 0), ("root".to_owned(), "root".to_owned()));
        let unused = 4_294_000_000;
        let number = unused.to_string();
        assert_eq!(names(unused, unused), (number.clone(), number));
    }

    #[test]
    fn permissions_are_those_of_the_first_class_that_fits() {
        let lb = Account {
            user: 997,
            group: 998,
        };
        let may_write = |owner, group, mode| lb.has(0o3, (owner, group, mode));
        assert!(may_write(997, 0, 0o100_700) && may_write(0, 998, 0o770) && may_write(0, 0, 0o777));
        assert!(!may_write(0, 0, 0o755) && !may_write(997, 0, 0o500));
        assert!(
            !may_write(997, 998, 0o077),
            "the class of the owner counts alone"
        );
        let root = Account { user: 0, group: 0 };
        assert!(root.has(0o7, (997, 998, 0)));
    }

    #[test]
    fn an_agent_that_does_not_answer_is_a_failure_and_one_that_does_not_run_is_not() {
        let socket = Path::new("/run/lb/lb.sock");
        let state = |kind: io::ErrorKind| without(socket, &kind.into()).state;
        assert_eq!(state(io::ErrorKind::NotFound), State::Skipped);
        assert_eq!(state(io::ErrorKind::ConnectionRefused), State::Skipped);
        assert_eq!(state(io::ErrorKind::PermissionDenied), State::Warn);
        let mut agent = RunningAgent {
            pid: 42,
            account: None,
            status: None,
        };
        assert_eq!(judge(socket, &agent).state, State::Fail);
        let mut status = examples_of_status();
        status.problems.clear();
        agent.status = Some(status.clone());
        assert_eq!(judge(socket, &agent).state, State::Ok);
        status.problems.push("no backend is up".to_owned());
        agent.status = Some(status);
        let finding = judge(socket, &agent);
        assert_eq!(finding.state, State::Warn);
        assert!(finding.found.contains("no backend is up"));
    }
}
