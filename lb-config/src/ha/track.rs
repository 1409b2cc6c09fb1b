//! `[[ha.track]]`: scripts that check the health of the host.

use std::{ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{
    super::{
        Name, TrackScript,
        duration::spell,
        kind::{Signed, Text, Time, Whole},
        schema::{Absent, Key, Schema},
        section::Section,
        source::Reported,
        text, unique,
    },
    command::Command,
};

pub(super) static TRACK: Schema = Schema {
    name: "track",
    header: "[[ha.track]]",
    about: "A script whose exit code says whether this host is healthy: 0 is success; any other \
            code and a timeout are failures. The agent checks its own services, interface and \
            backends without a script.",
    presence: "Optional.",
    keys: &[&NAME, &COMMAND, &INTERVAL, &TIMEOUT, &RISE, &FALL, &WEIGHT],
    tables: &[],
};

static NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Refused("\"uplink\""),
    meaning: "The script's name, unique among the scripts.",
};

static COMMAND: Key<Command> = Key {
    name: "command",
    kind: Command,
    absent: Absent::Refused("[\"/usr/local/bin/check-uplink\", \"--quick\"]"),
    meaning: "The program and its arguments. There is no shell, and the environment has only \
              `PATH`. The program runs as the agent's user and in its sandbox: see [scripts and \
              commands](high-availability.md#scripts-and-commands).",
};

static INTERVAL: Key<Time> = Key {
    name: "interval",
    kind: Time::milliseconds(100, 3_600_000),
    absent: Absent::Is("\"1s\""),
    meaning: "From the start of one run to the start of the next.",
};

static TIMEOUT: Key<Time> = Key {
    name: "timeout",
    kind: Time::milliseconds(10, 3_600_000),
    absent: Absent::Is("\"1s\""),
    meaning: "A run that takes longer is killed together with its child processes, and has failed. \
              At most `interval`; where `interval` is shorter than the default, the default is \
              `interval`.",
};

static RISE: Key<Whole<u32>> = Key {
    name: "rise",
    kind: Whole(RangeInclusive::new(1, 1_000)),
    absent: Absent::Is("2"),
    meaning: "Successes in a row after which the host is healthy.",
};

static FALL: Key<Whole<u32>> = Key {
    name: "fall",
    kind: Whole(RangeInclusive::new(1, 1_000)),
    absent: Absent::Is("2"),
    meaning: "Failures in a row after which the host is unhealthy.",
};

static WEIGHT: Key<Signed> = Key {
    name: "weight",
    kind: Signed(RangeInclusive::new(-253, 253)),
    absent: Absent::Is("0"),
    meaning: "The effect on the priority. 0: failing is a fault, and the host cannot be active. \
              Below 0: added while the script fails. Above 0: added while it succeeds.",
};

/// Reads every table `[[ha.track]]` of the file.
pub(super) fn read(ha: &Section<'_>) -> Result<Vec<TrackScript>, Reported> {
    let sections = ha.tables(&TRACK)?;
    let names: Vec<_> = sections
        .iter()
        .map(|section| section.value(&NAME))
        .collect();
    let known = names.iter().filter_map(|name| name.as_ref().ok());
    let unique = unique::refuse_twice("script", "in this file", known, ha.source());
    let scripts: Vec<_> = sections.iter().map(read_script).collect();
    unique?;
    scripts.into_iter().collect()
}

fn read_script(section: &Section<'_>) -> Result<TrackScript, Reported> {
    let name = section.value(&NAME);
    let command = section.value(&COMMAND);
    let times = read_times(section);
    let rise = section.value(&RISE);
    let fall = section.value(&FALL);
    let weight = section.value(&WEIGHT);
    let (interval, timeout) = times?;
    Ok(TrackScript {
        name: name?.into_inner(),
        command: command?.into_inner(),
        interval,
        timeout,
        rise: rise?.into_inner(),
        fall: fall?.into_inner(),
        weight: weight?.into_inner(),
    })
}

fn read_times(section: &Section<'_>) -> Result<(Duration, Duration), Reported> {
    let interval = section.value(&INTERVAL);
    let timeout = section.value(&TIMEOUT);
    let (interval, timeout): (Duration, Spanned<Duration>) = (interval?.into_inner(), timeout?);
    if *timeout.get_ref() <= interval {
        return Ok((interval, timeout.into_inner()));
    }
    if section.place(TIMEOUT.name).is_none() {
        return Ok((interval, interval));
    }
    let message = format!(
        "timeout {} is longer than the interval, {}",
        spell(*timeout.get_ref()),
        spell(interval)
    );
    let hint = "a run must end before the next one starts: shorten the timeout or lengthen the \
                interval";
    Err(section
        .source()
        .error(timeout.span(), message, hint.to_owned()))
}
