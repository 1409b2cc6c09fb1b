//! `[ha.notify]`: commands to run when the host's role changes.

use toml::Spanned;

use super::{
    super::{
        Notify,
        schema::{Absent, Entry as _, Key, Schema},
        section::Section,
        source::Reported,
    },
    command::Command,
};

pub(super) static NOTIFY: Schema = Schema {
    name: "notify",
    header: "[ha.notify]",
    about: "Commands to run when this host's role changes: a program and its arguments. As \
            keepalived does, the agent appends `INSTANCE`, the node's name, the role (`MASTER`, \
            `BACKUP`, `FAULT`, `STOP`) and the priority. One command runs at a time; of the \
            pending ones only the newest is run. A command that takes longer than 30 s is killed. \
            They run as scripts of `[[ha.track]]` do, in the agent's sandbox.",
    presence: "Optional.",
    keys: &[&MASTER, &BACKUP, &FAULT, &STOP],
    tables: &[],
};

const NOTHING: Absent = Absent::Means("nothing is run");

static MASTER: Key<Command> = Key {
    name: "master",
    kind: Command,
    absent: NOTHING,
    meaning: "Run when the host becomes active.",
};

static BACKUP: Key<Command> = Key {
    name: "backup",
    kind: Command,
    absent: NOTHING,
    meaning: "Run when the host becomes the standby.",
};

static FAULT: Key<Command> = Key {
    name: "fault",
    kind: Command,
    absent: NOTHING,
    meaning: "Run on a fault.",
};

static STOP: Key<Command> = Key {
    name: "stop",
    kind: Command,
    absent: NOTHING,
    meaning: "Run when the agent stops, which waits up to 10 s for it.",
};

/// Reads the section `[ha.notify]`; without it there are no commands.
pub(super) fn read(ha: &Section<'_>) -> Result<Notify, Reported> {
    let Some(section) = ha.table(&NOTIFY)? else {
        return Ok(Notify::default());
    };
    let [master, backup, fault, stop] =
        [&MASTER, &BACKUP, &FAULT, &STOP].map(|key| section.optional(key));
    let given = |command: Option<Spanned<_>>| command.map(Spanned::into_inner);
    let notify = Notify {
        master: master.map(given)?,
        backup: backup.map(given)?,
        fault: fault.map(given)?,
        stop: stop.map(given)?,
    };
    if notify == Notify::default() {
        let message = "[ha.notify] has no command".to_owned();
        let example = "[\"/usr/local/bin/on-master\"]";
        let hint = format!("add one, for example: {} = {example}", MASTER.name());
        return Err(section.error(message, hint));
    }
    Ok(notify)
}
