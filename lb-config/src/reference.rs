//! The reference page, generated from the schemas that the parser uses.

use std::fmt::Write as _;

use super::{
    document::ROOT,
    schema::{Absent, Entry, Schema},
};

/// Returns the text of `docs/configuration.md`: every section and key with allowed values, default
/// and meaning.
#[must_use]
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for schema in ROOT.tables.iter().flat_map(|table| table.walk()) {
        write_section(&mut page, schema);
    }
    page.push_str(ENDING);
    page
}

fn write_section(page: &mut String, schema: &Schema) {
    let Schema {
        header,
        about,
        presence,
        ..
    } = schema;
    _ = write!(page, "\n## `{header}`\n\n{about} {presence}\n\n");
    page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in schema.keys {
        write_key(page, *key);
    }
}

fn write_key(page: &mut String, key: &dyn Entry) {
    let default = match key.absent() {
        Absent::Refused(_) => "required".to_owned(),
        Absent::Is(default) => format!("`{default}`"),
        Absent::Elsewhere(_, meaning) => format!("required, unless {meaning}"),
        Absent::Means(meaning) => meaning.to_owned(),
    };
    let (name, value, meaning) = (key.name(), key.describe(), key.meaning());
    _ = writeln!(page, "| `{name}` | {value} | {default} | {meaning} |");
}

const INTRODUCTION: &str = r#"# Configuration

<!-- Written from the code: `UPDATE=1 cargo test -p lb-config --test config reference`. -->

`lb` reads one [TOML](https://toml.io) file. `lb check --config FILE` validates it and reports all
errors together, each with its line, what was found and what to write; its exit code is then 2. A
running agent reads the file again on `lb reload` or SIGHUP; if the new file is refused, the old
configuration stays in force.

The smallest useful file:

```toml
[node]
name = "lb-a"
interface = "eth0"

[[pool]]
name = "web"
backends = ["10.0.0.6:80", "10.0.0.7:80"]

[[service]]
name = "http"
listen = "172.31.0.68:80"
mode = "tcp"
pool = "web"
```

A longer one, with comments, is [`deploy/lb.toml`](../deploy/lb.toml).

- Unknown sections and keys are refused, so a typing error cannot go unnoticed.
- Addresses are IP addresses; an IPv6 address before a port is in brackets: `"[2001:db8::6]:80"`. Names
  are not resolved.
- A duration is text with a unit, `h`, `m`, `s` or `ms`, and may have several: `"2s"`, `"100ms"`,
  `"1m30s"`.
- A name is 1 to 63 of `a-z A-Z 0-9 . _ -`.
- Sections in double brackets, such as `[[pool]]`, may be in a file several times.
- A file has at most 4,096 services, and the services of mode `tcp` have at most 16,384 backends
  together: a backend counts once for each of these services that uses its pool.
"#;

const ENDING: &str = r#"
## Combinations that are refused

The following are refused too:

- `interface` together with `interfaces`, neither of them, or a duplicate interface;
- two services, or a service and `[admin]`, that listen on the same port of the same address; a
  wildcard overlaps with every address of its family (`[::]` is IPv6 only: for both families, write two
  services);
- two pools, two services, or two backends of a pool with the same name; two backends of a pool with
  the same address; a service that listens on the address of one of its own backends;
- `forward` for a service of mode `http` or `https`, `certificates` or `domains` for one of mode
  `tcp` or `http`;
- `domains` without `[acme]`; a domain that is an IP address; a wildcard domain unless `challenges`
  is `dns-01` only; `dns-01` without `dns_command`, and the reverse; `[acme]` in a pair without
  `[ha.link]`; `challenges` that are `http-01` only if a service of mode `tcp` has port 80;
- for a service of mode `tcp`: `[service.timeouts]`, `route`, `request_headers`, `response_headers` and
  `error_pages`; wildcard, loopback or IPv6 addresses, its own or its backends'; a pool that balances by
  `least_connections`, `random_two` or `hash`, or has a key or table that is for services of mode `http`
  and `https`;
- `[pool.queue]` without `max_connections`;
- a pool whose backends all have `backup = true`;
- `balance = "hash"` without `hash_by`, and `hash_by` with another balance;
- two pools of a service whose `[pool.sticky]` have the same `cookie`;
- in a route: none of `pool`, `redirect` and `respond`, or more than one; more than one of `path`,
  `path_prefix` and `path_regex`; `replace_prefix` without `path_prefix` and `pool`; edits of header
  fields that frame a message or belong to a connection; a name that is a number or `default`, or a
  duplicate in the service; a body with 204, 205 or 304;
- a check or a script whose `timeout` is longer than its `interval`;
- in `[dataplane]`: more than eight `source_addresses`, duplicates, or one that a service listens on;
- in `[ha]`: `peer` and `source` that are equal or of two families; a moving address that equals one
  of them; `[ha.elastic_ip]` together with `[ha.virtual_ip]`, or neither without a `master` command;
  `moves_private_ip` without `private_ip`; `password` in version 3, or with `hmac_key_file`;
  `preempt_delay` with `preempt = false`; a `min_backends` larger than a pool of a service; a port
  of `[ha.link]` that a service or `[admin]` has; two scripts with the same name.

Five configurations are accepted with a warning: a pool that no service uses, `[ha]` without `[ha.link]`,
`[acme]` without a service with `domains`, `http-01` among the `challenges` if a service of mode `tcp` has
port 80, and a route after one that takes every request.

Some conditions can be checked only on the host, when the agent starts and at each reload: whether the
interfaces exist, and whether the files of certificates and of answers can be read and the keys match.
The agent checks the secrets of `[ha]`, which must have mode 0600, when it starts.

Routes are checked there too: when it starts and at each reload, the agent asks the kernel for the route to each backend
of a `tcp` service. It refuses all backends whose route leaves by an interface without the XDP program,
that have no route, or that are addresses of this host, and reports them together. `lb check`, which may
run on another host, does not check routes. When it starts, the agent also refuses `source_addresses` that
no interface of this host has.

## What a reload changes

A reload changes everything except `[node]`, `[admin]`, `[dataplane]` and the number of `workers`: it is
refused if these changed, with an error that names the keys. They take a new process, which `lb upgrade`
starts; flows in the kernel go on. Other addresses that move between the hosts take `systemctl restart
lb`, and another `max_connections` or `source_addresses` of `[dataplane]` takes `lb unload`.

Of `[ha]` a reload changes `priority`, `preempt`, `preempt_delay`, `min_backends`, `backends_weight`,
`handover_timeout`, `[[ha.track]]` and `[ha.notify]`; the other keys must be the same on both hosts or
are bound at the start.
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Config, Absent, ROOT, Schema};

    /// Returns the shortest text that opens a section of this schema; the rest of the file need not
    /// be valid.
    fn opened(schema: &Schema) -> String {
        let all: Vec<_> = ROOT.tables.iter().flat_map(|table| table.walk()).collect();
        let path = schema.path();
        let mut text = String::new();
        for (dot, _) in path.match_indices('.') {
            let parent = all.iter().find(|other| other.path() == &path[..dot]);
            text += parent.expect("a section").header;
            text += "\n";
        }
        text + schema.header + "\n"
    }

    #[test]
    fn every_key_of_the_reference_is_read() {
        for schema in ROOT.tables.iter().flat_map(|table| table.walk()) {
            for key in schema.keys {
                // No key accepts a date: if a date is not refused, the parser does not read the
                // key.
                let text = format!("{}{} = 1979-05-27\n", opened(schema), key.name());
                let place = u32::try_from(text.lines().count()).expect("a short text");
                let errors = Config::parse(Path::new("lb.toml"), &text).expect_err("a date");
                let said = errors.diagnostics().iter().any(|error| {
                    error.line() == Some(place) && error.message.contains(" is a date")
                });
                assert!(
                    said,
                    "{} {} is not read:\n{errors}",
                    schema.header,
                    key.name()
                );
            }
        }
    }

    #[test]
    fn every_example_and_default_of_the_reference_is_valid() {
        let mut values = 0;
        for schema in ROOT.tables.iter().flat_map(|table| table.walk()) {
            for key in schema.keys {
                let (Absent::Is(value) | Absent::Refused(value) | Absent::Elsewhere(value, _)) =
                    key.absent()
                else {
                    continue;
                };
                values += 1;
                let text = format!("{}{} = {value}\n", opened(schema), key.name());
                let place = u32::try_from(text.lines().count()).expect("a short text");
                let errors = Config::parse(Path::new("lb.toml"), &text).expect_err("the rest");
                // Errors about references between sections, and about other keys, do not matter
                // here.
                let complaint = errors.diagnostics().iter().find(|error| {
                    error.line() == Some(place) && !error.message.contains("a check of type")
                });
                assert_eq!(
                    complaint,
                    None,
                    "{} {} = {value}",
                    schema.header,
                    key.name()
                );
            }
        }
        assert!(values > 30, "only {values} values were looked at");
    }

    #[test]
    fn the_smallest_file_of_the_page_is_valid() {
        let page = super::reference_page();
        let (_, text) = page.split_once("```toml\n").expect("a file in the page");
        let (text, _) = text.split_once("```").expect("its end");
        let parsed = Config::parse(Path::new("lb.toml"), text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(parsed.warnings, []);
    }
}
