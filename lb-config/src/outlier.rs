//! `[pool.outlier]`: backends that fail requests in a row are ejected for a while.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::{
    Outlier, Percent,
    duration::spell,
    kind::{Text, TextOrDigits, Time, Whole},
    list::List,
    percent::PART,
    schema::{Absent, Entry as _, Key, Schema},
    section::Section,
    source::Reported,
    text::STATUSES,
};

pub(super) static OUTLIER: Schema = Schema {
    name: "outlier",
    header: "[pool.outlier]",
    about: "Temporarily ejects backends that fail several requests in a row, whatever the result \
            of their checks; see [outlier ejection](balancing.md#outlier-ejection).",
    presence: "For pools of services of mode `http` and `https`. Optional: without it only checks \
               take backends out of use.",
    keys: &[
        &CONSECUTIVE_FAILURES,
        &STATUSES_THAT_FAIL,
        &EJECTION_TIME,
        &MAX_EJECTION_TIME,
        &MAX_EJECTED,
    ],
    tables: &[],
};

static CONSECUTIVE_FAILURES: Key<Whole<u32>> = Key {
    name: "consecutive_failures",
    kind: Whole(RangeInclusive::new(1, 1_000_000)),
    absent: Absent::Is("5"),
    meaning: "Failures in a row, of all requests to the backend, that eject it. A complete \
              response with any other status resets the count. Failures are: no connection, no \
              complete response, a timeout, and `statuses`.",
};

static STATUSES_THAT_FAIL: Key<List<TextOrDigits<RangeInclusive<u16>>>> = Key {
    name: "statuses",
    kind: List {
        of: STATUSES,
        noun: "status",
    },
    absent: Absent::Is("[500, \"502-504\"]"),
    meaning: "Statuses that are failures. `[]`: no complete response is a failure, whatever its \
              status.",
};

static EJECTION_TIME: Key<Time> = Key {
    name: "ejection_time",
    kind: Time::milliseconds(10, 86_400_000),
    absent: Absent::Is("\"30s\""),
    meaning: "How long a backend is ejected: this time for the first ejection, twice as long for \
              the second in a row, three times for the third. Each `ejection_time` without an \
              ejection lowers that count by one.",
};

static MAX_EJECTION_TIME: Key<Time> = Key {
    name: "max_ejection_time",
    kind: Time::milliseconds(10, 86_400_000),
    absent: Absent::Is("\"5m\""),
    meaning: "The longest ejection. At least `ejection_time`; where that is longer than the default, \
              the default is `ejection_time`.",
};

static MAX_EJECTED: Key<Text<Percent>> = Key {
    name: "max_ejected",
    kind: PART,
    absent: Absent::Is("\"50%\""),
    meaning: "The largest share of the pool's backends that is ejected at the same time, rounded \
              down, but at least one. The last usable backend is never ejected.",
};

/// Reads the section `[pool.outlier]`; `None` if the pool does not have it.
pub(super) fn read(section: &Section<'_>) -> Result<Option<Outlier>, Reported> {
    let Some(table) = section.table(&OUTLIER)? else {
        return Ok(None);
    };
    let consecutive_failures = table.value(&CONSECUTIVE_FAILURES);
    let statuses = table.value(&STATUSES_THAT_FAIL);
    let max_ejected = table.value(&MAX_EJECTED);
    let ejection_time = table.value(&EJECTION_TIME);
    let max_ejection_time = table.value(&MAX_EJECTION_TIME);
    let statuses = statuses.and_then(|listed| listed.into_inner().all());
    let ejection_time = ejection_time?.into_inner();
    let mut longest = max_ejection_time?;
    if *longest.get_ref() < ejection_time {
        if table.place(MAX_EJECTION_TIME.name()).is_some() {
            let message = format!(
                "max_ejection_time {} is shorter than ejection_time, {}",
                spell(*longest.get_ref()),
                spell(ejection_time)
            );
            let hint = "lengthen max_ejection_time or shorten ejection_time".to_owned();
            return Err(table.source().error(longest.span(), message, hint));
        }
        longest = Spanned::new(longest.span(), ejection_time);
    }
    Ok(Some(Outlier {
        consecutive_failures: consecutive_failures?.into_inner(),
        statuses: statuses?,
        ejection_time,
        max_ejection_time: longest.into_inner(),
        max_ejected: max_ejected?.into_inner(),
    }))
}
