//! Splits a line of haproxy.cfg into words (sections 2.2 and 2.3 of HAProxy's configuration
//! manual).

use super::environment::{Environment, unknown_variable};

/// The words of a line of haproxy.cfg, and why it could not be read as HAProxy reads it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Line {
    /// The words of the line, with quotes and escapes resolved.
    pub(crate) words: Vec<String>,
    /// Why the words differ from what HAProxy would read; `None`: they do not differ.
    pub(crate) fault: Option<String>,
    /// Offset in bytes at which the comment of the line begins; the length of the line if it has no
    /// comment.
    pub(crate) comment: usize,
    /// Environment variables that have a default in the line or in the file, and that default,
    /// which is in the words.
    pub(crate) defaults: Vec<(String, String)>,
}

/// Splits a line of haproxy.cfg into words: spaces separate words, `#` begins a comment, `\`
/// escapes, `'` quotes everything, `"` quotes everything except escapes and environment variables.
/// A line cannot continue on the next. `environment` has the variables that earlier lines of the
/// file set.
pub(crate) fn words(line: &str, environment: &mut Environment) -> Line {
    let mut lexer = Lexer {
        environment,
        rest: line.chars().peekable(),
        line: Line {
            comment: line.len(),
            ..Line::default()
        },
        word: None,
    };
    lexer.run();
    lexer.line
}

struct Lexer<'t, 'e> {
    environment: &'e mut Environment,
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    line: Line,
    word: Option<String>,
}

impl Lexer<'_, '_> {
    fn run(&mut self) {
        while let Some(character) = self.rest.next() {
            match character {
                '#' => {
                    let rest: usize = self.rest.clone().map(char::len_utf8).sum();
                    self.line.comment -= rest + 1;
                    break;
                }
                ' ' | '\t' | '\r' => self.end_word(),
                '\'' => self.strong(),
                '"' => self.weak(),
                '\\' => self.escape(),
                plain => self.push(plain),
            }
        }
        self.end_word();
    }

    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.line.words.push(word);
        }
    }

    fn fault(&mut self, fault: String) {
        self.line.fault.get_or_insert(fault);
    }

    fn strong(&mut self) {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('\'') => return,
                Some(character) => self.push(character),
                None => return self.fault("a quote is not closed".to_owned()),
            }
        }
    }

    fn weak(&mut self) {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('"') => return,
                Some('\\') => self.escape(),
                Some('$') => self.variable(),
                Some(character) => self.push(character),
                None => return self.fault("a quote is not closed".to_owned()),
            }
        }
    }

    fn escape(&mut self) {
        match self.rest.next() {
            Some('n') => self.push('\n'),
            Some('r') => self.push('\r'),
            Some('t') => self.push('\t'),
            Some('x') => self.hexadecimal(),
            Some(character @ (' ' | '#' | '\\' | '"' | '\'' | '$')) => self.push(character),
            // HAProxy keeps the backslash before any other character, as regular expressions need
            // it.
            Some(character) => {
                self.push('\\');
                self.push(character);
            }
            None => self.push('\\'),
        }
    }

    fn hexadecimal(&mut self) {
        let digits: String = self.rest.clone().take(2).collect();
        match u8::from_str_radix(&digits, 16) {
            Ok(byte) if digits.len() == 2 && byte.is_ascii() => {
                self.rest.next();
                self.rest.next();
                self.push(char::from(byte));
            }
            _ => self.fault(format!("\\x{digits} is no character of ASCII")),
        }
    }

    /// Reads a variable after its `$`: `NAME`, `{NAME}`, `{NAME-default}`, and with `[*]` after the
    /// name, by which each word of the value becomes a word of the line.
    fn variable(&mut self) {
        let braced = self.rest.next_if_eq(&'{').is_some();
        let mut name = String::new();
        let of_name =
            |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
        while let Some(character) = self.rest.next_if(of_name) {
            name.push(character);
        }
        let mut default = None;
        let mut is_list = false;
        if braced {
            let until_end: String = self
                .rest
                .clone()
                .take_while(|character| *character != '}')
                .collect();
            for _ in until_end.chars() {
                self.rest.next();
            }
            if self.rest.next().is_none() {
                return self.fault(format!("the brace after ${{{name} is not closed"));
            }
            let after = until_end.strip_prefix("[*]");
            is_list = after.is_some();
            default = after
                .unwrap_or(&until_end)
                .strip_prefix('-')
                .map(str::to_owned);
        }
        let value = self.environment.value(&name).or_else(|| {
            let default = default?;
            self.line.defaults.push((name.clone(), default.clone()));
            Some(default)
        });
        let Some(value) = value else {
            return self.fault(unknown_variable(&name));
        };
        if let Some(preset) = self.environment.preset(&name) {
            self.line.defaults.push((name, preset));
        }
        for character in value.chars() {
            if is_list && character.is_whitespace() {
                self.end_word();
            } else {
                self.push(character);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Line {
        super::words(line, &mut Environment::default())
    }

    fn plain(line: &str) -> Vec<String> {
        let line = words(line);
        assert_eq!(line.fault, None);
        line.words
    }

    #[test]
    fn escapes_quotes_and_comments_are_those_of_haproxy() {
        assert_eq!(plain("  a\tb # c"), ["a", "b"]);
        assert_eq!(
            plain(r"reqadd X-Proto:\ https"),
            ["reqadd", "X-Proto: https"]
        );
        assert_eq!(
            plain(r#"log-format "a \"b\" #c""#),
            ["log-format", "a \"b\" #c"]
        );
        assert_eq!(plain("x 'a $B \\n'"), ["x", "a $B \\n"]);
        assert_eq!(
            plain(r"acl a path_reg \.jpg$ \#"),
            ["acl", "a", "path_reg", r"\.jpg$", "#"]
        );
        assert_eq!(plain(r#"errorfile "" x"#), ["errorfile", "", "x"]);
        assert_eq!(plain(r"a \x41\r\n"), ["a", "A\r\n"]);
    }

    #[test]
    fn a_variable_or_an_open_quote_is_a_fault() {
        for line in [
            "server a \"$HOST:80\"",
            "bind \"${IP}:80\"",
            "a 'b",
            "a \"b",
            r"a \xzz",
        ] {
            assert!(words(line).fault.is_some(), "{line}");
        }
        let fault = words("bind \"${IP}:80\"").fault.expect("a fault");
        assert!(fault.contains("$IP,"), "{fault}");
        let fault = words("bind \"${IP-10.0.0.1:80\"").fault.expect("a fault");
        assert!(fault.contains("${IP is not closed"), "{fault}");
    }

    #[test]
    fn the_default_of_a_variable_is_its_value() {
        let line = words("log \"${SYSLOG-127.0.0.1}:514\" \"${LEVEL-}\" \"${MORE[*]-a b}\"");
        assert_eq!(line.fault, None);
        assert_eq!(line.words, ["log", "127.0.0.1:514", "", "a", "b"]);
        let defaults: Vec<_> = line
            .defaults
            .iter()
            .map(|(name, default)| (&**name, &**default))
            .collect();
        assert_eq!(
            defaults,
            [("SYSLOG", "127.0.0.1"), ("LEVEL", ""), ("MORE", "a b")]
        );
    }
}
