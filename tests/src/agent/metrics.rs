//! Parser of the text format of Prometheus.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// The samples of one scrape of `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of a scrape: the value of a metric with one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// The sample's labels, by name.
    pub labels: BTreeMap<String, String>,
    /// The metric's value with these labels.
    pub value: f64,
}

impl Metrics {
    /// Parses a scrape.
    ///
    /// # Errors
    /// At the first line that is neither empty, a comment nor a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a metric: {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// Returns all samples of a metric that have these labels, whatever other labels they have.
    #[must_use]
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name && sample.has(labels))
            .collect()
    }

    /// Returns the sum of the samples of a metric that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels)
            .iter()
            .map(|sample| sample.value)
            .sum()
    }
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        (labels.iter()).all(|(key, value)| self.labels.get(*key).is_some_and(|has| has == value))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.rfind('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ')?,
    };
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.split_whitespace().next()?.parse().ok()?,
    })
}

/// Parses labels, `key="value",…`; a value may contain escaped quotes and commas. `None` if they
/// are malformed.
fn labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.insert(key.to_owned(), value);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// Splits the text after an opening quote at the closing quote. Returns the unescaped value and the
/// rest of the text; `None` if no quote closes the value.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_commas_and_quotes() {
        let metrics = Metrics::parse(concat!(
            "# HELP a_total Something.\n",
            "a_total{x=\"1,2\",y=\"say \\\"so\\\"\"} 3\n",
            "a_total{x=\"other\"} 4\n",
            "b 0.5\n",
        ))
        .expect("it is well formed");
        assert_eq!(metrics.sum("a_total", &[]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("y", "say \"so\"")]), 3.0);
        assert_eq!(metrics.sum("b", &[]), 0.5);
    }

    #[test]
    fn a_line_without_a_value_is_refused() {
        assert!(Metrics::parse("a_total{x=\"1\"}\n").is_err());
        assert!(Metrics::parse("a_total\n").is_err());
    }
}
