//! Checks of `lb doctor` about the clock of the host.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::config::{CheckKind, Config};

pub(super) static SERVICE: Check = Check {
    name: "time_service",
    group: Group::Host,
    looks_at: "Whether chrony, ntpd, systemd-timesyncd or a PTP daemon runs.",
    why: "A clock that is not corrected drifts by seconds a day. Certificates, ACME orders, the EC2 API \
          and signed adverts depend on the time.",
    fix: "Install one of them, such as `apt-get install chrony` or `dnf install chrony`.",
};

pub(super) static CLOCK: Check = Check {
    name: "clock",
    group: Group::Host,
    looks_at: "The difference between this host's clock and the `Date` header of backends with an HTTP check.",
    why: "The EC2 API refuses requests that are more than 5 minutes off, and certificates look expired or \
          not valid yet.",
    fix: "Correct the clock: `chronyc makestep`, or `timedatectl set-ntp true`.",
};

pub(super) static CHECKS: [&Check; 2] = [&SERVICE, &CLOCK];

/// Largest difference between two clocks that network delay and the whole seconds of the header
/// field `Date` explain; a larger one is a warning.
const NOTICEABLE: Duration = Duration::from_secs(5);
/// Largest difference between two clocks that is only a warning; a larger one is a failure.
const HARMFUL: Duration = Duration::from_secs(120);

/// Maximum number of backends that are asked for the time.
const ASKED: usize = 3;

/// Makes the checks about the clock. Each backend that is asked for the time has `limit` to answer.
pub(super) async fn check(config: &Config, limit: Duration) -> Vec<Finding> {
    let service = time_service(&processes());
    let mut offsets = Vec::new();
    for address in clocks(config) {
        if let Ok(Some(offset)) = tokio::time::timeout(limit, offset(address)).await {
            offsets.push(offset);
        }
    }
    vec![service, clock(&offsets)]
}

/// Returns the addresses of the first few backends with an HTTP health check, which speak HTTP
/// without TLS and can be asked for the time.
fn clocks(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let http = config.pools.iter().filter(|pool| {
        let check = pool.check.as_ref();
        check.is_some_and(|check| matches!(check.kind, CheckKind::Http { .. }))
    });
    http.flat_map(|pool| &pool.backends)
        .map(|backend| backend.address)
        .take(ASKED)
}

fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = all.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

fn time_service(processes: &[String]) -> Finding {
    // Names of the processes that set the clock by NTP or PTP. The kernel cuts names of processes
    // after 15 bytes.
    const SERVICES: [&str; 5] = ["chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys"];
    let found = SERVICES
        .iter()
        .find(|name| processes.iter().any(|one| one == *name));
    match found {
        Some(name) => SERVICE.ok("", format!("{name} is running")),
        None => SERVICE.warn(
            "",
            "no time service is running",
            "install one, such as `apt-get install chrony` or `dnf install chrony`; a container gets the \
             clock of its host, where this matters",
        ),
    }
}

/// The difference between this host's clock and the clock of a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Offset {
    by: Duration,
    /// Whether this host's clock is ahead of the backend's.
    is_ahead: bool,
}

async fn offset(address: SocketAddr) -> Option<Offset> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while head.len() < 16 * 1024 && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            break;
        }
    }
    let now = SystemTime::now();
    let remote = date_of(&String::from_utf8_lossy(&head))?;
    Some(match now.duration_since(remote) {
        Ok(by) => Offset { by, is_ahead: true },
        Err(error) => Offset {
            by: error.duration(),
            is_ahead: false,
        },
    })
}

/// Returns the time in the field `Date` of a response's head (RFC 9110, section 5.6.7: `Sun, 06 Nov
/// 1994 08:49:37 GMT`); `None` if the head has no such field.
fn date_of(head: &str) -> Option<SystemTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim())
    })?;
    let mut words = value.split(' ').skip(1);
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|place| place % 3 == 0)? / 3 + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// Checks this host's clock by its smallest difference from the clock of a backend: a difference
/// from a single backend may be a fault of that backend's clock.
fn clock(offsets: &[Offset]) -> Finding {
    let Some(least) = offsets.iter().min_by_key(|offset| offset.by) else {
        return CLOCK.skipped("", "no backend answered with the time");
    };
    let seconds = least.by.as_secs();
    if least.by <= NOTICEABLE {
        return CLOCK.ok("", "agrees with the clocks of backends to 5 s");
    }
    let direction = if least.is_ahead { "ahead of" } else { "behind" };
    let clocks = match offsets.len() {
        1 => "clock of the only backend that was asked".to_owned(),
        asked => format!("clocks of all {asked} backends that were asked"),
    };
    let found = format!("{seconds} s {direction} the {clocks}");
    let fix = "compare with `chronyc tracking`, and correct it: `chronyc makestep` or `timedatectl set-ntp \
               true`";
    match least.by > HARMFUL {
        true => CLOCK.fail("", found, fix),
        false => CLOCK.warn("", found, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn offset(seconds: u64) -> Offset {
        Offset {
            by: Duration::from_secs(seconds),
            is_ahead: true,
        }
    }

    #[test]
    fn the_date_of_a_response_is_parsed() {
        let head =
            "HTTP/1.1 200 OK\r\nServer: nginx\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let date = date_of(head).expect("parsed");
        assert_eq!(
            humantime::format_rfc3339_seconds(date).to_string(),
            "1994-11-06T08:49:37Z"
        );
        for broken in ["", "Date: now", "Date: Sun, 06 anF 1994 08:49:37 GMT"] {
            assert_eq!(date_of(broken), None, "{broken}");
        }
    }

    #[test]
    fn one_backend_that_agrees_is_enough() {
        assert_eq!(clock(&[]).state, State::Skipped);
        assert_eq!(clock(&[offset(3600), offset(1)]).state, State::Ok);
        assert_eq!(clock(&[offset(60), offset(30)]).state, State::Warn);
        assert_eq!(clock(&[offset(3600), offset(3601)]).state, State::Fail);
    }

    #[test]
    fn a_time_service_is_found_by_its_process() {
        let running = ["sh".to_owned(), "systemd-timesyn".to_owned()];
        assert_eq!(time_service(&running).state, State::Ok);
        assert_eq!(time_service(&running[..1]).state, State::Warn);
    }
}
