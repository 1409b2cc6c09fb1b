//! Folders that the agent writes to, disks, and files that hold secrets.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    sys::statvfs::statvfs,
    unistd::{User, getegid, geteuid},
};

use super::{
    agent::{Account, RunningAgent},
    catalogue::{Check, Group},
    finding::Finding,
};
use crate::{
    config::{Authentication, Config, LogTarget},
    private_file::{self, PrivateFileError},
};

pub(super) static FOLDER: Check = Check {
    name: "folder",
    group: Group::Files,
    looks_at: "The folders of `admin.socket`, `acme.storage` and the access log: whether the user of the agent \
               may write there. That is the user of the running agent; without one, `lb` if there is such a \
               user, else the user of this command.",
    why: "The agent keeps its socket, operator overrides, certificates and log lines there.",
    fix: "`install -d -o lb -g lb FOLDER`.",
};

pub(super) static DISK: Check = Check {
    name: "disk_space",
    group: Group::Files,
    looks_at: "Free space and free inodes of the file systems of these folders. Less than 5 % is a warning, \
               less than 1 % a failure.",
    why: "A certificate that cannot be written is not renewed, and overrides are lost with a restart.",
    fix: "Remove what is not needed, or enlarge the file system.",
};

pub(super) static PRIVATE: Check = Check {
    name: "private_file",
    group: Group::Files,
    looks_at: "The files of `ha.hmac_key_file` and `acme.external_account`: owner and mode.",
    why: "The agent refuses a key that other users can read.",
    fix: "`chmod 600 FILE`, `chown lb: FILE`.",
};

pub(super) static CHECKS: [&Check; 3] = [&FOLDER, &DISK, &PRIVATE];

/// Makes the checks of folders, disks and files with secrets.
pub(super) fn check(config: &Config, agent: Option<&RunningAgent>) -> Vec<Finding> {
    let account = agent
        .and_then(|agent| agent.account)
        .unwrap_or_else(account);
    let mut findings: Vec<_> = folders(config)
        .iter()
        .map(|folder| judge_folder(folder, &Existing::above(folder), account))
        .collect();
    findings.extend(folders(config).iter().map(|folder| disk(folder)));
    let keys = keys(config);
    findings.extend(
        keys.iter()
            .map(|file| private(file, private_file::read(file, MAX_KEY_BYTES))),
    );
    findings
}

/// Size limit in bytes of a file with a secret, which is larger than any key.
const MAX_KEY_BYTES: u64 = 64 * 1024;

fn folders(config: &Config) -> BTreeSet<PathBuf> {
    let parent = |file: &Path| file.parent().map(Path::to_owned);
    let log = config.log.access.as_ref().and_then(|log| match &log.to {
        LogTarget::File(file) => parent(file),
        LogTarget::Stdout | LogTarget::Syslog => None,
    });
    let storage = config.acme.as_ref().map(|acme| acme.storage.clone());
    parent(&config.admin.socket)
        .into_iter()
        .chain(log)
        .chain(storage)
        .collect()
}

fn keys(config: &Config) -> Vec<PathBuf> {
    let adverts = config.ha.as_ref().and_then(|ha| match &ha.authentication {
        Authentication::Hmac(file) => Some(file.clone()),
        Authentication::None | Authentication::Password(_) => None,
    });
    let external = config
        .acme
        .as_ref()
        .and_then(|acme| acme.external_account.as_ref());
    adverts
        .into_iter()
        .chain(external.map(|account| account.key_file.clone()))
        .collect()
}

/// Returns the account that the agent will probably run as: the user `lb` if root runs this command
/// and that user exists, otherwise the user who runs this command.
fn account() -> Account {
    let own = Account {
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
    };
    if own.user != 0 {
        return own;
    }
    match User::from_name("lb") {
        Ok(Some(user)) => Account {
            user: user.uid.as_raw(),
            group: user.gid.as_raw(),
        },
        _ => own,
    }
}

/// The nearest folder of a path that exists.
#[derive(Clone, Debug)]
struct Existing {
    path: PathBuf,
    is_folder: bool,
    owner: u32,
    group: u32,
    mode: u32,
}

impl Existing {
    fn above(folder: &Path) -> Option<Self> {
        folder.ancestors().find_map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some(Self {
                path: path.to_owned(),
                is_folder: metadata.is_dir(),
                owner: metadata.uid(),
                group: metadata.gid(),
                mode: metadata.mode() & 0o7777,
            })
        })
    }

    fn can_be_written_by(&self, account: Account) -> bool {
        const WRITE_AND_SEARCH: u32 = 0o3;
        let shift = match account {
            Account { user: 0, .. } => return true,
            Account { user, .. } if user == self.owner => 6,
            Account { group, .. } if group == self.group => 3,
            _ => 0,
        };
        self.mode >> shift & WRITE_AND_SEARCH == WRITE_AND_SEARCH
    }
}

fn judge_folder(folder: &Path, existing: &Option<Existing>, account: Account) -> Finding {
    let subject = &folder.display();
    let Account { user, group } = account;
    let make = format!("`install -d -o {user} -g {group} {subject}`");
    let Some(existing) = existing else {
        return FOLDER.fail(subject, "the folder does not exist", make);
    };
    if !existing.is_folder {
        let file = existing.path.display();
        return FOLDER.fail(
            subject,
            format!("{file} is not a folder"),
            format!("move {file} away, then {make}"),
        );
    }
    let is_itself = existing.path == folder;
    match (is_itself, existing.can_be_written_by(account)) {
        (true, true) => FOLDER.ok(subject, format!("user {user} may write there")),
        (false, true) => FOLDER.ok(subject, "does not exist yet; the agent may create it"),
        (true, false) => FOLDER.fail(
            subject,
            format!(
                "user {user} may not write there: it belongs to {} with mode {:04o}",
                existing.owner, existing.mode
            ),
            format!("`chown {user}:{group} {subject}` and `chmod u+rwx {subject}`"),
        ),
        (false, false) => FOLDER.fail(
            subject,
            format!(
                "does not exist, and user {user} may not create it in {}",
                existing.path.display()
            ),
            format!("{make}; the systemd unit creates /run/lb, /var/lib/lb and /var/log/lb itself"),
        ),
    }
}

fn disk(folder: &Path) -> Finding {
    let existing = folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(folder);
    match statvfs(existing) {
        Ok(found) => {
            let percent = |free: u64, all: u64| (all > 0).then(|| free.saturating_mul(100) / all);
            let space = percent(found.blocks_available(), found.blocks());
            let inodes = percent(found.files_available(), found.files());
            judge_disk(folder, space, inodes)
        }
        Err(error) => DISK.skipped(folder.display(), error),
    }
}

/// Judges the free space and the free inodes of a folder's file system, in percent; `None` if the
/// file system has no such limit.
fn judge_disk(folder: &Path, space: Option<u64>, inodes: Option<u64>) -> Finding {
    let subject = &folder.display();
    let least = match (space, inodes) {
        (Some(space), Some(inodes)) if inodes < space => Some((inodes, "inodes are")),
        (Some(space), _) => Some((space, "space is")),
        (None, inodes) => inodes.map(|inodes| (inodes, "inodes are")),
    };
    let Some((percent, what)) = least else {
        return DISK.ok(subject, "the file system has no limit");
    };
    let found = format!("{percent} % of the {what} free");
    let fix = format!(
        "see `df -h {subject}` and `df -i {subject}`: remove what is not needed, or enlarge it"
    );
    match percent {
        0 => DISK.fail(subject, found, fix),
        1..5 => DISK.warn(subject, found, fix),
        _ => DISK.ok(subject, found),
    }
}

fn private(file: &Path, read: Result<Vec<u8>, PrivateFileError>) -> Finding {
    let subject = &file.display();
    match read {
        Ok(_) => PRIVATE.ok(subject, "only the agent can read it"),
        Err(error @ PrivateFileError::Open { .. }) => {
            PRIVATE.fail(subject, error, format!("`chmod 600 {subject}`"))
        }
        Err(error @ PrivateFileError::Missing) => PRIVATE.fail(
            subject,
            error,
            format!("copy the key to {subject}, or correct the path"),
        ),
        Err(error) => PRIVATE.fail(
            subject,
            error,
            format!("`chown lb: {subject}` and `chmod 600 {subject}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const LB: Account = Account {
        user: 997,
        group: 998,
    };

    fn existing(path: &str, owner: u32, group: u32, mode: u32) -> Option<Existing> {
        Some(Existing {
            path: PathBuf::from(path),
            is_folder: true,
            owner,
            group,
            mode,
        })
    }

    fn judged(existing: Option<Existing>, account: Account) -> Finding {
        judge_folder(Path::new("/var/lib/lb/acme"), &existing, account)
    }

    #[test]
    fn a_folder_is_written_by_owner_group_or_others() {
        let state =
            |owner, group, mode| judged(existing("/var/lib/lb/acme", owner, group, mode), LB).state;
        assert_eq!(state(997, 0, 0o700), State::Ok);
        assert_eq!(state(0, 998, 0o770), State::Ok);
        assert_eq!(state(0, 0, 0o777), State::Ok);
        assert_eq!(state(0, 0, 0o755), State::Fail);
        assert_eq!(state(997, 0, 0o500), State::Fail);
        // For the owner of a folder only the owner's permission bits count, not those of the group.
        assert_eq!(state(997, 998, 0o070), State::Fail);
    }

    #[test]
    fn a_folder_that_is_missing_is_judged_by_the_one_above() {
        let above = |owner| existing("/var/lib/lb", owner, 0, 0o755);
        assert_eq!(judged(above(997), LB).state, State::Ok);
        let finding = judged(above(0), LB);
        assert_eq!(finding.state, State::Fail);
        assert!(
            finding
                .fix
                .expect("a fix")
                .contains("`install -d -o 997 -g 998 /var/lib/lb/acme`")
        );
        let root = Account { user: 0, group: 0 };
        assert_eq!(judged(above(0), root).state, State::Ok);
        assert_eq!(judged(None, LB).state, State::Fail);
    }

    #[test]
    fn a_disk_fails_by_its_space_or_its_inodes() {
        let state = |space, inodes| judge_disk(Path::new("/x"), space, inodes).state;
        assert_eq!(state(Some(50), Some(50)), State::Ok);
        assert_eq!(state(Some(4), Some(50)), State::Warn);
        assert_eq!(state(Some(0), Some(50)), State::Fail);
        assert_eq!(state(Some(50), Some(0)), State::Fail);
        assert_eq!(state(None, None), State::Ok);
    }
}
