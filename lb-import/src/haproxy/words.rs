//! Converts single words of haproxy.cfg: durations, addresses, names.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lb_config::spell_duration;

use super::environment::{unknown_variable, variable};

/// Returns a duration as lb writes it; without a unit, HAProxy counts milliseconds. `None` if it is
/// not a duration.
pub(crate) fn duration(word: &str) -> Option<String> {
    millis(word).map(Duration::from_millis).map(spell_duration)
}

/// Parses a duration and returns its milliseconds.
pub(crate) fn millis(word: &str) -> Option<u64> {
    let end = word
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(word.len());
    let (number, unit) = word.split_at(end);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(number / 1_000),
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// Parses a duration as lb writes it, such as `1m30s`, and returns its milliseconds; `None` if it is
/// not a duration.
pub(crate) fn spelled_millis(text: &str) -> Option<u64> {
    let is_digit = |character: char| character.is_ascii_digit();
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let unit = rest.find(|character| !is_digit(character))?;
        let length = rest[unit..].find(is_digit).unwrap_or(rest.len() - unit);
        let (part, after) = rest.split_at(unit + length);
        sum = sum.checked_add(millis(part)?)?;
        rest = after;
    }
    Some(sum)
}

/// Formats seconds as lb writes a duration.
pub(crate) fn of_seconds(seconds: f64) -> String {
    spell_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Returns each address that a `bind` names, or why lb cannot listen on it.
pub(crate) fn listeners(word: &str) -> Vec<Result<SocketAddr, String>> {
    word.split(',').map(listener).collect()
}

fn listener(word: &str) -> Result<SocketAddr, String> {
    if word.starts_with("quic") && word.contains('@') {
        return Err("lb serves no HTTP/3".to_owned());
    }
    let word = word
        .strip_prefix("ipv4@")
        .or(word.strip_prefix("ipv6@"))
        .unwrap_or(word);
    if word.starts_with('/') || word.contains('@') {
        return Err("lb listens on IP addresses only".to_owned());
    }
    if let Some((name, ..)) = variable(word) {
        return Err(unknown_variable(name));
    }
    let (host, port) = word.rsplit_once(':').unwrap_or((word, ""));
    let address = match host {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "[::]" | "::" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        host => ip_of(host).ok_or_else(|| {
            format!("\"{host}\" is not an address, and lb does not resolve names here")
        })?,
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok(SocketAddr::new(address, port)),
        _ if port.contains('-') => {
            Err("lb has a service for each port: write one for each of the range".to_owned())
        }
        _ => Err(format!("\"{port}\" is not a port")),
    }
}

/// Parses an IP address, with or without brackets.
pub(crate) fn ip(word: &str) -> Option<IpAddr> {
    let inner = word
        .strip_prefix('[')
        .and_then(|word| word.strip_suffix(']'));
    inner.unwrap_or(word).parse().ok()
}

/// Parses an IP address, or the name `localhost`, which every host has and name servers may not
/// have.
fn ip_of(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    ip(host)
}

/// Returns the address of a `server`, or why lb cannot connect to it.
pub(crate) fn server_address(word: &str, port_of_bind: Option<u16>) -> Result<SocketAddr, String> {
    let word = word
        .strip_prefix("ipv4@")
        .or(word.strip_prefix("ipv6@"))
        .unwrap_or(word);
    if word.starts_with('/') || word.contains('@') {
        return Err("lb connects to IP addresses only".to_owned());
    }
    if let Some((name, ..)) = variable(word) {
        return Err(unknown_variable(name));
    }
    let (host, port) = match ip(word) {
        Some(_) => (word, None),
        None => match word.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (word, None),
        },
    };
    let Some(address) = ip_of(host) else {
        return Err(format!(
            "\"{host}\" is neither an address nor a name in DNS with a port"
        ));
    };
    let port = match port {
        Some(port) => port.parse().ok(),
        None => port_of_bind,
    };
    match port {
        Some(port) if port > 0 => Ok(SocketAddr::new(address, port)),
        _ => Err("it has no port of its own, which lb's backends need".to_owned()),
    }
}

/// Returns the host name of a `server` and its port; `None` if the word has no valid name in DNS.
pub(crate) fn server_name(word: &str, port_of_bind: Option<u16>) -> Option<(String, Option<u16>)> {
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (word, port_of_bind),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(plain)
    };
    let has_letter = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_name = has_letter && host.split('.').all(label);
    is_name.then(|| (host.to_ascii_lowercase(), port))
}

/// Parses the address of a `nameserver`, whose port is 53 if it has none.
pub(crate) fn name_server(word: &str) -> Option<SocketAddr> {
    let prefixes = ["udp@", "ipv4@", "ipv6@", "udp4@", "udp6@"];
    let found = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix));
    let word = found.unwrap_or(word);
    let address = word.parse().ok();
    address.or_else(|| ip(word).map(|ip| SocketAddr::new(ip, 53)))
}

/// Makes a name that lb accepts for a service, pool or backend from any text: 1 to 63 of `a-z A-Z
/// 0-9 . _ -`.
pub(crate) fn name(text: &str) -> String {
    let allowed = |character: char| {
        if character.is_ascii_alphanumeric() || ".-_".contains(character) {
            character
        } else {
            '_'
        }
    };
    let name: String = text.chars().map(allowed).take(63).collect();
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}

/// Makes a name that is not in `taken`, and adds it there.
pub(crate) fn unique(wanted: &str, taken: &mut Vec<String>) -> String {
    let base: String = name(wanted).chars().take(56).collect();
    let whole = name(wanted);
    let candidates = (2..).map(|number| format!("{base}-{number}"));
    let free = std::iter::once(whole)
        .chain(candidates)
        .find(|name| !taken.contains(name))
        .unwrap_or_default();
    taken.push(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_without_a_unit_is_in_milliseconds() {
        for (word, spelled) in [
            ("5000", "5s"),
            ("50s", "50s"),
            ("1d", "24h"),
            ("1500ms", "1s500ms"),
            ("90s", "1m30s"),
            ("0", "0s"),
        ] {
            assert_eq!(duration(word).as_deref(), Some(spelled), "{word}");
        }
        assert_eq!(spelled_millis("1m30s"), Some(90_000));
        assert_eq!(spelled_millis("1s500ms"), Some(1_500));
        assert_eq!(spelled_millis("x"), None);
        assert_eq!(duration("5x"), None);
        assert_eq!(duration("99999999999999999999h"), None);
    }

    #[test]
    fn a_bind_may_name_several_addresses() {
        let all = listeners("*:80,[::]:80,10.0.0.1:8080");
        let all: Vec<_> = all
            .into_iter()
            .map(|one| one.expect("an address").to_string())
            .collect();
        assert_eq!(all, ["0.0.0.0:80", "[::]:80", "10.0.0.1:8080"]);
        for word in [
            "/run/x.sock",
            "unix@/x",
            "*:80-90",
            "example.com:80",
            "*:0",
            "",
        ] {
            assert!(listeners(word)[0].is_err(), "{word}");
        }
    }

    #[test]
    fn a_server_without_a_port_has_that_of_its_bind() {
        let address = |word, port| server_address(word, port).map(|address| address.to_string());
        assert_eq!(address("10.0.0.1", Some(80)).as_deref(), Ok("10.0.0.1:80"));
        assert_eq!(
            address("[2001:db8::1]:81", None).as_deref(),
            Ok("[2001:db8::1]:81")
        );
        assert!(address("10.0.0.1", None).is_err());
        assert!(address("web1:80", None).is_err());
    }

    #[test]
    fn localhost_is_an_address() {
        let address = server_address("localhost:8000", None).map(|address| address.to_string());
        assert_eq!(address.as_deref(), Ok("127.0.0.1:8000"));
        let bound = listeners("localhost:80")[0]
            .clone()
            .map(|address| address.to_string());
        assert_eq!(bound.as_deref(), Ok("127.0.0.1:80"));
    }

    #[test]
    fn a_variable_in_an_address_is_named() {
        for word in ["0.0.0.0:$PORT", "${PORT}", "$PORT:80"] {
            for why in [
                server_address(word, None).err(),
                listeners(word)[0].clone().err(),
            ] {
                let why = why.unwrap_or_default();
                assert!(
                    why.contains("variable $PORT, whose value is not in"),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn names_are_made_valid_and_unique() {
        let mut taken = Vec::new();
        assert_eq!(unique("a b", &mut taken), "a_b");
        assert_eq!(unique("a/b", &mut taken), "a_b-2");
        assert_eq!(unique("", &mut taken), "unnamed");
    }
}
