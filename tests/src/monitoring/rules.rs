//! Reader of the rule files in `deploy/prometheus/rules`.
//!
//! It reads the form that these files are written in, not YAML in general; `promtool check rules`
//! makes sure that Prometheus reads the same.

use super::files::RULES;

/// Whether a rule is an alert or a recorded series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The rule is an alert, which its file begins with `- alert: NAME`.
    Alert,
    /// The rule records a series, and its file begins it with `- record: NAME`.
    Record,
}

/// A rule of a rule file of Prometheus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Whether the rule is an alert or a recorded series.
    pub kind: Kind,
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// The PromQL expression of the rule.
    pub expression: String,
    /// The lines of the rule in its file.
    pub text: String,
}

impl Rule {
    /// Returns the value of a key of the rule without quotation marks; `None` if the rule lacks the
    /// key. The value must be on the line of the key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        let prefix = format!("{key}: ");
        let mut lines = self.text.lines();
        lines.find_map(|line| Some(line.trim().strip_prefix(&prefix)?.trim_matches('"')))
    }

    /// Returns the alert's severity; `None` for a recorded series.
    #[must_use]
    pub fn severity(&self) -> Option<&str> {
        self.value("labels")?
            .strip_prefix("{ severity: ")?
            .strip_suffix(" }")
    }
}

/// Returns all rules of `deploy/prometheus/rules`, in the order of the files.
#[must_use]
pub fn all() -> Vec<Rule> {
    RULES.iter().flat_map(|(_, text)| parse(text)).collect()
}

/// Returns all alert rules of `deploy/prometheus/rules`, in the order of the files.
#[must_use]
pub fn alerts() -> Vec<Rule> {
    let mut rules = all();
    rules.retain(|rule| rule.kind == Kind::Alert);
    rules
}

/// Returns the rules of a rule file.
#[must_use]
pub fn parse(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines() {
        let begins = [("- alert: ", Kind::Alert), ("- record: ", Kind::Record)]
            .into_iter()
            .find_map(|(prefix, kind)| Some((kind, line.trim().strip_prefix(prefix)?)));
        if let Some((kind, name)) = begins {
            rules.push(Rule {
                kind,
                name: name.to_owned(),
                expression: String::new(),
                text: String::new(),
            });
        }
        let is_comment = line.trim_start().starts_with('#');
        if let Some(rule) = rules.last_mut()
            && !is_comment
        {
            rule.text.push_str(line);
            rule.text.push('\n');
        }
    }
    for rule in &mut rules {
        rule.expression = expression(&rule.text);
    }
    rules
}

/// Returns the value of the key `expr` of a rule, which is on the same line or in an indented block
/// below it.
fn expression(rule: &str) -> String {
    let mut lines = rule
        .lines()
        .skip_while(|line| !line.trim().starts_with("expr:"));
    let Some(first) = lines.next() else {
        return String::new();
    };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let value = first.trim().trim_start_matches("expr:").trim();
    if value != "|" {
        return value.to_owned();
    }
    let block = lines.take_while(|line| indent(line) > indent(first));
    block.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_ends_where_the_next_one_begins() {
        let text = concat!(
            "groups:\n  - name: a\n    rules:\n",
            "      - record: a:b:c\n        expr: |\n          sum(x)\n            / y\n",
            "      # A remark.\n",
            "      - alert: Low\n        expr: x < 1\n        for: 5m\n",
            "        labels: { severity: warning }\n",
        );
        let rules = parse(text);
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["a:b:c", "Low"]);
        assert_eq!(rules[0].expression, "sum(x) / y");
        assert_eq!(rules[0].severity(), None);
        assert_eq!(rules[1].expression, "x < 1");
        assert_eq!(rules[1].value("for"), Some("5m"));
        assert_eq!(rules[1].severity(), Some("warning"));
    }
}
