//! The metrics of the access log.

use std::fmt;

use super::Counted;
use crate::metrics::{Collector, DescriptorEncoder, Samples, families};

families! {
    LOG_LINES: Counter "lb_access_log_lines_total" []
        "Lines written to the access log.";
    LOG_DROPPED: Counter "lb_access_log_dropped_total" ["reason"]
        "Lines of the access log that were dropped, by reason.";
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(&mut encoder, &LOG_LINES)?.counter(&[], &self.written)?;
        let dropped = [("no_room", self.no_room), ("not_written", self.not_written)];
        Samples::begin(&mut encoder, &LOG_DROPPED)?.counters(dropped)
    }
}
