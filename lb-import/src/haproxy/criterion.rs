//! Reads the criterion, flags and values of an ACL.

use super::format::Of;

/// What an ACL tests about a request, in the terms of lb's routes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Test {
    /// The ACL is true, or false, for every request of the service, so its value is known without a
    /// request.
    Always(bool),
    /// The host that the request names is one of these.
    Hosts(Vec<String>),
    /// The path matches one of these regular expressions. `exact` is the path if the test is for a
    /// single whole path.
    Path {
        expressions: Vec<String>,
        exact: Option<String>,
    },
    /// The method of the request is one of these.
    Methods(Vec<String>),
    /// A header field is present; with `regex`, it also matches that expression.
    Header { name: String, regex: Option<String> },
}

/// Adds the ACL test `other` to `one`, so that a request meets `one` if it meets either test.
/// Returns false, and changes nothing, if a single route cannot express that.
pub(super) fn merge(one: &mut Test, other: &Test) -> bool {
    match (one, other) {
        (Test::Hosts(one), Test::Hosts(other)) | (Test::Methods(one), Test::Methods(other)) => {
            one.extend(other.iter().cloned());
            true
        }
        (
            Test::Path { expressions, exact },
            Test::Path {
                expressions: others,
                ..
            },
        ) => {
            expressions.extend(others.iter().cloned());
            *exact = None;
            true
        }
        _ => false,
    }
}

/// Returns the test of an ACL that HAProxy itself defines.
pub(super) fn predefined(name: &str) -> Option<Test> {
    let methods =
        |list: &[&str]| Test::Methods(list.iter().map(|&method| method.to_owned()).collect());
    Some(match name {
        "TRUE" | "HTTP" => Test::Always(true),
        "FALSE" => Test::Always(false),
        "METH_CONNECT" => methods(&["CONNECT"]),
        "METH_DELETE" => methods(&["DELETE"]),
        "METH_GET" => methods(&["GET", "HEAD"]),
        "METH_HEAD" => methods(&["HEAD"]),
        "METH_OPTIONS" => methods(&["OPTIONS"]),
        "METH_POST" => methods(&["POST"]),
        "METH_PUT" => methods(&["PUT"]),
        "METH_TRACE" => methods(&["TRACE"]),
        _ => return None,
    })
}

/// A comparison that an ACL makes: the value that is compared, how, and with which values.
struct Match<'w> {
    fetch: &'w str,
    how: &'w str,
    any_case: bool,
    values: &'w [String],
}

/// Reads the criterion of an ACL with its flags and values. Returns what the ACL tests, or why lb's
/// routes cannot test it.
pub(super) fn test(words: &[String], of: Of) -> Result<Test, String> {
    let Some((criterion, mut rest)) = words.split_first() else {
        return Err("it has no value to compare with".to_owned());
    };
    let (fetch, mut how) = derived(criterion);
    let mut any_case = false;
    while let Some((flag, after)) = rest.split_first() {
        match &**flag {
            "-i" => any_case = true,
            "-n" | "-u" => {}
            "-m" => {
                how = after.first().map_or("", |how| how);
                rest = after.get(1..).unwrap_or_default();
                continue;
            }
            "-f" | "-M" => return Err("its values are in another file".to_owned()),
            "--" => {
                rest = after;
                break;
            }
            _ => break,
        }
        rest = after;
    }
    let compared = Match {
        fetch,
        how,
        any_case,
        values: rest,
    };
    if let Some(name) = argument(
        fetch,
        &["hdr", "req.hdr", "req.fhdr", "hdr_cnt", "req.hdr_cnt"],
    ) {
        return header(name, &compared);
    }
    match fetch {
        "ssl_fc" => Ok(Test::Always(of.tls)),
        "always_true" => Ok(Test::Always(true)),
        "always_false" => Ok(Test::Always(false)),
        "dst_port" | "fc_dst_port" => port(&compared, of),
        "path" | "url" => path(&compared),
        "method" => Ok(Test::Methods(compared.values.to_vec())),
        "ssl_fc_sni" => hosts(&compared),
        _ => Err(format!("lb's routes cannot match {criterion}")),
    }
}

/// Splits the criterion of an ACL into HAProxy's sample fetch and the matching method: `path_beg`
/// is `path -m beg`, `hdr_end(host)` is `hdr(host) -m end`.
fn derived(criterion: &str) -> (&str, &str) {
    const HOW: [&str; 7] = ["_beg", "_end", "_reg", "_sub", "_dir", "_dom", "_len"];
    let (fetch, argument) = criterion.split_at(criterion.find('(').unwrap_or(criterion.len()));
    for how in HOW {
        if let Some(plain) = fetch.strip_suffix(how) {
            let name = match plain {
                "hdr" | "req.hdr" => argument,
                plain => plain,
            };
            return (name, &how[1..]);
        }
    }
    (criterion, "str")
}

/// Returns the argument of a sample fetch of HAProxy if the fetch has one of these names; otherwise
/// `None`. Of `hdr_…(name)`, [`derived`] leaves only the argument in parentheses.
fn argument<'w>(fetch: &'w str, names: &[&str]) -> Option<&'w str> {
    let (name, rest) = fetch.split_at(fetch.find('(')?);
    let inner = rest.strip_prefix('(')?.strip_suffix(')')?;
    let first = inner.split(',').next().unwrap_or(inner);
    if inner.contains([')', '(']) {
        return None;
    }
    (name.is_empty() || names.contains(&name)).then_some(first)
}

fn port(compared: &Match<'_>, of: Of) -> Result<Test, String> {
    let ports: Result<Vec<u16>, _> = compared.values.iter().map(|value| value.parse()).collect();
    match ports {
        Ok(ports) if !ports.is_empty() => Ok(Test::Always(ports.contains(&of.port))),
        _ => Err("its ports are not plain numbers".to_owned()),
    }
}

fn header(name: &str, compared: &Match<'_>) -> Result<Test, String> {
    if name.eq_ignore_ascii_case("host") {
        return hosts(compared);
    }
    let name = name.to_owned();
    if compared.how == "found" && !compared.values.is_empty() {
        return Err(format!(
            "-m found takes no value, but has \"{}\"",
            compared.values[0]
        ));
    }
    if compared.fetch.contains("_cnt") {
        let words: Vec<_> = compared.values.iter().map(String::as_str).collect();
        return match *words {
            ["gt", "0"] | ["ge", "1"] => Ok(Test::Header { name, regex: None }),
            _ => Err("lb's routes do not count header lines".to_owned()),
        };
    }
    if compared.how == "found" || compared.values.is_empty() {
        return Ok(Test::Header { name, regex: None });
    }
    let regex = joined(&expressions(compared)?);
    Ok(Test::Header {
        name,
        regex: Some(regex),
    })
}

fn hosts(compared: &Match<'_>) -> Result<Test, String> {
    let mut hosts = Vec::new();
    for value in compared.values {
        // lb does not compare the port of a host, so it is removed.
        let host = value.rsplit_once(':').map_or(&**value, |(host, _)| host);
        match compared.how {
            "str" => hosts.push(host.to_owned()),
            "dom" if !host.contains('.') => {
                return Err(format!(
                    "lb compares hosts as whole names or as \"*.NAME\", not by \"{host}\" anywhere in them"
                ));
            }
            "end" if host.starts_with('.') => hosts.push(format!("*{host}")),
            "end" | "dom" => hosts.extend([host.to_owned(), format!("*.{host}")]),
            how => {
                return Err(format!(
                    "lb compares hosts as whole names or as \"*.NAME\", not by {how} of \"{value}\""
                ));
            }
        }
    }
    if hosts.is_empty() {
        return Err("it does not name a host".to_owned());
    }
    Ok(Test::Hosts(hosts))
}

fn path(compared: &Match<'_>) -> Result<Test, String> {
    if compared.fetch == "url" && compared.how != "beg" {
        return Err("lb's routes match the path only, not the query".to_owned());
    }
    if compared.how == "beg" && compared.values.iter().any(|value| value == "/") {
        return Ok(Test::Always(true));
    }
    let exact = match compared.values {
        [one] if compared.how == "str" && !compared.any_case => Some(one.clone()),
        _ => None,
    };
    Ok(Test::Path {
        expressions: expressions(compared)?,
        exact,
    })
}

/// Returns a regular expression for each value, which matches what HAProxy's comparison with that
/// value matches. HAProxy's `hdr` is each of the values that commas separate in a line of the
/// header; `req.fhdr` is the whole line.
fn expressions(compared: &Match<'_>) -> Result<Vec<String>, String> {
    if compared.values.is_empty() {
        return Err("it has no value to compare with".to_owned());
    }
    let is_list = ["(", "hdr(", "req.hdr("]
        .iter()
        .any(|fetch| compared.fetch.starts_with(fetch));
    let (first, last) = if is_list {
        ("(?:^|,)[ \\t]*", "[ \\t]*(?:,|$)")
    } else {
        ("^", "$")
    };
    let expression = |value: &String| {
        let literal = escaped(value);
        let found = match compared.how {
            "str" => format!("{first}{literal}{last}"),
            "beg" => format!("{first}{literal}"),
            "end" => format!("{literal}{last}"),
            "sub" => literal,
            "reg" => value.clone(),
            "dir" => format!(
                "(?:{first}|/){}(?:/|{last})",
                escaped(value.trim_matches('/'))
            ),
            "dom" => format!("(?:{first}|[/.:]){literal}(?:[/.:]|{last})"),
            how => return Err(format!("lb has no comparison like -m {how}")),
        };
        Ok(if compared.any_case {
            format!("(?i:{found})")
        } else {
            found
        })
    };
    compared.values.iter().map(expression).collect()
}

/// Returns one regular expression that matches what any of these matches.
pub(super) fn joined(expressions: &[String]) -> String {
    match expressions {
        [one] => one.clone(),
        several => {
            let several: Vec<_> = several.iter().map(|one| format!("(?:{one})")).collect();
            several.join("|")
        }
    }
}

/// Escapes the characters that have a meaning in a regular expression.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if "\\.+*?()|[]{}^$#&~-".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
