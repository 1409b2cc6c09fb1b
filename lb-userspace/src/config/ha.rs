//! `[ha]`: read and validated in full, so that a file written today is right when the agent comes
//! to act on it.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    ops::RangeInclusive,
    time::Duration,
};

use toml::Spanned;

use super::{
    ElasticIp, Ha, InterfaceAddress, Moves, VrrpVersion, address, aws,
    duration::spell,
    kind::{Bool, Text, Time, Whole},
    list::List,
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
};

pub(super) static HA: Schema = Schema {
    name: "ha",
    header: "[ha]",
    about: "High availability with a peer, over VRRP. **This version reads and checks this section \
            and does not act on it: the host runs alone.** What moves to the active host is in \
            `[ha.elastic_ip]` or in `[ha.virtual_ip]`.",
    presence: "May be left out: the host is then alone.",
    keys: &[
        &PEER, &SOURCE, &ROUTER_ID, &PRIORITY, &INTERVAL, &PREEMPT, &VERSION,
    ],
    tables: &[&ELASTIC_IP, &VIRTUAL_IP],
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
    meaning: "The address of this host that adverts are sent from.",
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
    meaning: "The host with the higher one is active.",
};

static INTERVAL: Key<Time> = Key {
    name: "advert_interval",
    kind: Time::milliseconds(10, 255_000),
    absent: Absent::Is("\"1s\""),
    meaning: "From one advert to the next. Version 3: steps of 10ms, at most 40s950ms. Version 2: \
              whole seconds.",
};

static PREEMPT: Key<Bool> = Key {
    name: "preempt",
    kind: Bool,
    absent: Absent::Is("true"),
    meaning: "Whether this host takes over from a peer with a lower priority.",
};

static VERSION: Key<Whole<u8>> = Key {
    name: "version",
    kind: Whole(RangeInclusive::new(2, 3)),
    absent: Absent::Is("3"),
    meaning: "The version of VRRP: 3, or 2 for an old peer.",
};

static ELASTIC_IP: Schema = Schema {
    name: "elastic_ip",
    header: "[ha.elastic_ip]",
    about: "An Elastic IP of AWS, which moves to the active host.",
    presence: "Either this or `[ha.virtual_ip]`, where there is `[ha]`.",
    keys: &[
        &ALLOCATION_ID,
        &REGION,
        &NETWORK_INTERFACE_ID,
        &PRIVATE_IP,
        &ENDPOINT,
    ],
    tables: &[],
};

static ALLOCATION_ID: Key<Text<String>> = Key {
    name: "allocation_id",
    kind: aws::ALLOCATION_ID,
    absent: Absent::Refused("\"eipalloc-0123456789abcdef0\""),
    meaning: "The Elastic IP's allocation.",
};

static REGION: Key<Text<String>> = Key {
    name: "region",
    kind: aws::REGION,
    absent: Absent::Refused("\"me-central-1\""),
    meaning: "The region that it belongs to.",
};

static NETWORK_INTERFACE_ID: Key<Text<String>> = Key {
    name: "network_interface_id",
    kind: aws::NETWORK_INTERFACE_ID,
    absent: Absent::Means("asked of the instance metadata service"),
    meaning: "This host's network interface.",
};

static PRIVATE_IP: Key<Text<Ipv4Addr>> = Key {
    name: "private_ip",
    kind: address::IPV4,
    absent: Absent::Means("asked of the instance metadata service"),
    meaning: "The private address of that interface that the Elastic IP is associated with.",
};

static ENDPOINT: Key<Text<String>> = Key {
    name: "endpoint",
    kind: aws::ENDPOINT,
    absent: Absent::Means("the region's own"),
    meaning: "The URL of the EC2 API, for a VPC endpoint or for tests.",
};

static VIRTUAL_IP: Schema = Schema {
    name: "virtual_ip",
    header: "[ha.virtual_ip]",
    about: "Addresses on a network of your own, which move to the active host.",
    presence: "Either this or `[ha.elastic_ip]`, where there is `[ha]`.",
    keys: &[&ADDRESSES],
    tables: &[],
};

static ADDRESSES: Key<List<Text<InterfaceAddress>>> = Key {
    name: "addresses",
    kind: List {
        of: address::WITH_PREFIX,
        noun: "virtual address",
    },
    absent: Absent::Refused("[\"172.31.0.200/20\"]"),
    meaning: "The addresses, at least one, all of the family of `source`. The adverts carry them.",
};

/// Reads `[ha]`.
pub(super) fn read(section: &Section<'_>) -> Result<Ha, Reported> {
    warn_not_acted_on(section);
    let source = section.value(&SOURCE);
    let peer = section.value(&PEER);
    let router_id = section.value(&ROUTER_ID);
    let priority = section.value(&PRIORITY);
    let preempt = section.value(&PREEMPT);
    let version = read_version(section);
    let advert_interval = read_interval(section, version.as_ref().ok().copied());
    let moves = read_moves(section, source.as_ref().ok());
    let (source, peer) = (source?, peer?);
    check_pair(section, &source, &peer, version?)?;
    Ok(Ha {
        peer: peer.into_inner(),
        source: source.into_inner(),
        virtual_router_id: non_zero(router_id?)?,
        priority: non_zero(priority?)?,
        advert_interval: advert_interval?,
        preempt: preempt?.into_inner(),
        version: version?,
        moves: moves?,
        preempt_delay: Duration::ZERO,
        transport: super::Transport::Unicast,
        authentication: super::Authentication::None,
        check_source: true,
        checksum_without_pseudo_header: false,
        advertised_addresses: Vec::new(),
        handover_timeout: Duration::from_secs(5),
        min_backends: 1,
        backends_weight: 50,
        link: None,
        track: Vec::new(),
        notify: super::Notify::default(),
    })
}

fn warn_not_acted_on(section: &Section<'_>) {
    let message = "this version of lb does not act on [ha]: this host runs alone";
    let hint = "no advert is sent and no address moves when this host fails; \
                the section is checked, so that it can stay";
    section
        .source()
        .warning(section.span(), message, hint.to_owned());
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
            "version 3 has it in steps of 10ms, at most 40s950ms"
        }
        Some(VrrpVersion::V2) if !millis.is_multiple_of(1_000) => {
            "version 2 has it in whole seconds: write \"1s\", or version = 3 if the peer can"
        }
        _ => return Ok(interval.into_inner()),
    };
    let text = spell(*interval.get_ref());
    let message = format!("advert_interval {text} cannot be carried by an advert");
    Err(section
        .source()
        .error(interval.span(), message, hint.to_owned()))
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
        (peer, message, "write both of one family")
    } else if version == VrrpVersion::V2 && ours.is_ipv6() {
        let message = "version 2 of VRRP has no IPv6".to_owned();
        (source, message, "write IPv4 addresses, or version = 3")
    } else {
        return Ok(());
    };
    Err(section
        .source()
        .error(place.span(), message, hint.to_owned()))
}

fn read_moves(section: &Section<'_>, source: Option<&Spanned<IpAddr>>) -> Result<Moves, Reported> {
    let elastic = section.table(&ELASTIC_IP);
    let virtual_ip = section.table(&VIRTUAL_IP);
    match (elastic?, virtual_ip?) {
        (Some(elastic), None) => read_elastic_ip(&elastic).map(Moves::ElasticIp),
        (None, Some(addresses)) => read_addresses(&addresses, source).map(Moves::VirtualIp),
        (Some(_), Some(second)) => {
            let message = "[ha] has both [ha.elastic_ip] and [ha.virtual_ip]".to_owned();
            let hint = "on AWS keep elastic_ip, on a network of your own keep virtual_ip";
            Err(second.error(message, hint.to_owned()))
        }
        (None, None) => {
            let message = "[ha] has nothing that moves to the active host".to_owned();
            let hint = "add [ha.elastic_ip] on AWS, or [ha.virtual_ip] on a network of your own";
            Err(section.error(message, hint.to_owned()))
        }
    }
}

fn read_elastic_ip(section: &Section<'_>) -> Result<ElasticIp, Reported> {
    let allocation_id = section.value(&ALLOCATION_ID);
    let region = section.value(&REGION);
    let network_interface_id = section.optional(&NETWORK_INTERFACE_ID);
    let private_ip = section.optional(&PRIVATE_IP);
    let endpoint = section.optional(&ENDPOINT);
    Ok(ElasticIp {
        allocation_id: allocation_id?.into_inner(),
        region: region?.into_inner(),
        network_interface_id: network_interface_id?.map(Spanned::into_inner),
        private_ip: private_ip?.map(Spanned::into_inner),
        endpoint: endpoint?.map(Spanned::into_inner),
        moves_private_ip: false,
    })
}

fn read_addresses(
    section: &Section<'_>,
    source: Option<&Spanned<IpAddr>>,
) -> Result<Vec<InterfaceAddress>, Reported> {
    let addresses = section.value(&ADDRESSES)?;
    if addresses.get_ref().complete.is_ok() && addresses.get_ref().items.is_empty() {
        let message = "[ha.virtual_ip] has no addresses";
        let hint = "add at least one: addresses = [\"172.31.0.200/20\"]";
        return Err(section
            .source()
            .error(addresses.span(), message, hint.to_owned()));
    }
    let addresses = addresses.into_inner();
    let shown = addresses.items.iter();
    let shown = shown.map(|read| Spanned::new(read.span(), read.get_ref().address));
    let shown: Vec<_> = shown.collect();
    super::unique::refuse_twice(
        "virtual address",
        "in this list",
        shown.iter(),
        section.source(),
    )?;
    refuse_other_family(section, &shown, source)?;
    addresses.all()
}

fn refuse_other_family(
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
    let message = format!("virtual address \"{address}\" is not of the family of source, {source}");
    let hint = "adverts carry addresses of their own family only";
    Err(section
        .source()
        .error(strange.span(), message, hint.to_owned()))
}

/// The bounds of the keys leave no zero.
fn non_zero(number: Spanned<u8>) -> Result<NonZeroU8, Reported> {
    NonZeroU8::new(number.into_inner()).ok_or(Reported)
}
