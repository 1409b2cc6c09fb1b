//! Checks of `lb doctor` about the folders that the agent writes to, the disks that they are on,
//! and the files that hold secrets.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{sys::statvfs::statvfs, unistd::Uid};

use super::{
    agent::{Account, RunningAgent},
    check::{Check, Group},
    finding::{Finding, State},
};
use crate::{
    admin::{TOKEN_FORM, is_token},
    config::{Authentication, Config, LogTarget},
    private_file::{self, PrivateFileError, user_name},
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
    looks_at: "The files of `admin.token_file`, `ha.hmac_key_file` and `acme.eab_key_file`: owner and mode; of the operator token also the content.",
    why: "The agent refuses a key or a token that other users can read.",
    fix: "`chmod 600 FILE`, `chown lb: FILE`; `openssl rand -hex 32 >FILE` writes a token.",
};

pub(super) static CHECKS: [&Check; 3] = [&FOLDER, &DISK, &PRIVATE];

/// Makes the checks about files, folders and disks.
pub(super) fn check(config: &Config, agent: Option<&RunningAgent>) -> Vec<Finding> {
    let account = Account::of(agent);
    let mut findings: Vec<_> = folders(config)
        .iter()
        .map(|folder| judge_folder(folder, Existing::above(folder).as_ref(), account))
        .collect();
    findings.extend(folders(config).iter().map(|folder| disk(folder)));
    findings.extend(keys(config).iter().map(|file| private(file, account)));
    let token = config.admin.token_file.as_deref();
    findings.extend(token.map(|file| token_file(file, account)));
    findings
}

fn private(file: &Path, account: Account) -> Finding {
    let read = private_file::read(file, MAX_KEY_BYTES);
    let read = read.map(|_| "only the agent can read it".to_owned());
    judge_private(&PRIVATE, file, read, account)
}

/// Checks the file of the operator token.
fn token_file(file: &Path, account: Account) -> Finding {
    let finding = private(file, account);
    if finding.state == State::Ok && content(file).is_ok_and(|content| !is_token(&content)) {
        let subject = &file.display();
        return PRIVATE.fail(
            subject,
            TOKEN_FORM,
            format!("`openssl rand -hex 32 >{subject}`"),
        );
    }
    finding
}

/// Reads a file whatever user owns it, which root can. The checks of owner and mode are made
/// elsewhere.
fn content(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(file)?
        .take(MAX_KEY_BYTES)
        .read_to_end(&mut content)?;
    Ok(content)
}

/// Maximum number of bytes that are read of a key file; every key is shorter.
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

/// A folder that the agent writes to, or the nearest path above it that exists.
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
        account.has(WRITE_AND_SEARCH, (self.owner, self.group, self.mode))
    }
}

/// Folders that lb's systemd unit makes when it starts the agent.
const MADE_BY_UNIT: [&str; 3] = ["/run/lb", "/var/lib/lb", "/var/log/lb"];

/// Returns whether lb's systemd unit will make a folder, or a folder above it. `existing` is the
/// nearest path above the folder that exists.
fn is_made_by_unit(folder: &Path, existing: &Path) -> bool {
    let mut made = MADE_BY_UNIT.iter();
    made.any(|made| folder.starts_with(made) && !existing.starts_with(made))
}

fn judge_folder(folder: &Path, existing: Option<&Existing>, account: Account) -> Finding {
    let subject = &folder.display();
    let (user, group) = account.names();
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
        (false, false) if is_made_by_unit(folder, &existing.path) => {
            FOLDER.ok(subject, "does not exist yet; the systemd unit makes it")
        }
        (true, false) => FOLDER.fail(
            subject,
            format!(
                "user {user} may not write there: it belongs to {} with mode {:04o}",
                user_name(Uid::from_raw(existing.owner)),
                existing.mode
            ),
            format!("`chown {user}:{group} {subject}` and `chmod u+rwx {subject}`"),
        ),
        (false, false) => FOLDER.fail(
            subject,
            format!(
                "does not exist, and user {user} may not create it in {}",
                existing.path.display()
            ),
            make,
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

/// Checks how much of a file system is free: its space and its inodes, each in percent; `None` if
/// the file system has no limit of them.
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

/// Checks a file with a key or a secret. `read` is the result of reading the file with the rights
/// of this process, as text for the output; `account` is the user and group of the agent.
pub(super) fn judge_private(
    check: &'static Check,
    file: &Path,
    read: Result<String, PrivateFileError>,
    account: Account,
) -> Finding {
    let subject = &file.display();
    let (user, group) = account.names();
    let chown = format!("`chown {user}:{group} {subject}`");
    let is_readable = fs::metadata(file).is_ok_and(|metadata| account.may(0o4, &metadata));
    match read {
        Ok(_) if !is_readable => check.fail(
            subject,
            format!("user {user}, which the agent runs as, may not read it"),
            chown,
        ),
        Ok(found) => check.ok(subject, found),
        // This process runs as root, and the file belongs to the agent's user, as it should: the
        // error only says that the owner is not root. The mode has not been checked yet.
        Err(PrivateFileError::Owner { .. }) if is_readable => match open_to_others(file) {
            None => check.ok(
                subject,
                format!("belongs to user {user}, which the agent runs as"),
            ),
            Some(mode) => check.fail(
                subject,
                format!("its mode is {mode:04o}, which gives access to other users"),
                format!("{chown} and `chmod 600 {subject}`"),
            ),
        },
        Err(error @ PrivateFileError::Open { .. }) => {
            check.fail(subject, error, format!("`chmod 600 {subject}`"))
        }
        Err(error @ PrivateFileError::Missing) => check.fail(
            subject,
            error,
            format!("copy the file to {subject}, or correct the path"),
        ),
        Err(error) => check.fail(subject, error, format!("{chown} and `chmod 600 {subject}`")),
    }
}

/// Returns the mode of a file if it gives access to users other than the owner.
fn open_to_others(file: &Path) -> Option<u32> {
    let mode = fs::metadata(file).ok()?.mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LB: Account = Account {
        user: 997,
        group: 998,
    };

    fn existing(path: &str, owner: u32, group: u32, mode: u32) -> Existing {
        Existing {
            path: PathBuf::from(path),
            is_folder: true,
            owner,
            group,
            mode,
        }
    }

    fn judged(existing: Option<&Existing>, account: Account) -> Finding {
        judge_folder(Path::new("/var/lib/lb/acme"), existing, account)
    }

    #[test]
    fn a_folder_that_the_agent_may_not_write_to_is_a_failure() {
        let state = |owner| judged(Some(&existing("/var/lib/lb/acme", owner, 0, 0o755)), LB).state;
        assert_eq!((state(997), state(0)), (State::Ok, State::Fail));
    }

    #[test]
    fn folders_of_the_unit_need_not_exist_before_its_start() {
        let folder = Path::new("/run/lb");
        let judged = judge_folder(folder, Some(&existing("/run", 0, 0, 0o755)), LB);
        assert_eq!(judged.state, State::Ok);
        let elsewhere = Path::new("/srv/lb");
        let judged = judge_folder(elsewhere, Some(&existing("/srv", 0, 0, 0o755)), LB);
        assert_eq!(judged.state, State::Fail);
    }

    #[test]
    fn a_secret_of_the_agents_user_is_right_when_root_looks_at_it() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        fs::write(&file, "x").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
        let state = |account| {
            let read = private_file::read(&file, 8).map(|_| String::new());
            judge_private(&PRIVATE, &file, read, account).state
        };
        assert_eq!(state(LB), State::Fail, "it belongs to root");
        std::os::unix::fs::chown(&file, Some(997), Some(998)).expect("chown");
        assert_eq!(state(LB), State::Ok);
        let other = Account {
            user: 4242,
            group: 4242,
        };
        assert_eq!(state(other), State::Fail);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("its mode");
        assert_eq!(state(LB), State::Fail, "others can read it");
    }

    #[test]
    fn an_operator_token_must_be_one_for_the_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let judged = |text: &str, mode| {
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
            token_file(&file, Account::ours())
        };
        assert_eq!(judged("0123456789abcdef\n", 0o600).state, State::Ok);
        assert_eq!(judged("0123456789abcdef\n", 0o640).state, State::Fail);
        let short = judged("0123456789", 0o600);
        assert_eq!(short.state, State::Fail);
        assert!(short.found.contains("16 to 512"), "{short:?}");
        let missing = token_file(&folder.path().join("missing"), Account::ours());
        assert_eq!(missing.state, State::Fail);

        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(997), Some(998)).expect("chown");
            assert_eq!(token_file(&file, LB).state, State::Fail, "it is too short");
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_judged_by_the_one_above() {
        let above = |owner| existing("/var/lib/lb", owner, 0, 0o755);
        assert_eq!(judged(Some(&above(997)), LB).state, State::Ok);
        let finding = judged(Some(&above(0)), LB);
        assert_eq!(finding.state, State::Fail);
        let (user, group) = LB.names();
        assert!(finding.fix.expect("a fix").contains(&format!(
            "`install -d -o {user} -g {group} /var/lib/lb/acme`"
        )));
        let root = Account { user: 0, group: 0 };
        assert_eq!(judged(Some(&above(0)), root).state, State::Ok);
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
