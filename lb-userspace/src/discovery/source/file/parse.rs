//! Parses a file of backends.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    net::SocketAddr,
};

use crate::{
    config::{Name, Weight, parse_backend_address},
    discovery::ListedBackend,
};

/// The most errors that are shown.
const SHOWN: usize = 5;

/// The most characters of a field that are shown.
const EXCERPT: usize = 60;

const FORM: &str = "write IP:PORT, and after it, if needed, name=NAME, weight=1 to 256, and backup";

/// The errors of a file, at least one. They are shown as part of one sentence.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LineErrors {
    /// The first errors, each with the number of its line.
    shown: Vec<String>,
    /// Number of further errors.
    more: usize,
}

impl LineErrors {
    fn add(&mut self, line: usize, found: &str) {
        if self.shown.len() < SHOWN {
            self.shown.push(format!("line {line}: {found}"));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for LineErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("; "))?;
        match self.more {
            0 => Ok(()),
            1 => f.write_str("; and 1 more error"),
            more => write!(f, "; and {more} more errors"),
        }
    }
}

/// Parses the content of a file: each line has a backend, `IP:PORT [name=NAME] [weight=1..256]
/// [backup]`, with these options in any order. A line may be blank, and `#` begins a comment.
///
/// # Errors
/// A line has another form, or a backend has the address or the name of an earlier one.
pub(super) fn backends(content: &[u8]) -> Result<Vec<ListedBackend>, LineErrors> {
    let mut errors = LineErrors::default();
    let mut backends = Vec::new();
    let (mut addresses, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let backend = match str::from_utf8(line) {
            Ok(line) => backend(line),
            Err(_) => Err("it is not text in UTF-8; write it in ASCII".to_owned()),
        };
        let backend = match backend {
            Ok(Some(backend)) => backend,
            Ok(None) => continue,
            Err(found) => {
                errors.add(number, &found);
                continue;
            }
        };
        if let Err(first) = enter(&mut addresses, backend.address, number) {
            let found = format!(
                "the address {} is that of line {first}, too; remove one of them",
                backend.address
            );
            errors.add(number, &found);
            continue;
        }
        let name = backend.name.clone();
        let name = name.unwrap_or_else(|| Name::of_address(backend.address));
        if let Err(first) = enter(&mut names, name.as_str().to_owned(), number) {
            let found = format!("the name {name} is that of line {first}, too; change one of them");
            errors.add(number, &found);
            continue;
        }
        backends.push(backend);
    }
    if errors.shown.is_empty() {
        Ok(backends)
    } else {
        Err(errors)
    }
}

/// Adds a value with the number of its line to `seen`. If an earlier line has the value, returns
/// that line's number.
fn enter<T: Ord>(seen: &mut BTreeMap<T, usize>, value: T, line: usize) -> Result<(), usize> {
    match seen.entry(value) {
        Entry::Vacant(entry) => {
            entry.insert(line);
            Ok(())
        }
        Entry::Occupied(entry) => Err(*entry.get()),
    }
}

/// Parses a line; `None` if it has no backend. The error says what was found and what to write.
fn backend(line: &str) -> Result<Option<ListedBackend>, String> {
    let (line, _comment) = line.split_once('#').unwrap_or((line, ""));
    let mut fields = line.split_whitespace();
    let Some(first) = fields.next() else {
        return Ok(None);
    };
    let mut backend = ListedBackend::at(address(first)?);
    let mut weight = None;
    for field in fields {
        let is_repeated = match field.split_once('=') {
            Some(("name", text)) => backend.name.replace(name(text)?).is_some(),
            Some(("weight", text)) => weight.replace(parse_weight(text)?).is_some(),
            None if field == "backup" => std::mem::replace(&mut backend.backup, true),
            _ => return Err(format!("{} has no meaning here; {FORM}", excerpt(field))),
        };
        if is_repeated {
            let option = excerpt(field.split('=').next().unwrap_or(field));
            return Err(format!("{option} is repeated; keep one"));
        }
    }
    backend.weight = weight.unwrap_or(Weight::ONE);
    Ok(Some(backend))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if text.contains(['"', '\'']) {
        return Err(format!(
            "{} has quotation marks; remove them",
            excerpt(text)
        ));
    }
    if text.contains('=') || text == "backup" {
        return Err(format!(
            "{} is where the address belongs; {FORM}",
            excerpt(text)
        ));
    }
    let found = parse_backend_address(text);
    found.map_err(|found| format!("{} {found}", excerpt(text)))
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).ok_or_else(|| {
        format!(
            "name={} is not a name; write 1 to 63 of a-z A-Z 0-9 . _ -",
            excerpt(text)
        )
    })
}

fn parse_weight(text: &str) -> Result<Weight, String> {
    // `str::parse` alone would accept a leading `+`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let weight = text.parse().ok().filter(|_| digits).and_then(Weight::new);
    weight.ok_or_else(|| {
        format!(
            "weight={} is not a weight; write a whole number, 1 to 256",
            excerpt(text)
        )
    })
}

/// Formats a field for messages: without control characters, and cut after [`EXCERPT`] characters.
fn excerpt(field: &str) -> String {
    let mut characters = field.chars();
    let mut shown: String = characters
        .by_ref()
        .take(EXCERPT)
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errors(content: &str) -> String {
        let errors = backends(content.as_bytes()).expect_err("an error");
        errors.to_string()
    }

    #[test]
    fn a_line_has_an_address_and_options_in_any_order() {
        let content = "# backends\n\n10.0.0.6:80\r\n  10.0.0.7:8080\tbackup weight=256 name=web-2 # new\n\
                       [2001:db8::6]:80 name=web3";
        let plain = ListedBackend::at("10.0.0.6:80".parse().expect("an address"));
        let full = ListedBackend {
            address: "10.0.0.7:8080".parse().expect("an address"),
            name: Name::parse("web-2"),
            weight: Weight::new(256).expect("a weight"),
            backup: true,
        };
        let ipv6 = ListedBackend {
            name: Name::parse("web3"),
            ..ListedBackend::at("[2001:db8::6]:80".parse().expect("an address"))
        };
        assert_eq!(backends(content.as_bytes()), Ok(vec![plain, full, ipv6]));
        assert_eq!(backends(b""), Ok(Vec::new()));
    }

    #[test]
    fn an_error_names_the_line_what_was_found_and_what_to_write() {
        for (line, found, advice) in [
            ("10.0.0.6", "10.0.0.6 has no port", "10.0.0.6:80"),
            ("10.0.0.6:0", "port 0", "1 to 65535"),
            ("0.0.0.0:80", "not the address of one host", "10.0.0.6:80"),
            ("web1:80", "host name", "an IP address and a port"),
            ("\"10.0.0.6:80\"", "quotation marks", "remove"),
            ("name=web1 10.0.0.6:80", "name=web1 is where", "IP:PORT"),
            (
                "10.0.0.6:80 10.0.0.7:80",
                "10.0.0.7:80 has no meaning",
                "IP:PORT",
            ),
            ("10.0.0.6:80 backup=true", "backup=true has no", "backup"),
            ("10.0.0.6:80 name=", "name= is not", "a-z"),
            ("10.0.0.6:80 name=a,b", "name=a,b is not", "a-z"),
            ("10.0.0.6:80 weight=0", "weight=0 is not", "1 to 256"),
            ("10.0.0.6:80 weight=257", "weight=257 is not", "1 to 256"),
            ("10.0.0.6:80 weight=+1", "weight=+1 is not", "1 to 256"),
            (
                "10.0.0.6:80 weight=1 weight=1",
                "weight is repeated",
                "keep",
            ),
            ("10.0.0.6:80 backup backup", "backup is repeated", "keep"),
            ("10.0.0.6:80 name=a name=b", "name is repeated", "keep"),
        ] {
            let error = errors(&format!("10.0.0.1:1\n# comment\n{line}\n"));
            assert!(error.starts_with("line 3: "), "{error}");
            assert!(error.contains(found), "no {found} in: {error}");
            assert!(error.contains(advice), "no {advice} in: {error}");
        }
        let error = backends(b"\xff").expect_err("not UTF-8").to_string();
        assert!(error.contains("line 1: it is not text in UTF-8"), "{error}");
    }

    #[test]
    fn a_second_backend_with_the_same_address_or_name_is_an_error() {
        let error = errors("10.0.0.6:80\n10.0.0.7:80\n10.0.0.6:80 name=web1");
        assert!(
            error.contains("line 3: the address 10.0.0.6:80 is that of line 1"),
            "{error}"
        );
        let error = errors("10.0.0.6:80 name=a\n10.0.0.7:80 name=a");
        assert!(
            error.contains("line 2: the name a is that of line 1"),
            "{error}"
        );
        let error = errors("10.0.0.6:80\n10.0.0.7:80 name=10.0.0.6:80");
        assert!(error.contains("line 2: the name 10.0.0.6:80"), "{error}");
    }

    #[test]
    fn all_errors_are_reported_and_five_of_them_are_shown() {
        let error = errors("a\n10.0.0.6:80\nb\nc\nd\ne");
        assert_eq!(error.matches("line ").count(), 5, "{error}");
        assert!(error.contains("line 6"), "{error}");
        assert!(!error.contains("more"), "{error}");
        assert!(errors("a\nb\nc\nd\ne\nf").ends_with("and 1 more error"));
        assert!(errors("a\nb\nc\nd\ne\nf\ng").ends_with("and 2 more errors"));
        let long = errors(&format!("10.0.0.6:80 {}", "x".repeat(100_000)));
        assert!(long.len() < 300, "{} bytes", long.len());
    }

    proptest! {
        #[test]
        fn no_content_panics_or_gives_an_endless_message(content in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Err(errors) = backends(&content) {
                prop_assert!(errors.to_string().len() < 5_000);
            }
        }

        #[test]
        fn no_text_of_the_usual_characters_panics(
            content in "([0-9.:\\[\\]]{0,12}|10\\.0\\.0\\.[1-4]:80|name=[a-c]?|weight=[0-9]{0,4}|backup|[ =#\\n\\té])*"
        ) {
            if let Err(errors) = backends(content.as_bytes()) {
                prop_assert!(errors.to_string().starts_with("line "));
            }
        }

        #[test]
        fn what_is_written_is_read(
            listed in proptest::collection::btree_map(
                (any::<[u8; 3]>(), 1..=u16::MAX),
                (proptest::option::of(Just(())), 1_u16..=256, any::<bool>()),
                0..50,
            )
        ) {
            let expected: Vec<ListedBackend> = listed
                .into_iter()
                .map(|(([b, c, d], port), (named, weight, backup))| ListedBackend {
                    address: SocketAddr::from(([10, b, c, d], port)),
                    name: named.and_then(|()| Name::parse(&format!("web-{b}-{c}-{d}-{port}"))),
                    weight: Weight::new(weight).expect("a weight"),
                    backup,
                })
                .collect();
            let lines: String = expected
                .iter()
                .map(|backend| {
                    let name = backend.name.as_ref().map(|name| format!(" name={name}"));
                    let backup = if backend.backup { " backup" } else { "" };
                    let weight = backend.weight.get();
                    format!("{}{} weight={weight}{backup}\n", backend.address, name.unwrap_or_default())
                })
                .collect();
            prop_assert_eq!(backends(lines.as_bytes()), Ok(expected));
        }
    }
}
