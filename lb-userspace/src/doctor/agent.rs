//! The agent that runs on this host, if any.

use std::{fs, os::unix::net::UnixStream, path::Path, time::Duration};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{
    catalogue::{Check, Group},
    finding::Finding,
};
use crate::admin::{Client, Status};

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

/// An agent that runs on this host.
#[derive(Clone, Debug)]
pub(super) struct RunningAgent {
    /// The process id of the agent.
    pub(super) pid: i32,
    /// The effective user and group of the agent; `None` if they cannot be read.
    pub(super) account: Option<Account>,
    /// The status of the agent; `None` if it did not answer in time.
    pub(super) status: Option<Status>,
}

/// A user and group of the system, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Finds the agent that listens on the admin socket. Returns it, or `None` if no agent runs, and
/// the findings about it.
pub(super) async fn find(socket: &Path) -> (Option<RunningAgent>, Vec<Finding>) {
    let Some((pid, account)) = listener_of(socket) else {
        return (None, vec![judge(socket, None)]);
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
    let finding = judge(socket, Some(&agent));
    (Some(agent), vec![finding])
}

/// Returns the process that listens on a Unix socket, with its effective user and group; `None` if
/// no process does.
fn listener_of(socket: &Path) -> Option<(i32, Option<Account>)> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    let account = fs::read_to_string(format!("/proc/{}/status", peer.pid()))
        .ok()
        .and_then(|status| account_of(&status));
    Some((peer.pid(), account))
}

/// Parses the effective user and group out of /proc/PID/status.
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

fn judge(socket: &Path, agent: Option<&RunningAgent>) -> Finding {
    let Some(agent) = agent else {
        let found = "no agent is running: checks that need one are skipped";
        return RUNNING.skipped(socket.display(), found);
    };
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
    fn an_agent_that_does_not_answer_is_a_failure_and_one_that_does_not_run_is_not() {
        let socket = Path::new("/run/lb/lb.sock");
        assert_eq!(judge(socket, None).state, State::Skipped);
        let mut agent = RunningAgent {
            pid: 42,
            account: None,
            status: None,
        };
        assert_eq!(judge(socket, Some(&agent)).state, State::Fail);
        let mut status = examples_of_status();
        status.problems.clear();
        agent.status = Some(status.clone());
        assert_eq!(judge(socket, Some(&agent)).state, State::Ok);
        status.problems.push("no backend is up".to_owned());
        agent.status = Some(status);
        let finding = judge(socket, Some(&agent));
        assert_eq!(finding.state, State::Warn);
        assert!(finding.found.contains("no backend is up"));
    }
}
