//! Kinds of values: how each is read, and how the reference page and the hints of messages describe
//! it.

use std::{ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeInteger, DeValue},
};

use super::{
    duration,
    source::{Reported, Source},
    suggest,
};

/// A value in the file, with its place in the file.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// A kind of value: how a key's value is read, and how the reference page and the hints of messages
/// describe it.
pub(super) trait Kind: Sync {
    /// The type of the value after it has been read.
    type Value;

    /// Describes the values that the kind allows, such as `whole number, 1 to 256`.
    fn describe(&self) -> String;

    /// Reads a value, or reports everything that is wrong with it. `noun` is the value's name in
    /// messages.
    fn read(
        &self,
        node: &Node<'_>,
        noun: &str,
        source: &Source<'_>,
    ) -> Result<Self::Value, Reported>;
}

/// An error about a value: the message is `{noun} {value} {found}`.
pub(super) struct Complaint {
    /// The rest of the message after the value, such as `has no port`.
    pub(super) found: String,
    /// What to do about the error, in the hint of the message.
    pub(super) hint: String,
}

impl Complaint {
    pub(super) fn new(found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            hint: hint.into(),
        }
    }
}

/// A kind of value: text that is parsed, such as an address.
pub(super) struct Text<T: 'static> {
    /// Describes the texts that are allowed.
    pub(super) what: &'static str,
    /// Parses the text; the error says what is wrong with it.
    pub(super) parse: fn(&str) -> Result<T, Complaint>,
}

impl<T> Kind for Text<T> {
    type Value = T;

    fn describe(&self) -> String {
        self.what.to_owned()
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<T, Reported> {
        let text = string(node, noun, &self.describe(), source)?;
        (self.parse)(text).map_err(|Complaint { found, hint }| {
            let message = format!("{noun} {} {found}", quoted(text));
            source.error(node.span(), message, hint)
        })
    }
}

/// A kind of value: text, or a whole number that is parsed as its digits, such as an HTTP status.
pub(super) struct TextOrDigits<T: 'static>(pub(super) Text<T>);

impl<T> Kind for TextOrDigits<T> {
    type Value = T;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<T, Reported> {
        let DeValue::Integer(integer) = node.get_ref() else {
            return self.0.read(node, noun, source);
        };
        let text = DeValue::String(integer.to_string().into());
        self.0.read(&Spanned::new(node.span(), text), noun, source)
    }
}

/// A kind of value: a duration within these bounds.
pub(super) struct Time(pub(super) RangeInclusive<Duration>);

impl Time {
    pub(super) const fn milliseconds(from: u64, to: u64) -> Self {
        Self(RangeInclusive::new(
            Duration::from_millis(from),
            Duration::from_millis(to),
        ))
    }

    fn bounds(&self) -> String {
        let (from, to) = (self.0.start(), self.0.end());
        format!("{} to {}", duration::spell(*from), duration::spell(*to))
    }
}

impl Kind for Time {
    type Value = Duration;

    fn describe(&self) -> String {
        format!("duration, {}", self.bounds())
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<Duration, Reported> {
        if let DeValue::Integer(integer) = node.get_ref() {
            let message = format!("{noun} {integer} has no unit");
            let hint =
                format!("write \"{integer}s\" for seconds or \"{integer}ms\" for milliseconds");
            return Err(source.error(node.span(), message, hint));
        }
        let wanted = format!("a {}", self.describe());
        let text = string(node, noun, &wanted, source)?;
        let Some(time) = duration::parse(text) else {
            let message = format!("{noun} {} is not a duration", quoted(text));
            return Err(source.error(node.span(), message, duration_hint(text)));
        };
        if !self.0.contains(&time) {
            let (word, bounds) = match time < *self.0.start() {
                true => ("short", self.bounds()),
                false => ("long", self.bounds()),
            };
            let message = format!("{noun} {} is too {word}", quoted(text));
            return Err(source.error(node.span(), message, format!("{bounds} is allowed")));
        }
        Ok(time)
    }
}

fn duration_hint(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("give it a unit: \"{text}s\" for seconds or \"{text}ms\" for milliseconds");
    }
    "write whole numbers with h, m, s or ms, the largest unit first: \"2s\", \"100ms\", \"1m30s\""
        .into()
}

/// A kind of value: a whole number within these bounds.
pub(super) struct Whole<N: 'static>(pub(super) RangeInclusive<N>);

impl<N> Kind for Whole<N>
where
    N: Copy + Sync + PartialOrd + TryFrom<i128> + Into<u64>,
{
    type Value = N;

    fn describe(&self) -> String {
        let (from, to): (u64, u64) = ((*self.0.start()).into(), (*self.0.end()).into());
        format!("whole number, {} to {}", grouped(from), grouped(to))
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<N, Reported> {
        let integer = match node.get_ref() {
            DeValue::Integer(integer) => integer,
            DeValue::String(text) if text.parse::<u64>().is_ok() => {
                let message = format!("{noun} is text; it must be a {}", self.describe());
                let hint = format!("write it without quotes: {text}");
                return Err(source.error(node.span(), message, hint));
            }
            _ => {
                return Err(wrong_type(
                    node,
                    noun,
                    &format!("a {}", self.describe()),
                    source,
                ));
            }
        };
        number(integer)
            .and_then(|number| N::try_from(number).ok())
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| {
                let message = format!("{noun} {integer} is out of range");
                source.error(
                    node.span(),
                    message,
                    format!("it must be a {}", self.describe()),
                )
            })
    }
}

/// Returns the value of a TOML integer; `None` if the integer does not fit into 128 bits, because
/// TOML itself allows any number of digits.
fn number(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A kind of value: a whole number within these bounds, which may be negative.
pub(super) struct Signed(pub(super) RangeInclusive<i16>);

impl Kind for Signed {
    type Value = i16;

    fn describe(&self) -> String {
        format!("whole number, {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<i16, Reported> {
        let wanted = format!("a {}", self.describe());
        let DeValue::Integer(integer) = node.get_ref() else {
            return Err(wrong_type(node, noun, &wanted, source));
        };
        number(integer)
            .and_then(|number| i16::try_from(number).ok())
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| {
                let message = format!("{noun} {integer} is out of range");
                source.error(node.span(), message, format!("it must be {wanted}"))
            })
    }
}

/// Formats a number with thousands separators: `1048576` as `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A kind of value: `true` or `false`.
pub(super) struct Bool;

impl Kind for Bool {
    type Value = bool;

    fn describe(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<bool, Reported> {
        let value = node.get_ref().as_bool();
        value.ok_or_else(|| wrong_type(node, noun, "true or false", source))
    }
}

/// A kind of value: one of several words, each of which stands for a value.
pub(super) struct Choice<T: 'static> {
    /// The words that are allowed, and the values for which they stand.
    pub(super) words: &'static [(&'static str, T)],
    /// Words that are reserved for later versions: the message about such a word says so.
    pub(super) later: &'static [&'static str],
}

impl<T> Choice<T> {
    fn listed(&self) -> String {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        suggest::listed(&words)
    }
}

impl<T: Copy + Sync> Kind for Choice<T> {
    type Value = T;

    fn describe(&self) -> String {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|(word, _)| format!("`\"{word}\"`"))
            .collect();
        suggest::listed(&words)
    }

    fn read(&self, node: &Node<'_>, noun: &str, source: &Source<'_>) -> Result<T, Reported> {
        let text = string(node, noun, &self.listed(), source)?;
        if let Some((_, value)) = self.words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        if self.later.contains(&text) {
            let message = format!(
                "{noun} {} is not supported by this version of lb",
                quoted(text)
            );
            let hint = format!("this version supports {}", self.listed());
            return Err(source.error(node.span(), message, hint));
        }
        let message = format!("{noun} cannot be {}", quoted(text));
        let hint = match suggest::nearest(text, self.words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"? Allowed: {}", self.listed()),
            None => format!("allowed: {}", self.listed()),
        };
        Err(source.error(node.span(), message, hint))
    }
}

fn string<'n>(
    node: &'n Node<'_>,
    noun: &str,
    wanted: &str,
    source: &Source<'_>,
) -> Result<&'n str, Reported> {
    let text = node.get_ref().as_str();
    text.ok_or_else(|| match node.get_ref() {
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let message = format!(
                "{noun} is {}; it must be text: {}",
                type_name(node.get_ref()),
                plain(wanted)
            );
            let hint = format!("write it in quotes: \"{}\"", source.text(&node.span()));
            source.error(node.span(), message, hint)
        }
        _ => wrong_type(node, noun, wanted, source),
    })
}

/// Reports a value whose type is not the one that its kind expects.
pub(super) fn wrong_type(
    node: &Node<'_>,
    noun: &str,
    wanted: &str,
    source: &Source<'_>,
) -> Reported {
    let message = format!(
        "{noun} is {}; it must be: {}",
        type_name(node.get_ref()),
        plain(wanted)
    );
    source.error(node.span(), message, None)
}

/// Removes the Markdown of the reference page from a description, for a message.
fn plain(description: &str) -> String {
    description.replace('`', "")
}

/// Returns the name of a value's type in messages.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Quotes text for a message: escaped, and cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
