//! Splits keepalived.conf into words and braces, as keepalived's lib/parser.c does.

/// A word or a brace of keepalived.conf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    /// A word, without its quotes.
    Word(String),
    /// `{` that begins a block.
    Open,
    /// `}` that ends a block.
    Close,
}

/// Splits a line of keepalived.conf into words and braces: spaces separate words, `!` and `#`
/// outside quotes begin a comment, `"` quotes.
pub(crate) fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                let text = word.get_or_insert_default();
                text.extend(
                    characters
                        .by_ref()
                        .take_while(|character| *character != '"'),
                );
            }
            '!' | '#' => break,
            '{' if word.as_ref().is_some_and(|word| word.ends_with('$')) => {
                let text = word.get_or_insert_default();
                text.push('{');
                for character in characters.by_ref() {
                    text.push(character);
                    if character == '}' {
                        break;
                    }
                }
            }
            // A place-holder of a template, such as `{{ priority }}` or `{% if … %}`.
            '{' if matches!(characters.peek(), Some('{' | '%')) => {
                let text = word.get_or_insert_default();
                text.push('{');
                for character in characters.by_ref() {
                    text.push(character);
                    if text.ends_with("}}") || text.ends_with("%}") {
                        break;
                    }
                }
            }
            '{' | '}' => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if character == '{' {
                    Token::Open
                } else {
                    Token::Close
                });
            }
            space if space.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let text = |token| match token {
            Token::Word(word) => word,
            Token::Open => "{".to_owned(),
            Token::Close => "}".to_owned(),
        };
        tokens(line).into_iter().map(text).collect()
    }

    #[test]
    fn comments_quotes_and_braces_are_those_of_keepalived() {
        assert_eq!(
            words("script \"pidof haproxy\" # x"),
            ["script", "pidof haproxy"]
        );
        assert_eq!(
            words("vrrp_instance VI_1{ ! x"),
            ["vrrp_instance", "VI_1", "{"]
        );
        assert_eq!(
            words("virtual_ipaddress { 10.0.0.1 }"),
            ["virtual_ipaddress", "{", "10.0.0.1", "}"]
        );
        assert_eq!(words("notify \"/a b\" \"#\""), ["notify", "/a b", "#"]);
        assert_eq!(words("a ${B} c"), ["a", "${B}", "c"]);
        assert_eq!(words("a \"open"), ["a", "open"]);
        assert_eq!(words("priority {{ A }} {"), ["priority", "{{ A }}", "{"]);
        assert_eq!(words("{% if a %}"), ["{% if a %}"]);
        assert_eq!(words("a {{ b"), ["a", "{{ b"]);
    }
}
