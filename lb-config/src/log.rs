//! `[log]`: the access log.

use std::{ops::RangeInclusive, path::PathBuf};

use toml::Spanned;

use super::{
    AccessField, AccessFormat, AccessLog, FormatPart, LineFormat, Log, LogTarget,
    kind::{Bool, Choice, Complaint, Text, Whole},
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    suggest, text,
};

pub(super) static LOG: Schema = Schema {
    name: "log",
    header: "[log]",
    about: "The log, the events, and what is recorded of the requests that the agent serves.",
    presence: "Optional.",
    keys: &[&LINE_FORMAT, &LEVEL, &ERRORS, &EVENTS_FILE],
    tables: &[&ACCESS],
};

static LINE_FORMAT: Key<Choice<LineFormat>> = Key {
    name: "format",
    kind: Choice {
        words: &[("text", LineFormat::Text), ("json", LineFormat::Json)],
        later: &[],
    },
    absent: Absent::Is("\"text\""),
    meaning: "How the agent writes the lines of its log to standard error. `json`: an object with \
              `time`, `level`, `message`, `target` and `fields` on each line.",
};

static LEVEL: Key<Text<String>> = Key {
    name: "level",
    kind: Text {
        what: "`\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"` or `\"trace\"`, or levels by module: \
               `\"info,lb::proxy=debug\"`",
        parse: level,
    },
    absent: Absent::Is("\"info\""),
    meaning: "Which lines are logged: those of this level and the more serious ones. `lb run --log` \
              and the environment variable `LB_LOG` override it; `lb log-level` changes it for a time.",
};

static ERRORS: Key<Whole<u32>> = Key {
    name: "errors",
    kind: Whole(RangeInclusive::new(0, 65_536)),
    absent: Absent::Is("256"),
    meaning: "How many of the latest requests, handshakes and connections that ended early are \
              kept in memory for `lb errors`, at most about 1.5 KiB each.",
};

static EVENTS_FILE: Key<Text<PathBuf>> = Key {
    name: "events_file",
    kind: text::PATH,
    absent: Absent::Means(
        "`events.jsonl` in systemd's `StateDirectory=`; without systemd `lb.events.jsonl` beside \
         the admin socket",
    ),
    meaning: "The file in which the latest 1,000 events are kept for `lb events`, so that they \
              survive the agent: a JSON object on each line. A change takes effect in a new \
              process (`lb upgrade`).",
};

static ACCESS: Schema = Schema {
    name: "access",
    header: "[log.access]",
    about: "A line for each request that the agent serves, written when the request ends for \
            whatever reason; for a tunnel (a WebSocket), when the tunnel ends. Values that clients \
            choose are escaped, so that they cannot break a line. No request waits for the log: if \
            the disk is slow or full and the buffer is full, lines are dropped and counted \
            (`lb_access_log_dropped_total`). [The fields, and how to rotate the \
            file](operations.md#the-access-log).",
    presence: "Optional: without it there is no access log, at no cost.",
    keys: &[&FORMAT, &TO, &TRACE, &CONNECTIONS],
    tables: &[],
};

static FORMAT: Key<Text<AccessFormat>> = Key {
    name: "format",
    kind: Text {
        what: "`\"json\"`, `\"combined\"`, or text with `{fields}`",
        parse: format,
    },
    absent: Absent::Is("\"json\""),
    meaning: "`json`: an object with every field. `combined`: as Apache and nginx write it. Any \
              other text is a custom format, in which `{status}` is replaced by that field, and \
              `{{` and `}}` by braces: `\"{client} {method} {target} {status} {total_us}\"`.",
};

static TO: Key<Text<LogTarget>> = Key {
    name: "to",
    kind: Text {
        what: "`\"stdout\"`, `\"syslog\"` or an absolute path",
        parse: target,
    },
    absent: Absent::Is("\"stdout\""),
    meaning: "Where the lines are written. A path: appended to that file, which is created with \
              mode 0640 if it does not exist, and reopened on SIGUSR1. `syslog`: `/dev/log`, with \
              facility `local0` and severity `info`.",
};

static TRACE: Key<Bool> = Key {
    name: "trace",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether to start a trace for each request that belongs to none: a request without a \
              valid `traceparent` (W3C Trace Context) is forwarded with a new one, sampled, and \
              without `tracestate`. A valid one is always forwarded unchanged, with its \
              `tracestate`, and is in the log.",
};

static CONNECTIONS: Key<Bool> = Key {
    name: "connections",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether to write a line also for connections that ended early without a request in \
              flight: failed handshakes, heads that did not arrive, closed idle connections.",
};

/// Reads the section `[log]`.
pub(super) fn log(section: &Section<'_>) -> Result<Log, Reported> {
    let format = section.value(&LINE_FORMAT);
    let level = section.value(&LEVEL);
    let errors = section.value(&ERRORS);
    let events_file = section.optional(&EVENTS_FILE);
    let access = section.table(&ACCESS)?;
    let access = access.as_ref().map(access_log).transpose();
    Ok(Log {
        format: format?.into_inner(),
        level: level?.into_inner(),
        errors: errors?.into_inner() as usize,
        events_file: events_file?.map(Spanned::into_inner),
        access: access?,
    })
}

fn access_log(section: &Section<'_>) -> Result<AccessLog, Reported> {
    let format = section.value(&FORMAT);
    let to = section.value(&TO);
    let trace = section.value(&TRACE);
    let connections = section.value(&CONNECTIONS);
    Ok(AccessLog {
        format: format?.into_inner(),
        to: to?.into_inner(),
        trace: trace?.into_inner(),
        connections: connections?.into_inner(),
    })
}

/// Returns whether a text is a level of the log, or levels by module: `info,lb::proxy=debug`.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    let is_level = |word: &str| matches!(word, "error" | "warn" | "info" | "debug" | "trace");
    let is_module = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        !text.is_empty() && text.bytes().all(allowed)
    };
    text.split(',').all(|part| match part.split_once('=') {
        Some((module, level)) => is_module(module) && is_level(level),
        None => is_level(part),
    })
}

fn level(text: &str) -> Result<String, Complaint> {
    if is_log_level(text) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        "is not a level",
        "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or levels by module: \
         \"info,lb::proxy=debug\"",
    ))
}

fn target(text: &str) -> Result<LogTarget, Complaint> {
    match text {
        "stdout" => Ok(LogTarget::Stdout),
        "syslog" => Ok(LogTarget::Syslog),
        path if path.starts_with('/') && !path.contains('\0') => {
            Ok(LogTarget::File(PathBuf::from(path)))
        }
        _ => Err(Complaint::new(
            "is not a target",
            "write \"stdout\", \"syslog\" or a path that begins with /",
        )),
    }
}

fn format(text: &str) -> Result<AccessFormat, Complaint> {
    match text {
        "json" => return Ok(AccessFormat::Json),
        "combined" => return Ok(AccessFormat::Combined),
        _ => {}
    }
    if let Some(strange) = text.chars().find(|character| character.is_control()) {
        let found = format!("has the control character {strange:?}");
        return Err(Complaint::new(
            found,
            "a control character would break the line: leave it out",
        ));
    }
    let parts = parts(text)?;
    if !parts
        .iter()
        .any(|part| matches!(part, FormatPart::Field(_)))
    {
        let hint = "write \"json\", \"combined\", or fields in braces: \"{client} {status}\"";
        return Err(Complaint::new("has no field", hint));
    }
    Ok(AccessFormat::Own(parts))
}

fn parts(text: &str) -> Result<Vec<FormatPart>, Complaint> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(place);
        plain.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|b| b.split_once('}'))
        {
            if !plain.is_empty() {
                parts.push(FormatPart::Text(std::mem::take(&mut plain)));
            }
            parts.push(FormatPart::Field(field(name)?));
            rest = after;
        } else {
            let hint = "a field is \"{status}\"; write a brace twice for a literal one";
            return Err(Complaint::new("has an unmatched brace", hint));
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(FormatPart::Text(plain));
    }
    Ok(parts)
}

fn field(name: &str) -> Result<AccessField, Complaint> {
    let mut all = AccessField::ALL.iter();
    all.find(|field| field.name() == name)
        .copied()
        .ok_or_else(|| {
            let names: Vec<_> = AccessField::ALL.iter().map(|field| field.name()).collect();
            let near = suggest::nearest(name, names.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("did you mean {near}?\n"));
            Complaint::new(
                format!("has no field {{{name}}}"),
                format!("{near}fields are: {}", names.join(", ")),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_of_ones_own_has_text_and_fields() {
        let text = |text: &str| FormatPart::Text(text.to_owned());
        let field = FormatPart::Field;
        assert_eq!(
            format("{{{client}}} \"{method}\" {status}").ok(),
            Some(AccessFormat::Own(vec![
                text("{"),
                field(AccessField::Client),
                text("} \""),
                field(AccessField::Method),
                text("\" "),
                field(AccessField::Status),
            ]))
        );
    }

    #[test]
    fn an_invalid_format_is_refused_with_the_fix() {
        for (text, found, hint) in [
            ("", "has no field", "json"),
            ("jason", "has no field", "json"),
            ("{client} {", "has an unmatched brace", "a brace twice"),
            ("{client}}", "has an unmatched brace", "a brace twice"),
            ("{statut}", "has no field {statut}", "did you mean status?"),
            ("{client}\n", "has the control character", "leave it out"),
        ] {
            let complaint = format(text).map(drop).expect_err("refused");
            assert!(complaint.found.starts_with(found), "{}", complaint.found);
            assert!(complaint.hint.contains(hint), "{}", complaint.hint);
        }
    }

    #[test]
    fn a_level_is_a_word_or_words_by_module() {
        for text in ["info", "trace", "warn,lb::proxy=debug", "lb_aws=error"] {
            assert_eq!(level(text).ok().as_deref(), Some(text));
        }
        for text in [
            "",
            "INFO",
            "verbose",
            "info,",
            "lb=",
            "=debug",
            "l b=info",
            "info,lb[x]=debug",
        ] {
            assert!(level(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_a_word_or_a_path() {
        assert_eq!(target("stdout").ok(), Some(LogTarget::Stdout));
        assert_eq!(target("syslog").ok(), Some(LogTarget::Syslog));
        assert_eq!(
            target("/var/log/lb/access.log").ok(),
            Some(LogTarget::File("/var/log/lb/access.log".into()))
        );
        for text in ["", "stderr", "access.log"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
