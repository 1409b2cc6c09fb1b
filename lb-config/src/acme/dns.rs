//! The keys of `[acme]` that configure the challenge DNS-01.

use std::ops::Range;

use super::{
    super::{
        Acme, AcmeChallenge, DnsHook,
        ha::command::Command,
        kind::Time,
        schema::{Absent, Entry as _, Key},
        section::Section,
        source::Reported,
    },
    CHALLENGES,
};

pub(super) static COMMAND: Key<Command> = Key {
    name: "dns_command",
    kind: Command,
    absent: Absent::Means("none: `dns-01` must have one"),
    meaning: "The program that sets and removes the record of `dns-01`, and its first arguments. \
              It gets `present` or `cleanup`, the record's name and its value as further \
              arguments, and certbot's environment variables: see [DNS-01](operations.md#dns-01). \
              It runs as the agent's user and in its sandbox, without a shell; if it fails, the \
              error has the last line of its output.",
};

pub(super) static TIMEOUT: Key<Time> = Key {
    name: "dns_timeout",
    kind: Time::milliseconds(1_000, 300_000),
    absent: Absent::Is("\"60s\""),
    meaning: "A run of `dns_command` that takes longer is killed together with its child \
              processes, and has failed.",
};

pub(super) static PROPAGATION: Key<Time> = Key {
    name: "dns_propagation",
    kind: Time::milliseconds(0, 1_800_000),
    absent: Absent::Is("\"30s\""),
    meaning: "How long the records may take to reach all DNS servers: the time from setting the \
              last one to asking the directory to validate.",
};

/// Reads the keys of DNS-01, which are allowed only with that challenge. `challenges` is `None` if
/// the key `challenges` is not valid.
pub(super) fn hook(
    section: &Section<'_>,
    challenges: Option<&[AcmeChallenge]>,
) -> Result<Option<DnsHook>, Reported> {
    let command = section.optional(&COMMAND);
    let timeout = section.value(&TIMEOUT);
    let propagation = section.value(&PROPAGATION);
    let (command, timeout, propagation) = (command?, timeout?, propagation?);
    let is_used = challenges.ok_or(Reported)?.contains(&AcmeChallenge::Dns01);
    let source = section.source();
    match command {
        Some(command) if is_used => Ok(Some(DnsHook {
            command: command.into_inner(),
            timeout: timeout.into_inner(),
            propagation: propagation.into_inner(),
        })),
        Some(command) => {
            let message =
                "[acme] has dns_command, but dns-01 is not one of its challenges".to_owned();
            let hint = "write challenges = [\"dns-01\"], or leave dns_command out".to_owned();
            Err(source.error(command.span(), message, hint))
        }
        None if is_used => {
            let message = "dns-01 is one of the challenges, but there is no dns_command".to_owned();
            let hint = "name the program that sets and removes records in your DNS: dns_command = \
                        [\"/usr/local/bin/dns-record\"]";
            let place = section.place(CHALLENGES.name());
            let place = place.unwrap_or_else(|| section.span());
            Err(source.error(place, message, hint.to_owned()))
        }
        None => Ok(None),
    }
}

/// Reports a wildcard domain of a service unless DNS-01 is the only challenge of `[acme]`.
pub(super) fn refuse_wildcards(
    section: &Section<'_>,
    place: Range<usize>,
    domains: &[String],
    acme: &Acme,
) -> Result<(), Reported> {
    let wildcard = domains.iter().find(|domain| domain.starts_with("*."));
    let Some(wildcard) = wildcard.filter(|_| acme.challenges != [AcmeChallenge::Dns01]) else {
        return Ok(());
    };
    let message = format!("domain \"{wildcard}\" is a wildcard, which only dns-01 can validate");
    let hint = "write challenges = [\"dns-01\"] and dns_command in [acme], name each host instead, or \
                give the service a certificate file";
    Err(section.source().error(place, message, hint.to_owned()))
}
