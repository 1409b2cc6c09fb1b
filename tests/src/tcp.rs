//! TCP counters of a host's kernel.

use std::fs;

use anyhow::{Context as _, Result};

use crate::Host;

/// Returns the number of connections that a host has opened, successfully or not: `tcpActiveOpens`
/// of RFC 4022.
///
/// # Errors
/// When the counter cannot be read.
pub fn active_opens(host: &Host) -> Result<u64> {
    counter(host, "snmp", "ActiveOpens", active_opens_of)
}

/// Returns the number of connections in TIME-WAIT on a host: those that the host closed first.
///
/// # Errors
/// When the counter cannot be read.
pub fn time_waits(host: &Host) -> Result<u64> {
    counter(host, "sockstat", "TCP tw", time_waits_of)
}

fn counter(
    host: &Host,
    file: &str,
    name: &str,
    find: impl FnOnce(&str) -> Option<u64>,
) -> Result<u64> {
    let path = format!("/proc/{}/net/{file}", host.pid());
    let text = fs::read_to_string(&path)
        .with_context(|| format!("could not read net/{file} of {}", host.name()))?;
    find(&text).with_context(|| format!("net/{file} of {} does not show {name}", host.name()))
}

/// Returns `tcpActiveOpens` from `/proc/net/snmp`, in which two lines begin with `Tcp:`: names,
/// then values.
fn active_opens_of(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|(name, _)| *name == "ActiveOpens")?;
    value.parse().ok()
}

/// Returns `tw` from the line `TCP: inuse 5 orphan 0 tw 2 alloc 9 mem 1` of `/proc/net/sockstat`.
fn time_waits_of(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let snmp =
            "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 42 7\n";
        assert_eq!(active_opens_of(snmp), Some(42));
        assert_eq!(active_opens_of("Tcp: ActiveOpens\n"), None);
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 23 alloc 9 mem 1\nUDP: inuse 1\n";
        assert_eq!(time_waits_of(sockstat), Some(23));
        assert_eq!(time_waits_of("UDP: inuse 1\n"), None);
    }
}
