//! `retry_budget` and `min_retries_per_second`: how many requests are sent again.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::{
    Percent, RetryBudget,
    kind::{Text, Whole},
    percent::SHARE,
    schema::{Absent, Key},
    section::Section,
    source::Reported,
};

pub(super) static RETRY_BUDGET: Key<Text<Percent>> = Key {
    name: "retry_budget",
    kind: SHARE,
    absent: Absent::Is("\"20%\""),
    meaning: "How many requests are sent again, at most, as a share of the requests of the last ten \
              seconds: where all backends fail, retries then add no more than this to their load. \
              See [retries](balancing.md#retries). For pools of services of mode `http` and `https`.",
};

pub(super) static PER_SECOND: Key<Whole<u32>> = Key {
    name: "min_retries_per_second",
    kind: Whole(RangeInclusive::new(0, 1_000_000)),
    absent: Absent::Is("10"),
    meaning: "Retries a second that there may be besides, on the average of ten seconds, so that a \
              service of few requests has its retries.",
};

/// Reads both.
pub(super) fn read(section: &Section<'_>) -> Result<RetryBudget, Reported> {
    let share = section.value(&RETRY_BUDGET).map(Spanned::into_inner);
    let per_second = section.value(&PER_SECOND).map(Spanned::into_inner);
    Ok(RetryBudget {
        share: share?,
        per_second: per_second?,
    })
}
