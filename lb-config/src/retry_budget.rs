//! `retry_budget` and `min_retries_per_second`: limits on retries.

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
    meaning: "Maximum number of retries, as a share of the requests of the last ten seconds: if \
              all backends fail, retries add no more than this to their load. See \
              [retries](balancing.md#retries). For pools of services of mode `http` and `https`.",
};

pub(super) static PER_SECOND: Key<Whole<u32>> = Key {
    name: "min_retries_per_second",
    kind: Whole(RangeInclusive::new(0, 1_000_000)),
    absent: Absent::Is("10"),
    meaning: "Retries per second that are allowed in addition, averaged over ten seconds, so that \
              services with few requests get retries.",
};

/// Reads `retry_budget` and `min_retries_per_second`, or their defaults.
pub(super) fn read(section: &Section<'_>) -> Result<RetryBudget, Reported> {
    let share = section.value(&RETRY_BUDGET).map(Spanned::into_inner);
    let per_second = section.value(&PER_SECOND).map(Spanned::into_inner);
    Ok(RetryBudget {
        share: share?,
        per_second: per_second?,
    })
}
