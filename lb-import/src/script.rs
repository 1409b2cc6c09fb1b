//! Reads the script that Keepalived runs when the host becomes master, if it moves an Elastic IP by
//! `aws ec2`.

use std::collections::BTreeMap;

use crate::ledger::{Id, Ledger};

/// What the script says about an Elastic IP.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The call of `aws ec2` that associates the Elastic IP; `None` if the script makes no such
    /// call.
    pub(crate) associates: Option<Id>,
    pub(crate) allocation_id: Option<(String, Id)>,
    pub(crate) public_ip: Option<(String, Id)>,
    pub(crate) region: Option<(String, Id)>,
    pub(crate) network_interface_id: Option<(String, Id)>,
    pub(crate) private_ip: Option<(String, Id)>,
}

/// Reads a shell script: assignments, and calls of `aws ec2`. Any other command is entered in the
/// ledger (the list of all directives and what became of them) with the reason that only these are
/// understood.
pub(crate) fn read(file: &str, text: &str, ledger: &mut Ledger) -> Script {
    let mut reader = Reader {
        script: Script::default(),
        variables: BTreeMap::new(),
        used: Vec::new(),
        ledger,
    };
    for (number, line) in commands(text) {
        let words = words(&line);
        if !words.is_empty() {
            let id = reader.ledger.enter(file, number, &line);
            reader.command(id, &words);
        }
    }
    reader.finish()
}

/// Returns the commands, each with its line number, counted from 1. A line that ends in `\` is
/// joined with the next.
fn commands(text: &str) -> Vec<(u32, String)> {
    let mut commands: Vec<(u32, String)> = Vec::new();
    let mut joins = false;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match commands.last_mut() {
            Some((_, last)) if joins => last.push_str(line),
            _ => commands.push((number, line.to_owned())),
        }
        joins = goes_on;
    }
    commands
}

/// Splits a command of the script into words, without quotes and without its comment.
fn words(line: &str) -> Vec<String> {
    if line.starts_with("#!") {
        return vec![line.to_owned()];
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), plain) => word.get_or_insert_default().push(plain),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, '#') if word.is_none() => break,
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, plain) => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    words
}

struct Reader<'l> {
    script: Script,
    /// The value of each variable of the script, and the directive that assigned it.
    variables: BTreeMap<String, (String, Id)>,
    /// The variables of the script that a call of `aws ec2` used.
    used: Vec<String>,
    ledger: &'l mut Ledger,
}

const ONLY: &str = "the import understands assignments and calls of aws ec2, and lb runs no script to \
                    move an Elastic IP: look whether something else is to happen here, and put it \
                    into a command of [ha.notify]";

impl Reader<'_> {
    fn command(&mut self, id: Id, words: &[String]) {
        // Words of the shell that may precede a call of `aws ec2` in a command, such as the `if` of
        // which the call is the condition.
        const BEFORE: [&str; 9] = [
            "if", "while", "until", "!", "then", "do", "else", "sudo", "exec",
        ];
        let before = words.iter().take_while(|word| BEFORE.contains(&&***word));
        let words = &words[before.count().min(words.len().saturating_sub(1))..];
        let first = words.first().map_or("", |word| word);
        if first.starts_with("#!") {
            return self.ledger.needless(
                id,
                "lb moves the Elastic IP itself and starts no shell for it",
            );
        }
        let assigned = match words {
            [one] => one.split_once('='),
            [export, one] if export == "export" => one.split_once('='),
            _ => None,
        };
        if let Some((name, value)) = assigned.filter(|(name, _)| is_variable(name)) {
            return self.assign(id, name, value);
        }
        let computed = first.split_once('=').filter(|(name, _)| is_variable(name));
        if let Some((name, value)) =
            computed.filter(|(_, value)| value.starts_with("$(") || value.starts_with('`'))
        {
            return self.assign(id, name, value);
        }
        let called: Vec<&str> = words.iter().map(String::as_str).collect();
        let ec2 = called.iter().position(|word| *word == "ec2");
        let is_aws = first == "aws" || first.ends_with("/aws");
        match ec2.and_then(|at| called.get(at + 1)).filter(|_| is_aws) {
            Some(&"associate-address") => self.associate(id, &called),
            Some(&"disassociate-address") => self.ledger.needless(
                id,
                "lb moves the address with one call; if it were disassociated first, no host would have it for a moment",
            ),
            Some(action) => self
                .ledger
                .lose(id, format!("lb does not call aws ec2 {action}")),
            None if matches!(first, "exit" | "set" | "sleep" | "echo" | "logger") => {
                self.ledger
                    .needless(id, "lb moves the Elastic IP itself, and logs what it does");
            }
            None => self.ledger.lose(id, ONLY),
        }
    }

    fn assign(&mut self, id: Id, name: &str, value: &str) {
        if value.contains("$(") || value.contains('`') {
            self.ledger.lose(id, "its value is known only when the script runs; lb asks the instance metadata service for region, interface and address");
            return;
        }
        if matches!(name, "AWS_DEFAULT_REGION" | "AWS_REGION") {
            self.script.region = Some((value.to_owned(), id));
        } else if matches!(
            name,
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN"
        ) {
            self.ledger.lose(id, "credentials are not written into a configuration: give the instance a role, or set it in the environment of lb's unit");
        }
        self.variables
            .insert(name.to_owned(), (value.to_owned(), id));
    }

    fn associate(&mut self, id: Id, words: &[&str]) {
        self.script.associates.get_or_insert(id);
        let mut words = words.iter().skip_while(|word| !word.starts_with("--"));
        while let Some(option) = words.next() {
            let (option, value) = match option.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, value),
                _ if matches!(
                    *option,
                    "ec2" | "associate-address" | "--allow-reassociation"
                ) =>
                {
                    continue;
                }
                _ if option.contains('>') => continue,
                _ if !option.starts_with("--") => {
                    self.ledger.lose(id, format!("{ONLY}: it has \"{option}\""));
                    continue;
                }
                _ => (*option, words.next().map_or("", |value| value)),
            };
            let (value, at) = self.value(value, id);
            match option {
                "--allocation-id" => self.script.allocation_id = Some((value, at)),
                "--public-ip" => self.script.public_ip = Some((value, at)),
                "--region" => self.script.region = Some((value, at)),
                "--network-interface-id" => self.script.network_interface_id = Some((value, at)),
                "--private-ip-address" => self.script.private_ip = Some((value, at)),
                "--instance-id" => self.ledger.needless(
                    at,
                    "lb associates the address with this host's own interface, which the instance \
                     metadata service names",
                ),
                other => self
                    .ledger
                    .lose(id, format!("lb has no setting for {other}")),
            }
        }
    }

    /// Returns the value of a word, which may be a variable of the script, and the directive that
    /// the value comes from.
    fn value(&mut self, word: &str, id: Id) -> (String, Id) {
        let name = word.strip_prefix('$').map(|name| {
            let inner = name
                .strip_prefix('{')
                .and_then(|name| name.strip_suffix('}'));
            inner.unwrap_or(name)
        });
        let known = name.and_then(|name| Some((name, self.variables.get(name)?.clone())));
        match known {
            Some((name, known)) => {
                self.used.push(name.to_owned());
                known
            }
            None => (word.to_owned(), id),
        }
    }

    fn finish(self) -> Script {
        for (name, (_, id)) in &self.variables {
            if !self.used.contains(name)
                && self.script.region.as_ref().is_none_or(|(_, at)| at != id)
            {
                self.ledger.needless(
                    *id,
                    "no aws ec2 command that moves an address uses the variable",
                );
            }
        }
        self.script
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_moves_an_address_is_recognised() {
        let text = "#!/bin/sh\nID=\"eipalloc-0123456789abcdef0\" # x\naws --region eu-west-1 ec2 associate-address \\\n  --allocation-id ${ID} --allow-reassociation --private-ip-address=10.0.0.9\n";
        let script = read("s", text, &mut Ledger::default());
        assert!(script.associates.is_some());
        let value = |found: &Option<(String, Id)>| found.as_ref().map(|(value, _)| value.clone());
        assert_eq!(
            value(&script.allocation_id).as_deref(),
            Some("eipalloc-0123456789abcdef0")
        );
        assert_eq!(value(&script.region).as_deref(), Some("eu-west-1"));
        assert_eq!(value(&script.private_ip).as_deref(), Some("10.0.0.9"));
    }

    #[test]
    fn another_script_moves_nothing() {
        let script = read("s", "systemctl restart nginx\n", &mut Ledger::default());
        assert!(script.associates.is_none());
    }
}
