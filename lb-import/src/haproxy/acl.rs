//! Converts ACLs, and conditions that name them, into the conditions of lb's routes.

use super::{
    criterion::{Test, joined, merge, predefined, test},
    format::Of,
    model::{Line, Section, Sections},
};
use crate::ledger::Id;

/// The conditions of one route, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Conditions {
    pub(crate) hosts: Vec<String>,
    pub(crate) path: Option<String>,
    pub(crate) path_regex: Option<String>,
    pub(crate) methods: Vec<String>,
    /// Names of header fields, each with a regular expression for its value; `None`: the field is
    /// present.
    pub(crate) headers: Vec<(String, Option<String>)>,
    /// The `acl` lines that the conditions come from.
    pub(crate) origins: Vec<Id>,
}

/// Splits the words of a directive into those before its condition and the condition, which begins
/// with `if` or `unless`; the condition is empty if the directive has none.
pub(crate) fn split(words: &[String]) -> (&[String], &[String]) {
    let at = words
        .iter()
        .position(|word| word == "if" || word == "unless");
    words.split_at(at.unwrap_or(words.len()))
}

/// Returns the conditions of the routes that a directive's condition (`if …`, `unless …`, or
/// nothing) needs, one for each: together the routes match the same requests. Empty if the
/// condition never holds.
pub(crate) fn conditions(
    words: &[String],
    sections: &Sections,
    section: &Section,
    of: Of,
) -> Result<Vec<Conditions>, String> {
    let Some((keyword, terms)) = words.split_first() else {
        return Ok(vec![Conditions::default()]);
    };
    let terms = parse(terms)?;
    let inverted = keyword == "unless";
    if inverted && terms.iter().any(|term| term.len() != 1) {
        return Err("a route cannot negate several conditions".to_owned());
    }
    // `unless a or b` is "not a and not b".
    let terms = if inverted {
        let opposite = terms.into_iter().flatten();
        vec![opposite.map(|(negated, words)| (!negated, words)).collect()]
    } else {
        terms
    };
    let mut routes = Vec::new();
    for term in terms {
        routes.extend(conjunction(&term, sections, section, of)?);
    }
    Ok(routes)
}

type Literal = (bool, Vec<String>);

/// Splits a condition such as `a b or !{ path /x }` into alternatives, each of which is a list of
/// literals.
fn parse(words: &[String]) -> Result<Vec<Vec<Literal>>, String> {
    let mut terms = vec![Vec::new()];
    let mut words = words.iter();
    let mut negated = false;
    while let Some(word) = words.next() {
        if matches!(&**word, "or" | "OR" | "||") {
            terms.push(Vec::new());
            continue;
        }
        let mut name = &**word;
        while let Some(rest) = name.strip_prefix('!') {
            negated = !negated;
            name = rest;
        }
        let literal = match name {
            "" => continue,
            "{" => {
                let inner: Vec<_> = words
                    .by_ref()
                    .take_while(|word| *word != "}")
                    .cloned()
                    .collect();
                let mut anonymous = vec!["acl".to_owned(), String::new()];
                anonymous.extend(inner);
                anonymous
            }
            name => vec![name.to_owned()],
        };
        if let Some(term) = terms.last_mut() {
            term.push((negated, literal));
        }
        negated = false;
    }
    if terms.iter().any(Vec::is_empty) {
        return Err("its condition is empty".to_owned());
    }
    Ok(terms)
}

/// Returns the conditions of the routes for requests that meet all literals of `term`. ACLs with
/// the same name are alternatives, so there may be several routes.
fn conjunction(
    term: &[Literal],
    sections: &Sections,
    section: &Section,
    of: Of,
) -> Result<Vec<Conditions>, String> {
    const MOST: usize = 32;
    let mut routes = vec![Conditions::default()];
    for (negated, words) in term {
        let (tests, origins) = tests(words, sections, section, of)?;
        let tests = if *negated { opposite(&tests)? } else { tests };
        let mut next = Vec::new();
        for route in &routes {
            for test in &tests {
                next.extend(with(route, test, &origins)?);
            }
        }
        if next.len() > MOST {
            return Err(format!("its condition needs more than {MOST} routes"));
        }
        routes = next;
    }
    Ok(routes)
}

fn opposite(tests: &[Test]) -> Result<Vec<Test>, String> {
    let known = tests.iter().map(|test| match test {
        Test::Always(always) => Ok(*always),
        _ => Err("lb's routes cannot negate a condition".to_owned()),
    });
    let known: Vec<bool> = known.collect::<Result<_, _>>()?;
    Ok(vec![Test::Always(!known.into_iter().any(|always| always))])
}

/// Returns the tests of an ACL, given by name or anonymous, of which one must hold, and the `acl`
/// lines that they come from.
fn tests(
    words: &[String],
    sections: &Sections,
    section: &Section,
    of: Of,
) -> Result<(Vec<Test>, Vec<Id>), String> {
    if words.len() > 1 {
        return Ok((vec![test(&words[2..], of)?], Vec::new()));
    }
    let name = words.first().map_or("", |name| name);
    let effective = sections.effective(section);
    let named: Vec<&Line> = effective
        .iter()
        .filter(|line| line.keyword() == "acl" && line.word(1) == name)
        .collect();
    if named.is_empty() {
        let test =
            predefined(name).ok_or_else(|| format!("there is no ACL {name} in this section"))?;
        return Ok((vec![test], Vec::new()));
    }
    let mut all: Vec<Test> = Vec::new();
    for line in &named {
        let test = test(line.after(2), of).map_err(|why| format!("ACL {name}: {why}"))?;
        let merged = all.last_mut().is_some_and(|last| merge(last, &test));
        if !merged {
            all.push(test);
        }
    }
    Ok((all, named.iter().map(|line| line.id).collect()))
}

/// Returns the route's conditions with one more test, as the conditions of one or more routes;
/// empty if they can never hold.
fn with(route: &Conditions, test: &Test, origins: &[Id]) -> Result<Vec<Conditions>, String> {
    let mut route = route.clone();
    route.origins.extend(origins);
    match test {
        Test::Always(true) => {}
        Test::Always(false) => return Ok(Vec::new()),
        Test::Hosts(hosts) => narrow(&mut route.hosts, hosts, "hosts")?,
        Test::Methods(methods) => narrow(&mut route.methods, methods, "methods")?,
        Test::Path { expressions, exact } => {
            if route.path.is_some() || route.path_regex.is_some() {
                return Err("a route has one condition on the path".to_owned());
            }
            match exact {
                Some(path) => route.path = Some(path.clone()),
                None => route.path_regex = Some(joined(expressions)),
            }
        }
        Test::Header { name, regex } => route.headers.push((name.clone(), regex.clone())),
    }
    Ok(vec![route])
}

fn narrow(all: &mut Vec<String>, those: &[String], what: &str) -> Result<(), String> {
    if !all.is_empty() {
        return Err(format!("a route has one list of {what}"));
    }
    for one in those {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    Ok(())
}

/// Combines two conditions, both of which must hold: that of a frontend's `use_backend`, and that
/// of a rule of the backend.
pub(crate) fn both(one: &Conditions, other: &Conditions) -> Result<Conditions, String> {
    let mut both = one.clone();
    if both.path.is_some() || both.path_regex.is_some() {
        if other.path.is_some() || other.path_regex.is_some() {
            return Err("a route has one condition on the path".to_owned());
        }
    } else {
        both.path.clone_from(&other.path);
        both.path_regex.clone_from(&other.path_regex);
    }
    if !other.hosts.is_empty() {
        narrow(&mut both.hosts, &other.hosts, "hosts")?;
    }
    if !other.methods.is_empty() {
        narrow(&mut both.methods, &other.methods, "methods")?;
    }
    both.headers.extend(other.headers.iter().cloned());
    both.origins.extend(&other.origins);
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{haproxy::model, ledger::Ledger};

    fn of(section: &str, condition: &str) -> Result<Vec<Conditions>, String> {
        let text = format!("frontend f\n{section}\n");
        let sections = model::read("h", &text, &mut Ledger::default());
        let words: Vec<_> = condition.split_whitespace().map(str::to_owned).collect();
        let of = Of {
            tls: true,
            port: 443,
        };
        conditions(&words, &sections, &sections.0[0], of)
    }

    #[test]
    fn acls_of_one_name_are_alternatives() {
        let acls = "acl s path_beg /static /img\nacl s path_end -i .png";
        let routes = of(acls, "if s").expect("routes");
        let [route] = &*routes else {
            panic!("{routes:?}");
        };
        assert_eq!(
            route.path_regex.as_deref(),
            Some(r"(?:^/static)|(?:^/img)|(?:(?i:\.png$))")
        );
        assert_eq!(route.origins.len(), 2);
    }

    #[test]
    fn a_host_and_a_path_are_one_route_and_an_or_two() {
        let acls = "acl h hdr(host) -i a.example.com\nacl p path /x";
        let both = of(acls, "if h p").expect("routes");
        assert_eq!(
            (&*both[0].hosts, both[0].path.as_deref()),
            (&["a.example.com".to_owned()][..], Some("/x"))
        );
        assert_eq!(of(acls, "if h or p").expect("routes").len(), 2);
        assert_eq!(
            of("", "if { hdr_end(host) .example.com }").expect("routes")[0].hosts,
            ["*.example.com"]
        );
    }

    #[test]
    fn what_the_service_decides_is_decided() {
        assert_eq!(of("", "if !{ ssl_fc }"), Ok(Vec::new()));
        assert_eq!(of("", "unless { ssl_fc }"), Ok(Vec::new()));
        assert_eq!(
            of("", "if { dst_port 443 }").map(|routes| routes.len()),
            Ok(1)
        );
    }

    #[test]
    fn what_a_route_cannot_say_is_an_error() {
        for (acls, condition) in [
            ("acl a path /x", "if !a"),
            ("acl a src 10.0.0.0/8", "if a"),
            ("", "if missing"),
            ("acl a hdr_beg(host) www.", "if a"),
            ("acl a path_beg /x", "if a { path_end .png }"),
            ("acl a hdr(host) -f /etc/hosts.lst", "if a"),
            ("", "if"),
        ] {
            assert!(of(acls, condition).is_err(), "{condition}");
        }
    }
}
