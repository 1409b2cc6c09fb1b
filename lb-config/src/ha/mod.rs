//! `[ha]`: the high-availability pair. This file reads the keys about peer, priority and backends,
//! [`advert`] those about adverts, [`elastic_ip`] and [`virtual_ip`] those about the address that
//! moves between the hosts. Each other table of `[ha]` is read by the file named after it.

mod advert;
pub(super) mod command;
mod elastic_ip;
mod link;
mod moving;
mod notify;
mod reload;
mod track;
mod virtual_ip;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU8,
    ops::RangeInclusive,
    time::Duration,
};

use toml::Spanned;

use self::advert::Adverts;
use super::{
    Ha, Moves, Notify, Pool, VrrpVersion, address,
    kind::{Bool, Text, Time, Whole},
    schema::{Absent, Key, Schema},
    section::Section,
    source::{Reported, Source},
};

pub(super) static HA: Schema = Schema {
    name: "ha",
    header: "[ha]",
    about: "High availability with a peer, over VRRP. The address that moves to the active host is \
            in `[ha.elastic_ip]` or `[ha.virtual_ip]`, or the commands of `[ha.notify]` move it. \
            The peer is another `lb`, or keepalived.",
    presence: "Optional: without it the host has no peer.",
    keys: &[
        &PEER,
        &SOURCE,
        &ROUTER_ID,
        &PRIORITY,
        &PREEMPT,
        &PREEMPT_DELAY,
        &MIN_BACKENDS,
        &BACKENDS_WEIGHT,
        &HANDOVER_TIMEOUT,
        &advert::INTERVAL,
        &advert::VERSION,
        &advert::TRANSPORT,
        &advert::CHECK_SOURCE,
        &advert::CHECK_TTL,
        &advert::PASSWORD,
        &advert::HMAC_KEY_FILE,
        &advert::WITHOUT_PSEUDO_HEADER,
        &advert::ADDRESSES,
    ],
    tables: &[
        &elastic_ip::ELASTIC_IP,
        &virtual_ip::VIRTUAL_IP,
        &link::LINK,
        &track::TRACK,
        &notify::NOTIFY,
    ],
};

static PEER: Key<Text<IpAddr>> = Key {
    name: "peer",
    kind: address::IP,
    absent: Absent::Refused("\"172.31.15.233\""),
    meaning: "The peer's address.",
};

static SOURCE: Key<Text<IpAddr>> = Key {
    name: "source",
    kind: address::IP,
    absent: Absent::Refused("\"172.31.0.68\""),
    meaning: "The address of this host that adverts are sent from. It stays on this host.",
};

static ROUTER_ID: Key<Whole<u8>> = Key {
    name: "virtual_router_id",
    kind: Whole(RangeInclusive::new(1, 255)),
    absent: Absent::Refused("41"),
    meaning: "The virtual router's number, the same on both hosts.",
};

static PRIORITY: Key<Whole<u8>> = Key {
    name: "priority",
    kind: Whole(RangeInclusive::new(1, 254)),
    absent: Absent::Is("100"),
    meaning: "The host with the higher priority is active.",
};

static PREEMPT: Key<Bool> = Key {
    name: "preempt",
    kind: Bool,
    absent: Absent::Is("true"),
    meaning: "Whether this host takes over from a peer with a lower priority.",
};

static PREEMPT_DELAY: Key<Time> = Key {
    name: "preempt_delay",
    kind: Time::milliseconds(0, 1_000_000),
    absent: Absent::Is("\"0s\""),
    meaning: "How long this host waits before it takes over from a peer with a lower priority. If \
              the peer sends no adverts, it does not wait.",
};

static MIN_BACKENDS: Key<Whole<u32>> = Key {
    name: "min_backends",
    kind: Whole(RangeInclusive::new(0, 65_535)),
    absent: Absent::Is("1"),
    meaning: "If a pool of a service has fewer healthy backends than this, the priority is lowered \
              by `backends_weight`. 0: backends do not affect the priority.",
};

static BACKENDS_WEIGHT: Key<Whole<u8>> = Key {
    name: "backends_weight",
    kind: Whole(RangeInclusive::new(1, 253)),
    absent: Absent::Is("50"),
    meaning: "How much `min_backends` lowers the priority.",
};

static HANDOVER_TIMEOUT: Key<Time> = Key {
    name: "handover_timeout",
    kind: Time::milliseconds(100, 30_000),
    absent: Absent::Is("\"5s\""),
    meaning: "The longest that a hand-over waits for requests to end. New connections wait during \
              that time, and until the peer has the address, at most 15 s more.",
};

/// The parts of `[ha]` that are valid: enough to check for conflicts with other sections.
pub(super) struct HaDraft {
    /// The section, or an error if any part of it is not valid.
    pub(super) ha: Result<Ha, Reported>,
    /// The address on which the agent listens for the peer; `None` without a valid `[ha.link]`.
    pub(super) link: Option<Spanned<SocketAddr>>,
    min_backends: Option<Spanned<u32>>,
}

impl HaDraft {
    /// Reports a `min_backends` that exceeds the number of backends of a pool. `pools` are the
    /// pools that services use.
    pub(super) fn check_against_pools(&self, pools: &[&Pool], source: &Source<'_>) {
        let Some(wanted) = &self.min_backends else {
            return;
        };
        // How many backends a source has is not known from the file.
        let listed = pools.iter().filter(|pool| pool.discover.is_none());
        let smallest = listed.min_by_key(|pool| pool.backends.len());
        let Some(pool) = smallest.filter(|pool| pool.backends.len() < *wanted.get_ref() as usize)
        else {
            return;
        };
        let (name, count) = (&pool.name, pool.backends.len());
        let message = format!(
            "min_backends is {}, but pool \"{name}\" has only {count}",
            wanted.get_ref()
        );
        let hint = format!("the priority would always be lowered: write at most {count}");
        source.error(wanted.span(), message, hint);
    }
}

/// Reads the section `[ha]`.
pub(super) fn read(section: &Section<'_>) -> HaDraft {
    let source = section.value(&SOURCE);
    let peer = section.value(&PEER);
    let pair = Pair {
        source: source.as_ref().ok(),
        peer: peer.as_ref().ok(),
    };
    let link = link::read(section, pair.source);
    let min_backends = section.value(&MIN_BACKENDS);
    let ha = read_all(section, &pair, &min_backends, &link);
    HaDraft {
        ha,
        link: link.listen,
        min_backends: min_backends.ok(),
    }
}

/// The addresses of the pair's two hosts, each of them only if it is valid.
struct Pair<'s> {
    source: Option<&'s Spanned<IpAddr>>,
    peer: Option<&'s Spanned<IpAddr>>,
}

impl Pair<'_> {
    /// Reports an address that moves between the hosts if it is the fixed address of one of them.
    fn refuse_own(
        &self,
        noun: &str,
        moving: &Spanned<IpAddr>,
        source: &Source<'_>,
    ) -> Result<(), Reported> {
        for (key, own) in [("source", self.source), ("peer", self.peer)] {
            if own.is_some_and(|own| own.get_ref() == moving.get_ref()) {
                let address = moving.get_ref();
                let message = format!("{noun} \"{address}\" is the same address as {key}");
                let hint = "the hosts exchange adverts between `source` and `peer`, so neither may \
                            move: use a different address";
                return Err(source.error(moving.span(), message, hint.to_owned()));
            }
        }
        Ok(())
    }
}

fn read_all(
    section: &Section<'_>,
    pair: &Pair<'_>,
    min_backends: &Result<Spanned<u32>, Reported>,
    link: &link::LinkDraft,
) -> Result<Ha, Reported> {
    let router_id = section.value(&ROUTER_ID);
    let priority = section.value(&PRIORITY);
    let preempt = read_preempt(section);
    let backends_weight = section.value(&BACKENDS_WEIGHT);
    let handover_timeout = section.value(&HANDOVER_TIMEOUT);
    let notify = notify::read(section);
    let track = track::read(section);
    let moves = read_moves(section, pair, notify.as_ref());
    let adverts = advert::read(section, pair.source, moves.as_ref().ok());
    let (source, peer) = (pair.source.ok_or(Reported)?, pair.peer.ok_or(Reported)?);
    let Adverts {
        version,
        advert_interval,
        transport,
        authentication,
        check_source,
        check_ttl,
        checksum_without_pseudo_header,
        advertised_addresses,
    } = adverts?;
    check_pair(section, source, peer, version)?;
    let (preempt, preempt_delay) = preempt?;
    let ha = Ha {
        peer: *peer.get_ref(),
        source: *source.get_ref(),
        virtual_router_id: non_zero(router_id?)?,
        priority: non_zero(priority?)?,
        advert_interval,
        preempt,
        version,
        moves: moves?,
        preempt_delay,
        transport,
        authentication,
        check_source,
        check_ttl,
        checksum_without_pseudo_header,
        advertised_addresses,
        handover_timeout: handover_timeout?.into_inner(),
        min_backends: *min_backends
            .as_ref()
            .map_err(|reported| *reported)?
            .get_ref(),
        backends_weight: backends_weight?.into_inner(),
        link: link.link.clone()?,
        track: track?,
        notify: notify?,
    };
    if ha.link.is_none() {
        link::warn_of_none(section, &ha);
    }
    Ok(ha)
}

fn read_preempt(section: &Section<'_>) -> Result<(bool, Duration), Reported> {
    let preempt = section.value(&PREEMPT);
    let delay = section.value(&PREEMPT_DELAY);
    let (preempt, delay) = (preempt?.into_inner(), delay?);
    if !preempt && !delay.get_ref().is_zero() {
        let message = "preempt_delay has no effect with preempt = false";
        let hint = "this host never takes over from an active peer: remove the delay, or write \
                    preempt = true";
        return Err(section
            .source()
            .error(delay.span(), message, hint.to_owned()));
    }
    Ok((preempt, delay.into_inner()))
}

fn check_pair(
    section: &Section<'_>,
    source: &Spanned<IpAddr>,
    peer: &Spanned<IpAddr>,
    version: VrrpVersion,
) -> Result<(), Reported> {
    let (ours, theirs) = (source.get_ref(), peer.get_ref());
    let (place, message, hint) = if ours == theirs {
        let message = format!("peer and source are the same address, {ours}");
        (
            peer,
            message,
            "peer is the other host's address, source is this host's",
        )
    } else if ours.is_ipv4() != theirs.is_ipv4() {
        let message = format!("peer is {theirs} and source is {ours}: one is IPv4, one is IPv6");
        (peer, message, "write two addresses of the same family")
    } else if version == VrrpVersion::V2 && ours.is_ipv6() {
        let message = "version 2 of VRRP does not support IPv6".to_owned();
        (source, message, "write IPv4 addresses, or version = 3")
    } else {
        return Ok(());
    };
    Err(section
        .source()
        .error(place.span(), message, hint.to_owned()))
}

fn read_moves(
    section: &Section<'_>,
    pair: &Pair<'_>,
    notify: Result<&Notify, &Reported>,
) -> Result<Moves, Reported> {
    let elastic = section.table(&elastic_ip::ELASTIC_IP);
    let virtual_ip = section.table(&virtual_ip::VIRTUAL_IP);
    match (elastic?, virtual_ip?) {
        (Some(elastic), None) => elastic_ip::read(&elastic, pair).map(Moves::ElasticIp),
        (None, Some(addresses)) => virtual_ip::read(&addresses, pair).map(Moves::VirtualIp),
        (Some(_), Some(second)) => {
            let message = "[ha] has both [ha.elastic_ip] and [ha.virtual_ip]".to_owned();
            let hint = "keep elastic_ip on AWS, or virtual_ip on your own network";
            Err(second.error(message, hint.to_owned()))
        }
        (None, None) if notify.map_err(|reported| *reported)?.master.is_some() => {
            Ok(Moves::Commands)
        }
        (None, None) => {
            let message = "[ha] has no address that moves to the active host".to_owned();
            let hint = "add [ha.elastic_ip] on AWS, [ha.virtual_ip] on your own network, or \
                        [ha.notify] with a master command that moves the address";
            Err(section.error(message, hint.to_owned()))
        }
    }
}

/// Reports the first of `addresses` whose family (IPv4 or IPv6) differs from that of `source`.
fn refuse_other_family(
    noun: &str,
    section: &Section<'_>,
    addresses: &[Spanned<IpAddr>],
    source: Option<&Spanned<IpAddr>>,
) -> Result<(), Reported> {
    let Some(source) = source.map(Spanned::get_ref) else {
        return Ok(());
    };
    let other = |address: &&Spanned<IpAddr>| address.get_ref().is_ipv4() != source.is_ipv4();
    let Some(strange) = addresses.iter().find(other) else {
        return Ok(());
    };
    let address = strange.get_ref();
    let message = format!("{noun} \"{address}\" is not of the same family as source, {source}");
    let hint = "an advert has addresses of its own family only";
    Err(section
        .source()
        .error(strange.span(), message, hint.to_owned()))
}

/// Converts a number that is never zero, because its key has a minimum of at least 1.
fn non_zero(number: Spanned<u8>) -> Result<NonZeroU8, Reported> {
    NonZeroU8::new(number.into_inner()).ok_or(Reported)
}
