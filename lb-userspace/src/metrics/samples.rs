//! Encodes the samples of a metric family.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::Family;

/// Encodes the samples of one metric family. Label values are passed in the order of
/// [`Family::labels`].
///
/// For a counter whose label has a fixed set of values, callers encode all of them, including
/// zeros: `increase()` in PromQL misses the first event of a counter that appears only with that
/// event.
#[derive(Debug)]
pub struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl<'a> Samples<'a> {
    /// Encodes the family's name, type and help text. The caller must encode the samples after
    /// that.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn begin(
        encoder: &'a mut DescriptorEncoder<'_>,
        family: &'static Family,
    ) -> Result<Self, fmt::Error> {
        // The encoder appends `_total` to the name of a counter, so it is removed here.
        let name = match family.kind {
            MetricType::Counter => family.name.trim_end_matches("_total"),
            _ => family.name,
        };
        let encoder = encoder.encode_descriptor(name, family.help, None, family.kind)?;
        Ok(Self {
            encoder,
            labels: family.labels,
        })
    }

    /// Encodes a sample of a counter with these label values.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn counter(&mut self, values: &[&str], value: &impl EncodeCounterValue) -> fmt::Result {
        let encode = |sample: &mut MetricEncoder<'_>| {
            sample.encode_counter::<NoLabelSet, _, u64>(value, None)
        };
        self.sample(values, encode)
    }

    /// Encodes the samples of a counter with one label, from pairs of label value and count.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn counters<S: AsRef<str>>(
        &mut self,
        counts: impl IntoIterator<Item = (S, u64)>,
    ) -> fmt::Result {
        for (value, count) in counts {
            self.counter(&[value.as_ref()], &count)?;
        }
        Ok(())
    }

    /// Encodes a sample of a gauge with these label values.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn gauge(&mut self, values: &[&str], value: f64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_gauge(&value))
    }

    /// Encodes a state as a gauge for each of `states`, the values of the family's last label: the
    /// sample is 1 for `current`, 0 for the other states. `values` are the values of the family's
    /// labels before the last one.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn state(&mut self, values: &[&str], states: &[&str], current: &str) -> fmt::Result {
        for state in states {
            let values: Vec<_> = values.iter().copied().chain([*state]).collect();
            self.gauge(&values, flag(*state == current))?;
        }
        Ok(())
    }

    /// Encodes a histogram with these label values. `bounds` are the ascending upper bounds of all
    /// buckets but the last bucket, which has no bound. `counts` has one element more than
    /// `bounds`: the number of observations in each bucket, not cumulative.
    ///
    /// # Errors
    /// The text of the metrics could not be written.
    pub fn histogram(
        &mut self,
        values: &[&str],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> fmt::Result {
        // The encoder writes the bound `f64::MAX` as `+Inf`.
        let bounds = bounds.iter().copied().chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let count = counts.iter().sum();
        self.sample(values, |sample| {
            sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn sample(
        &mut self,
        values: &[&str],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if values.is_empty() {
            return encode(&mut self.encoder);
        }
        let labels = self.labelled(values);
        encode(&mut self.encoder.encode_family(&labels)?)
    }

    fn labelled(&self, values: &[&str]) -> Vec<(&'static str, String)> {
        debug_assert_eq!(self.labels.len(), values.len(), "{:?}", self.labels);
        let values = values.iter().map(|value| escaped(value));
        self.labels.iter().copied().zip(values).collect()
    }
}

/// Converts a boolean to the value of a gauge: 1 for true, 0 for false.
#[must_use]
pub fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

/// Converts a time to the value of a gauge: seconds since 1970-01-01 UTC, negative before that.
#[must_use]
pub fn unix_seconds(moment: SystemTime) -> f64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Escapes a label value for the text format, which the encoder does not do.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\");
    value.replace('"', "\\\"").replace('\n', "\\n")
}
