//! Tests with forged adverts: any packet that is not an intact, recent advert of the peer is
//! counted and discarded.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    num::NonZeroU8,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use lab::{host::joined, wait};
use lb_ha::advert::{
    Authentication, Cast, Encoder, Interval, Key, Keys, PROTOCOL, Password, Priority, Senders,
    Settings, Version, Wire,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    signed::{SECRET, Signed},
    stage::{Ours, SOON, Setup, Stage},
};

const THEM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// A sender on the peer's host that can send IPv4 packets with any source address and content.
struct Forger<'a> {
    stage: &'a Stage,
}

impl Forger<'_> {
    /// Sends each payload to our host, in an IPv4 packet with this source address, from the peer's
    /// host.
    fn send(&self, source: Ipv4Addr, payloads: Vec<Vec<u8>>) -> Result<()> {
        joined(self.stage.theirs.inside(move || {
            let protocol = Protocol::from(i32::from(PROTOCOL));
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
            socket.set_header_included_v4(true)?;
            for payload in payloads {
                let datagram = ipv4(source, &payload)?;
                socket.send_to(&datagram, &SocketAddrV4::new(US, 0).into())?;
            }
            Ok(())
        }))
    }
}

/// Returns an IPv4 packet with this source address and payload. The kernel fills in the
/// identification and the checksum.
fn ipv4(source: Ipv4Addr, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(20 + payload.len())?.to_be_bytes();
    let mut datagram = vec![0x45, 0xc0, length[0], length[1], 0, 0, 0, 0];
    datagram.extend([255, PROTOCOL, 0, 0]);
    datagram.extend(source.octets());
    datagram.extend(US.octets());
    datagram.extend(payload);
    Ok(datagram)
}

/// Returns the settings with which a genuine peer sends its adverts.
fn theirs(authentication: Authentication) -> Settings {
    let password = matches!(authentication, Authentication::Password(_));
    let (version, centiseconds) = if password {
        (Version::V2, 100)
    } else {
        (Version::V3, 10)
    };
    Settings {
        version,
        router_id: NonZeroU8::new(41).expect("not zero"),
        source: THEM.into(),
        peer: US.into(),
        cast: Cast::Unicast,
        senders: Senders::Peer,
        check_ttl: false,
        interval: Interval::from_centiseconds(centiseconds).expect("not zero"),
        addresses: vec![IpAddr::from([10, 77, 0, 100])],
        authentication,
        checksum_without_pseudo_header: false,
    }
}

fn encoder(settings: Settings) -> Encoder {
    Encoder::new(Wire::new(settings).expect("settings that fit together"))
}

fn now() -> Duration {
    (SystemTime::now().duration_since(UNIX_EPOCH)).expect("a clock that is on")
}

fn advert(settings: Settings, priority: u8) -> Vec<u8> {
    encoder(settings).encode(Priority::new(priority), now())
}

fn password(text: &str) -> Authentication {
    Authentication::Password(Password::new(text).expect("a password"))
}

fn hmac(secret: [u8; 32]) -> Authentication {
    let key = Key::new(NonZeroU8::MIN, &secret).expect("a key");
    Authentication::Hmac(Keys::one(key))
}

/// Asserts that all `forgeries` are refused for the reason `word`, and that a genuine advert after
/// them is received.
fn is_refused(
    setup: &Setup,
    genuine: Settings,
    word: &str,
    source: Ipv4Addr,
    forgeries: Vec<Vec<u8>>,
) -> Result<()> {
    let stage = Stage::raise()?;
    let mut ours = Ours::open(&stage, setup)?;
    let forger = Forger { stage: &stage };
    let count = forgeries.len().try_into()?;
    forger.send(source, forgeries)?;
    ours.wait_until_refused(word, count)?;
    ours.has_heard_nothing()?;
    forger.send(THEM, vec![advert(genuine, 123)])?;
    let heard = ours.hear(SOON)?;
    ensure!(heard.advert.priority.get() == 123, "{heard:?}");
    ensure!(ours.counters().received == 1, "{:?}", ours.counters());
    Ok(())
}

#[test]
fn adverts_of_a_stranger() -> Result<()> {
    let genuine = theirs(Authentication::None);
    let strange = Settings {
        source: STRANGER.into(),
        ..genuine.clone()
    };
    let forged = vec![advert(strange.clone(), 0), advert(strange, 255)];
    is_refused(&Setup::v3(), genuine, "source", STRANGER, forged)
}

#[test]
fn a_stranger_is_heard_where_sources_are_not_checked() -> Result<()> {
    let stage = Stage::raise()?;
    let mut ours = Ours::open(&stage, &Setup::with("check_source = false"))?;
    let strange = Settings {
        source: STRANGER.into(),
        ..theirs(Authentication::None)
    };
    let forger = Forger { stage: &stage };
    forger.send(STRANGER, vec![advert(strange, 7)])?;
    let heard = ours.hear(SOON)?;
    ensure!(heard.from == IpAddr::V4(STRANGER), "{heard:?}");
    Ok(())
}

#[test]
fn adverts_with_a_wrong_checksum() -> Result<()> {
    let genuine = theirs(Authentication::None);
    let good = advert(genuine.clone(), 255);
    let forged = (0..16).map(|bit| {
        let mut bad = good.clone();
        bad[6 + bit / 8] ^= 1 << (bit % 8);
        bad
    });
    is_refused(&Setup::v3(), genuine, "checksum", THEM, forged.collect())
}

#[test]
fn adverts_with_another_password() -> Result<()> {
    let setup = Setup {
        password: Some("s3cret"),
        ..Setup::v2()
    };
    let forged = ["s3creT", "s3cre", "x"].map(|text| advert(theirs(password(text)), 255));
    let genuine = theirs(password("s3cret"));
    is_refused(&setup, genuine, "password", THEM, forged.into())
}

#[test]
fn adverts_signed_with_another_key() -> Result<()> {
    let signed = Signed::new()?;
    let forged = vec![advert(theirs(hmac([8; 32])), 255)];
    let genuine = theirs(hmac(SECRET));
    is_refused(&signed.setup, genuine, "hmac", THEM, forged)
}

#[test]
fn adverts_that_are_not_signed() -> Result<()> {
    let signed = Signed::new()?;
    let forged = vec![advert(theirs(Authentication::None), 255)];
    let genuine = theirs(hmac(SECRET));
    is_refused(&signed.setup, genuine, "unsigned", THEM, forged)
}

#[test]
fn adverts_of_yesterday() -> Result<()> {
    let signed = Signed::new()?;
    let genuine = theirs(hmac(SECRET));
    let yesterday = now() - Duration::from_secs(86_400);
    let stale = encoder(genuine.clone()).encode(Priority::new(255), yesterday);
    is_refused(&signed.setup, genuine, "stale", THEM, vec![stale])
}

#[test]
fn signed_adverts_are_heard_once() -> Result<()> {
    let signed = Signed::new()?;
    let stage = Stage::raise()?;
    let mut ours = Ours::open(&stage, &signed.setup)?;
    let mut encoder = encoder(theirs(hmac(SECRET)));
    let earlier = encoder.encode(Priority::GOODBYE, now());
    let genuine = encoder.encode(Priority::new(99), now());
    let forger = Forger { stage: &stage };
    forger.send(THEM, vec![genuine.clone(), genuine, earlier])?;
    ensure!(ours.hear(SOON)?.advert.priority.get() == 99);
    ours.wait_until_refused("replayed", 2)?;
    ours.has_heard_nothing()
}

#[test]
fn adverts_cut_at_every_length() -> Result<()> {
    let signed = Signed::new()?;
    let password_setup = Setup {
        password: Some("s3cret"),
        ..Setup::v2()
    };
    let ways = [
        (&Setup::v3(), theirs(Authentication::None)),
        (&password_setup, theirs(password("s3cret"))),
        (&signed.setup, theirs(hmac(SECRET))),
    ];
    for (setup, genuine) in ways {
        let stage = Stage::raise()?;
        let mut ours = Ours::open(&stage, setup)?;
        let whole = advert(genuine.clone(), 200);
        let cuts: Vec<_> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        let count = u64::try_from(cuts.len())?;
        let forger = Forger { stage: &stage };
        forger.send(THEM, cuts)?;
        forger.send(THEM, vec![advert(genuine, 201)])?;
        let heard = ours.hear(SOON)?;
        ensure!(heard.advert.priority.get() == 201, "{heard:?}");
        let counters = ours.counters();
        ensure!(counters.all_refused() == count, "{counters:?}");
        ensure!(counters.refused["too_short"] == 8, "{counters:?}");
    }
    Ok(())
}

#[test]
fn a_flood_of_forgeries_does_not_hold_the_agent_up() -> Result<()> {
    const FLOOD: usize = 200_000;
    let stage = Stage::raise()?;
    let mut ours = Ours::open(&stage, &Setup::v3())?;
    let lateness = ours.measure_lateness();
    let mut forged = advert(theirs(Authentication::None), 255);
    forged[2] = 254;
    let forger = Forger { stage: &stage };
    let begun = Instant::now();
    forger.send(THEM, vec![forged; FLOOD])?;
    let took = begun.elapsed();
    let worst = lateness.worst();
    // The kernel may drop genuine adverts while the socket's queue is still full of forgeries.
    let heard = wait::until("a genuine advert", SOON, || {
        forger.send(THEM, vec![advert(theirs(Authentication::None), 50)])?;
        Ok(ours.hear(Duration::from_millis(50)).ok())
    })?;
    let counters = ours.counters();
    println!(
        "{FLOOD} forgeries in {took:?}: {} were seen, the worst timer was {worst:?} late",
        counters.refused["checksum"]
    );
    ensure!(heard.advert.priority.get() == 50, "{heard:?}");
    ensure!(counters.refused["checksum"] > 10_000, "{counters:?}");
    ensure!(worst < took / 10, "a timer was {worst:?} late");
    Ok(())
}
