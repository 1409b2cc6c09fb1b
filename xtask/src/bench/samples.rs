//! Figures of a benchmark that are measured once in each round.

use serde::{Deserialize, Serialize};

/// The figures of one subject of a benchmark, such as a proxy: one for each round.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds the figure of a round.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Returns the median of the rounds' figures; `None` if there are no rounds.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper))
    }

    /// Returns the minimum of the rounds' figures; `None` if there are no rounds.
    pub(crate) fn least(&self) -> Option<f64> {
        self.0.iter().copied().min_by(f64::total_cmp)
    }

    /// Returns the maximum of the rounds' figures; `None` if there are no rounds.
    pub(crate) fn most(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }

    /// Returns the median of the ratios to `other`, each computed within one round, because the
    /// machine's clock speed varies much more between rounds than within a round.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        let ratios = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(ours, theirs)| ours / theirs);
        Self(ratios.collect()).median()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_an_outlier() {
        assert_eq!(Samples(vec![5.0, 1_000.0, 4.0]).median(), Some(5.0));
        assert_eq!(Samples(vec![4.0, 6.0]).median(), Some(5.0));
        assert_eq!(Samples::default().median(), None);
    }

    #[test]
    fn the_worst_round_is_not_hidden() {
        let samples = Samples(vec![5.0, 1_000.0, 4.0]);
        assert_eq!(
            (samples.least(), samples.most()),
            (Some(4.0), Some(1_000.0))
        );
        assert_eq!(Samples::default().most(), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ours = Samples(vec![1.0, 10.0, 100.0]);
        let theirs = Samples(vec![2.0, 20.0, 200.0]);
        assert_eq!(ours.ratio_to(&theirs), Some(0.5));
    }
}
