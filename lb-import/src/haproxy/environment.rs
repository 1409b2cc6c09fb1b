//! Environment variables that haproxy.cfg uses (section 2.3 of HAProxy's configuration manual).

use std::collections::BTreeMap;

/// The environment variables that haproxy.cfg sets by `setenv` and `presetenv`, as far as the file
/// is read.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, Variable>,
}

#[derive(Debug)]
struct Variable {
    value: String,
    /// Whether `presetenv` sets the variable, which a variable of the same name that HAProxy is
    /// started with overrides.
    is_preset: bool,
    is_used: bool,
}

impl Environment {
    /// Reads a directive of the `global` section that changes environment variables.
    pub(crate) fn change(&mut self, words: &[String]) {
        let word = |index: usize| words.get(index).map_or("", |word| word);
        match word(0) {
            keyword @ ("setenv" | "presetenv") => {
                let is_preset = keyword == "presetenv";
                if is_preset && self.variables.contains_key(word(1)) {
                    return;
                }
                let variable = Variable {
                    value: word(2).to_owned(),
                    is_preset,
                    is_used: false,
                };
                self.variables.insert(word(1).to_owned(), variable);
            }
            "unsetenv" => self
                .variables
                .retain(|name, _| !words.iter().skip(1).any(|word| word == name)),
            "resetenv" => self
                .variables
                .retain(|name, _| words.iter().skip(1).any(|word| word == name)),
            _ => {}
        }
    }

    /// Returns the value of a variable, and remembers that the file uses it; `None` if the file
    /// does not set it.
    pub(crate) fn value(&mut self, name: &str) -> Option<String> {
        let variable = self.variables.get_mut(name)?;
        variable.is_used = true;
        Some(variable.value.clone())
    }

    /// Returns the value of a variable that `presetenv` sets; `None` for any other.
    pub(crate) fn preset(&self, name: &str) -> Option<String> {
        let variable = self.variables.get(name)?;
        variable.is_preset.then(|| variable.value.clone())
    }

    /// Whether a line of the file uses the variable.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        self.variables
            .get(name)
            .is_some_and(|variable| variable.is_used)
    }

    /// Expands `$NAME` and `${NAME}` in an address, as HAProxy does there outside of quotes too.
    /// The variables that the file does not set are left as they are.
    pub(crate) fn expand(&mut self, address: &str) -> String {
        let mut text = String::new();
        let mut rest = address;
        while let Some((name, start, end)) = variable(rest) {
            text.push_str(&rest[..start]);
            match self.value(name) {
                Some(value) => text.push_str(&value),
                None => text.push_str(&rest[start..end]),
            }
            rest = &rest[end..];
        }
        text + rest
    }
}

/// Returns the message about an environment variable of unknown value.
pub(crate) fn unknown_variable(name: &str) -> String {
    format!(
        "it uses the environment variable ${name}, whose value is not in the file: write the value \
         itself"
    )
}

/// Returns the name of the first `$NAME` or `${NAME}` in a text, and where it begins and ends.
pub(crate) fn variable(text: &str) -> Option<(&str, usize, usize)> {
    let start = text.find('$')?;
    let after = &text[start + 1..];
    let (name_at, name) = match after.strip_prefix('{') {
        Some(name) => (start + 2, name),
        None => (start + 1, after),
    };
    let of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let length = name
        .find(|character| !of_name(character))
        .unwrap_or(name.len());
    let end = name_at + length;
    let is_closed = name_at == start + 2 && text[end..].starts_with('}');
    Some((&name[..length], start, end + usize::from(is_closed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str], environment: &mut Environment) {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        environment.change(&words);
    }

    #[test]
    fn an_address_is_expanded_by_the_variables_of_the_file() {
        let mut environment = Environment::default();
        set(&["setenv", "PORT", "80"], &mut environment);
        set(&["presetenv", "IP", "10.0.0.1"], &mut environment);
        set(&["presetenv", "PORT", "81"], &mut environment);
        assert_eq!(environment.expand("${IP}:$PORT"), "10.0.0.1:80");
        assert_eq!(environment.expand("$NAME:${PORT"), "$NAME:80");
        assert_eq!(environment.expand("a$"), "a$");
        assert_eq!(environment.preset("IP").as_deref(), Some("10.0.0.1"));
        assert_eq!(environment.preset("PORT"), None);
        set(&["unsetenv", "PORT"], &mut environment);
        assert_eq!(environment.expand("$PORT"), "$PORT");
        set(&["resetenv", "PATH"], &mut environment);
        assert_eq!(environment.expand("$IP"), "$IP");
    }
}
