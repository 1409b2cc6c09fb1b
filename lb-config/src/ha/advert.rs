//! The keys of `[ha]` about adverts, which must be the same on both hosts.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::Spanned;

use super::{
    super::{
        Authentication, Moves, Transport, VrrpVersion, address,
        duration::spell,
        kind::{Bool, Choice, Complaint, Text, Time, Whole},
        list::List,
        schema::{Absent, Key},
        section::Section,
        source::Reported,
        text, unique,
    },
    refuse_other_family,
};

pub(super) static INTERVAL: Key<Time> = Key {
    name: "advert_interval",
    kind: Time::milliseconds(10, 255_000),
    absent: Absent::Is("\"1s\""),
    meaning: "From one advert to the next. Version 3: steps of 10ms, at most 40s950ms. Version 2: \
              whole seconds.",
};

pub(super) static VERSION: Key<Whole<u8>> = Key {
    name: "version",
    kind: Whole(RangeInclusive::new(2, 3)),
    absent: Absent::Is("3"),
    meaning: "The version of VRRP: 3, or 2 for an old peer.",
};

pub(super) static TRANSPORT: Key<Choice<Transport>> = Key {
    name: "transport",
    kind: Choice {
        words: &[
            ("unicast", Transport::Unicast),
            ("multicast", Transport::Multicast),
        ],
        later: &[],
    },
    absent: Absent::Is("\"unicast\""),
    meaning: "Whether adverts are sent to the peer's address, or to VRRP's multicast group on the \
              network of `interface`. Networks on AWS do not carry multicast.",
};

pub(super) static CHECK_SOURCE: Key<Bool> = Key {
    name: "check_source",
    kind: Bool,
    absent: Absent::Is("true"),
    meaning: "Whether adverts, and connections to the port of `[ha.link]`, are refused from \
              addresses other than `peer`.",
};

pub(super) static CHECK_TTL: Key<Bool> = Key {
    name: "check_ttl",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether adverts that may have crossed a router (their time to live is not 255) are \
              refused in unicast, too; in multicast they always are. For hosts of one subnet.",
};

pub(super) static PASSWORD: Key<Text<String>> = Key {
    name: "password",
    kind: Text {
        what: "1 to 8 ASCII characters",
        parse: password,
    },
    absent: Absent::Means("none"),
    meaning: "The password of version 2, as keepalived's `auth_pass`. It is sent in clear text, so \
              it protects against mistakes, not against attackers. For version 2 only.",
};

pub(super) static HMAC_KEY_FILE: Key<Text<PathBuf>> = Key {
    name: "hmac_key_file",
    kind: text::PATH,
    absent: Absent::Means("none: adverts are not authenticated"),
    meaning: "A file with the keys that adverts are signed with, in the format of keepalived 2.4's \
              `auth_hmac`, one per line: optionally the key's number (1 to 255, default 1) and a \
              space, then 32 to 64 characters, or `hex:` and as many bytes. The first key signs, \
              all keys are accepted. Mode 0600, owned by the agent's user (`chown lb:`). The \
              hosts' clocks must agree to a few seconds.",
};

pub(super) static WITHOUT_PSEUDO_HEADER: Key<Bool> = Key {
    name: "checksum_without_pseudo_header",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether the checksum of version 3 over IPv4 omits the pseudo-header, as RFC 9568 \
              specifies and keepalived does with `v3_checksum_as_v2`.",
};

pub(super) static ADDRESSES: Key<List<Text<IpAddr>>> = Key {
    name: "advertised_addresses",
    kind: List {
        of: address::IP,
        noun: "advertised address",
    },
    absent: Absent::Means("those of `[ha.virtual_ip]`, or none"),
    meaning: "The addresses in adverts, the same on both hosts. With keepalived as the peer, \
              version 3 needs at least one, and keepalived drops adverts with more or fewer \
              addresses than it has itself.",
};

/// Maximum number of addresses in an advert: a packet with this many IPv6 addresses fits the MTU of
/// every network.
pub(super) const MOST_ADDRESSES: usize = 64;

/// The values of the keys of `[ha]` about adverts.
pub(super) struct Adverts {
    pub(super) version: VrrpVersion,
    pub(super) advert_interval: Duration,
    pub(super) transport: Transport,
    pub(super) authentication: Authentication,
    pub(super) check_source: bool,
    pub(super) check_ttl: bool,
    pub(super) checksum_without_pseudo_header: bool,
    pub(super) advertised_addresses: Vec<IpAddr>,
}

/// Reads the keys of `[ha]` about adverts.
pub(super) fn read(
    section: &Section<'_>,
    source: Option<&Spanned<IpAddr>>,
    moves: Option<&Moves>,
) -> Result<Adverts, Reported> {
    let version = read_version(section);
    let known = version.as_ref().ok().copied();
    let advert_interval = read_interval(section, known);
    let transport = section.value(&TRANSPORT);
    let authentication = read_authentication(section, known);
    let check_source = section.value(&CHECK_SOURCE);
    let check_ttl = section.value(&CHECK_TTL);
    let checksum = read_checksum(section, source, known);
    let addresses = read_addresses(section, source);
    Ok(Adverts {
        version: version?,
        advert_interval: advert_interval?,
        transport: transport?.into_inner(),
        authentication: authentication?,
        check_source: check_source?.into_inner(),
        check_ttl: check_ttl?.into_inner(),
        checksum_without_pseudo_header: checksum?,
        advertised_addresses: match (addresses?, moves.ok_or(Reported)?) {
            (Some(given), _) => given,
            (None, Moves::VirtualIp(moving)) => moving.iter().map(|one| one.address).collect(),
            (None, Moves::ElasticIp(_) | Moves::Commands) => Vec::new(),
        },
    })
}

fn read_version(section: &Section<'_>) -> Result<VrrpVersion, Reported> {
    let version = section.value(&VERSION)?.into_inner();
    Ok(if version == 2 {
        VrrpVersion::V2
    } else {
        VrrpVersion::V3
    })
}

fn read_interval(
    section: &Section<'_>,
    version: Option<VrrpVersion>,
) -> Result<Duration, Reported> {
    const CENTISECONDS: Duration = Duration::from_millis(40_950);
    let interval = section.value(&INTERVAL)?;
    let millis = interval.get_ref().as_millis();
    let hint = match version {
        Some(VrrpVersion::V3)
            if !millis.is_multiple_of(10) || *interval.get_ref() > CENTISECONDS =>
        {
            "version 3 allows steps of 10ms, at most 40s950ms"
        }
        Some(VrrpVersion::V2) if !millis.is_multiple_of(1_000) => {
            "version 2 allows whole seconds: write \"1s\", or version = 3 if the peer supports it"
        }
        _ => return Ok(interval.into_inner()),
    };
    let text = spell(*interval.get_ref());
    let message = format!("advert_interval {text} cannot be carried by an advert");
    Err(section
        .source()
        .error(interval.span(), message, hint.to_owned()))
}

fn read_authentication(
    section: &Section<'_>,
    version: Option<VrrpVersion>,
) -> Result<Authentication, Reported> {
    let password = section.optional(&PASSWORD);
    let key_file = section.optional(&HMAC_KEY_FILE);
    let (place, message, hint) = match (password?, key_file?) {
        (None, None) => return Ok(Authentication::None),
        (None, Some(file)) => return Ok(Authentication::Hmac(file.into_inner())),
        (Some(password), None) if version != Some(VrrpVersion::V3) => {
            return Ok(Authentication::Password(password.into_inner()));
        }
        (Some(password), None) => {
            let message = "version 3 of VRRP has no password";
            let hint = "write hmac_key_file in place of password, or version = 2";
            (password.span(), message, hint)
        }
        (Some(_), Some(file)) => {
            let message = "[ha] has both password and hmac_key_file";
            (file.span(), message, "keep one of them")
        }
    };
    Err(section.source().error(place, message, hint.to_owned()))
}

fn read_checksum(
    section: &Section<'_>,
    source: Option<&Spanned<IpAddr>>,
    version: Option<VrrpVersion>,
) -> Result<bool, Reported> {
    let without = section.value(&WITHOUT_PSEUDO_HEADER)?;
    let message = if !without.get_ref() {
        return Ok(false);
    } else if version == Some(VrrpVersion::V2) {
        "the checksum of version 2 never has a pseudo-header"
    } else if source.is_some_and(|source| source.get_ref().is_ipv6()) {
        "the checksum over IPv6 always has a pseudo-header"
    } else {
        return Ok(true);
    };
    let hint = "remove checksum_without_pseudo_header: it is for version 3 over IPv4";
    Err(section
        .source()
        .error(without.span(), message, hint.to_owned()))
}

fn read_addresses(
    section: &Section<'_>,
    source: Option<&Spanned<IpAddr>>,
) -> Result<Option<Vec<IpAddr>>, Reported> {
    let Some(listed) = section.optional(&ADDRESSES)? else {
        return Ok(None);
    };
    let place = listed.span();
    let listed = listed.into_inner();
    if listed.items.len() > MOST_ADDRESSES {
        return Err(too_many(section, place, listed.items.len()));
    }
    let twice = unique::refuse_twice(
        "advertised address",
        "in this list",
        listed.items.iter(),
        section.source(),
    );
    refuse_other_family("advertised address", section, &listed.items, source)?;
    twice?;
    listed.all().map(Some)
}

/// Reports a list of addresses that is longer than an advert can carry.
pub(super) fn too_many(
    section: &Section<'_>,
    place: std::ops::Range<usize>,
    count: usize,
) -> Reported {
    let message = format!("{count} addresses do not fit into an advert");
    let hint = format!(
        "at most {MOST_ADDRESSES} are allowed, so that an advert fits the MTU of every network"
    );
    section.source().error(place, message, hint)
}

fn password(text: &str) -> Result<String, Complaint> {
    let hint = "write the same 1 to 8 characters on both hosts";
    if !(1..=8).contains(&text.len()) {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(found, hint));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let found = "has a character that is not printable ASCII";
        return Err(Complaint::new(found, hint));
    }
    Ok(text.to_owned())
}
