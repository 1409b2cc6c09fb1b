//! `[pool.discover]`: where the backends of a pool are found while the agent runs.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use toml::Spanned;

use super::{
    AddressFamily, Discover, DiscoverySource, InstanceFilter, aws,
    kind::{Choice, Complaint, Text, Time, Whole},
    list::{List, Listed, OneOrMore},
    map::Map,
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text,
    unique::refuse_twice,
};

pub(super) static DISCOVER: Schema = Schema {
    name: "discover",
    header: "[pool.discover]",
    about: "Where the backends of the pool are found while the agent runs, in place of `backends` \
            and `[[pool.backend]]`: exactly one of `dns`, `srv`, `file`, `ec2_tags` and \
            `auto_scaling_group`. A source that fails or has no backends changes nothing: the \
            backends that it had last stay. See [discovery](discovery.md).",
    presence: "Optional.",
    keys: &[
        &DNS,
        &SRV,
        &FILE,
        &EC2_TAGS,
        &AUTO_SCALING_GROUP,
        &PORT,
        &FAMILY,
        &NAMESERVERS,
        &REGION,
        &ENDPOINT,
        &AUTO_SCALING_ENDPOINT,
        &INTERVAL,
        &DRAIN,
    ],
    tables: &[],
};

static DNS: Key<OneOrMore<Text<String>>> = Key {
    name: "dns",
    kind: OneOrMore(List {
        of: DNS_NAME,
        noun: "dns",
    }),
    absent: Absent::Means("required, unless another source is named"),
    meaning: "A name in DNS, or a list of names: each of their addresses is a backend. Needs `port`.",
};

static SRV: Key<Text<String>> = Key {
    name: "srv",
    kind: SERVICE_NAME,
    absent: Absent::Means("required, unless another source is named"),
    meaning: "A name in DNS with records of type SRV, such as `\"_http._tcp.web.example.org\"`: \
              each address of a record's target is a backend, with the port and the weight of the \
              record. Records of the lowest priority are used; those of other priorities are backups \
              for services of mode `http` and `https`, and are not used by services of mode `tcp`.",
};

static FILE: Key<Text<PathBuf>> = Key {
    name: "file",
    kind: text::PATH,
    absent: Absent::Means("required, unless another source is named"),
    meaning: "A file that another program writes, with a line for each backend: `10.0.0.6:80 \
              name=web1 weight=2 backup`, of which only the address is required.",
};

static EC2_TAGS: Key<Map<String, Text<String>>> = Key {
    name: "ec2_tags",
    kind: Map {
        key: AWS_TEXT,
        noun: "tag",
        of: AWS_TEXT,
    },
    absent: Absent::Means("required, unless another source is named"),
    meaning: "Tags of EC2 instances, such as `{ Role = \"web\" }`: each running instance that has \
              all of them is a backend, with its private IPv4 address. Needs `port`, and the \
              permission `ec2:DescribeInstances`.",
};

static AUTO_SCALING_GROUP: Key<Text<String>> = Key {
    name: "auto_scaling_group",
    kind: AWS_TEXT,
    absent: Absent::Means("required, unless another source is named"),
    meaning: "The name of an Auto Scaling group: each of its instances in service is a backend, \
              with its private IPv4 address. Needs `port`, and the permissions \
              `autoscaling:DescribeAutoScalingGroups` and `ec2:DescribeInstances`.",
};

static PORT: Key<Whole<u16>> = Key {
    name: "port",
    kind: Whole(RangeInclusive::new(1, u16::MAX)),
    absent: Absent::Means("none: `dns`, `ec2_tags` and `auto_scaling_group` need one"),
    meaning: "The port of every backend. Not for `srv` and `file`, which have ports of their own.",
};

static FAMILY: Key<Choice<AddressFamily>> = Key {
    name: "family",
    kind: Choice {
        words: &[("ipv4", AddressFamily::Ipv4), ("ipv6", AddressFamily::Ipv6)],
        later: &[],
    },
    absent: Absent::Is("\"ipv4\""),
    meaning: "Which addresses are used: `ipv4` (records of type A) or `ipv6` (AAAA). For `dns` and \
              `srv`. Services of mode `tcp` have IPv4 backends only.",
};

static NAMESERVERS: Key<List<Text<SocketAddr>>> = Key {
    name: "nameservers",
    kind: List {
        of: Text {
            what: "IP address, with a port if it is not 53",
            parse: nameserver,
        },
        noun: "name server",
    },
    absent: Absent::Means("those of `/etc/resolv.conf`"),
    meaning: "The DNS servers that are asked. For `dns` and `srv`.",
};

static REGION: Key<Text<String>> = Key {
    name: "region",
    kind: aws::REGION,
    absent: Absent::Means("the one of this instance"),
    meaning: "The AWS region of the instances. For `ec2_tags` and `auto_scaling_group`.",
};

static ENDPOINT: Key<Text<String>> = Key {
    name: "endpoint",
    kind: aws::ENDPOINT,
    absent: Absent::Means("the region's own"),
    meaning: "The URL of the EC2 API. For `ec2_tags` and `auto_scaling_group`.",
};

static AUTO_SCALING_ENDPOINT: Key<Text<String>> = Key {
    name: "auto_scaling_endpoint",
    kind: aws::ENDPOINT,
    absent: Absent::Means("the region's own"),
    meaning: "The URL of the Auto Scaling API. For `auto_scaling_group`.",
};

static INTERVAL: Key<Time> = Key {
    name: "interval",
    kind: Time::milliseconds(1_000, 3_600_000),
    absent: Absent::Means("10s; 1s for `file`"),
    meaning: "The longest time from one query to the next. `dns` and `srv` are asked sooner if the \
              records' TTL is shorter, at most once a second.",
};

static DRAIN: Key<Time> = Key {
    name: "drain",
    kind: Time::milliseconds(0, 86_400_000),
    absent: Absent::Is("\"5m\""),
    meaning: "How long a backend that the source no longer has stays in the pool, draining: it \
              gets no new connections, and its established connections continue. After that it is \
              removed, if another backend is up; connections that the kernel steers to it end then.",
};

/// A value that is a name in DNS. Unlike a host name, it may have underscores.
const DNS_NAME: Text<String> = Text {
    what: "DNS name",
    parse: |text| {
        dns_name(text, |host, port| {
            format!("write \"{host}\", and port = {port}")
        })
    },
};

/// A value that is a name in DNS with records of type SRV.
const SERVICE_NAME: Text<String> = Text {
    what: "DNS name",
    parse: |text| {
        dns_name(text, |host, _| {
            format!("write \"{host}\": the records have the ports")
        })
    },
};

/// A value that is a name or tag of AWS.
const AWS_TEXT: Text<String> = Text {
    what: "text, 1 to 255 characters",
    parse: aws_text,
};

const INTERVAL_OF_A_FILE: Duration = Duration::from_secs(1);
const INTERVAL_OF_A_QUERY: Duration = Duration::from_secs(10);

/// The keys that name a source, of which a section has exactly one.
const SOURCES: [&str; 5] = ["dns", "srv", "file", "ec2_tags", "auto_scaling_group"];

/// Keys that are allowed only with some sources: the key, and the names of these sources.
const FOR_SOURCES: [(&str, &[&str]); 6] = [
    ("port", &["dns", "ec2_tags", "auto_scaling_group"]),
    ("family", &["dns", "srv"]),
    ("nameservers", &["dns", "srv"]),
    ("region", &["ec2_tags", "auto_scaling_group"]),
    ("endpoint", &["ec2_tags", "auto_scaling_group"]),
    ("auto_scaling_endpoint", &["auto_scaling_group"]),
];

/// Reads the table `[pool.discover]` of a pool; `None` if the pool does not have it.
pub(super) fn read(pool: &Section<'_>) -> Result<Option<Discover>, Reported> {
    let section = pool.table(&DISCOVER)?;
    section.map(|section| read_section(&section)).transpose()
}

fn read_section(section: &Section<'_>) -> Result<Discover, Reported> {
    let interval = section.optional(&INTERVAL);
    let drain = section.value(&DRAIN);
    let read = read_source(section);
    let named = named_source(section);
    let fitting = named.and_then(|source| refuse_keys_of_others(section, source));
    let (source, interval) = (read?, interval?.map(Spanned::into_inner));
    fitting?;
    let usual = match source {
        DiscoverySource::File(_) => INTERVAL_OF_A_FILE,
        _ => INTERVAL_OF_A_QUERY,
    };
    Ok(Discover {
        interval: interval.unwrap_or(usual),
        drain: drain?.into_inner(),
        source,
    })
}

/// Returns the key of the source that the section names, which must be exactly one.
fn named_source(section: &Section<'_>) -> Result<&'static str, Reported> {
    section.only_one(&SOURCES, "a pool has one source: keep one of them")?;
    let mut named = SOURCES.iter().filter(|key| section.place(key).is_some());
    named.next().copied().ok_or_else(|| {
        let message = "[pool.discover] names no source".to_owned();
        let hint = "add one of dns, srv, file, ec2_tags and auto_scaling_group, such as: dns = \
                    \"web.internal.example.org\"";
        section.error(message, hint.to_owned())
    })
}

/// Reports every key that has no meaning for this source.
fn refuse_keys_of_others(section: &Section<'_>, source: &str) -> Result<(), Reported> {
    let mut fitting = Ok(());
    for (key, sources) in FOR_SOURCES {
        let Some(place) = section.place(key).filter(|_| !sources.contains(&source)) else {
            continue;
        };
        let message = format!("[pool.discover] has {key}, which has no meaning for {source}");
        let hint = format!("remove it: it is for {}", sources.join(", "));
        fitting = Err(section.source().error(place, message, hint));
    }
    fitting
}

/// Reads the first source that the section has, and the keys that belong to it.
fn read_source(section: &Section<'_>) -> Result<DiscoverySource, Reported> {
    let dns = section.optional(&DNS);
    let srv = section.optional(&SRV);
    let file = section.optional(&FILE);
    let tags = section.optional(&EC2_TAGS);
    let group = section.optional(&AUTO_SCALING_GROUP);
    let port = section.optional(&PORT);
    let family = section.value(&FAMILY);
    let nameservers = read_nameservers(section);
    let region = section.optional(&REGION);
    let endpoint = section.optional(&ENDPOINT);
    let auto_scaling_endpoint = section.optional(&AUTO_SCALING_ENDPOINT);
    let (family, nameservers) = (family?.into_inner(), nameservers?);
    let port = || needed_port(section, port);
    if let Some(names) = dns? {
        let names = read_names(section, names);
        let port = port();
        return Ok(DiscoverySource::Dns {
            names: names?,
            port: port?,
            family,
            nameservers,
        });
    }
    if let Some(name) = srv? {
        return Ok(DiscoverySource::Srv {
            name: name.into_inner(),
            family,
            nameservers,
        });
    }
    if let Some(file) = file? {
        return Ok(DiscoverySource::File(file.into_inner()));
    }
    let instances = match (tags?, group?) {
        (Some(tags), _) => InstanceFilter::Tags(read_tags(section, tags)?),
        (None, Some(group)) => InstanceFilter::AutoScalingGroup(group.into_inner()),
        // The missing source has been reported.
        (None, None) => return Err(Reported),
    };
    Ok(DiscoverySource::Ec2 {
        instances,
        port: port()?,
        region: region?.map(Spanned::into_inner),
        endpoint: endpoint?.map(Spanned::into_inner),
        auto_scaling_endpoint: auto_scaling_endpoint?.map(Spanned::into_inner),
    })
}

fn read_names(
    section: &Section<'_>,
    names: Spanned<Listed<String>>,
) -> Result<Vec<String>, Reported> {
    let place = names.span();
    let names = names.into_inner();
    if names.items.is_empty() && names.complete.is_ok() {
        let hint = "name at least one, such as: dns = \"web.internal.example.org\"";
        let message = "dns is empty".to_owned();
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    let unique = refuse_twice("name", "in dns", names.items.iter(), section.source());
    let names = names.all()?;
    unique?;
    Ok(names)
}

fn needed_port(
    section: &Section<'_>,
    port: Result<Option<Spanned<u16>>, Reported>,
) -> Result<u16, Reported> {
    port?.map(Spanned::into_inner).ok_or_else(|| {
        let message = "[pool.discover] has no port".to_owned();
        let hint = "the source has addresses only: add the port of the backends, such as port = 80";
        section.error(message, hint.to_owned())
    })
}

fn read_nameservers(section: &Section<'_>) -> Result<Vec<SocketAddr>, Reported> {
    let Some(listed) = section.optional(&NAMESERVERS)? else {
        return Ok(Vec::new());
    };
    let place = listed.span();
    let servers = listed.into_inner().all()?;
    if servers.is_empty() {
        let hint = "name at least one, or remove the key to use those of /etc/resolv.conf";
        let message = "nameservers is empty".to_owned();
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    Ok(servers)
}

fn read_tags(
    section: &Section<'_>,
    tags: Spanned<Listed<(String, String)>>,
) -> Result<Vec<(String, String)>, Reported> {
    let place = tags.span();
    let tags = tags.into_inner().all()?;
    if tags.is_empty() {
        let hint = "without a tag every instance of the account would be a backend: write, for \
                    example, ec2_tags = { Role = \"web\" }";
        let message = "ec2_tags is empty".to_owned();
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    Ok(tags)
}

/// Parses a name in DNS (RFC 1035, section 2.3.4; underscores as in RFC 2782), and removes a final
/// dot. `hint_of_port` returns the hint for a name that is followed by a port.
fn dns_name(text: &str, hint_of_port: impl Fn(&str, &str) -> String) -> Result<String, Complaint> {
    let hint = "write a full name, such as \"web.internal.example.org\"";
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.parse::<IpAddr>().is_ok() || name.parse::<SocketAddr>().is_ok() {
        return Err(Complaint::new(
            "is an address, not a name",
            "list addresses in backends",
        ));
    }
    if name.contains('/') {
        return Err(Complaint::new("is a URL, not a name", hint));
    }
    if let Some((host, port)) = name.rsplit_once(':')
        && is_name(host)
        && port.parse::<u16>().is_ok()
    {
        return Err(Complaint::new("has a port", hint_of_port(host, port)));
    }
    if !is_name(name) {
        return Err(Complaint::new("is not a name in DNS", hint));
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether a text, which has no final dot, is a name in DNS. The last label of a name is never a
/// number (RFC 3696, section 2): `10.0.0.256` is an invalid address.
fn is_name(name: &str) -> bool {
    let valid = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(valid)
        && !name.rsplit('.').next().is_some_and(is_number)
}

fn nameserver(text: &str) -> Result<SocketAddr, Complaint> {
    const DNS_PORT: u16 = 53;
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, DNS_PORT),
        Err(_) => text.parse().map_err(|_| {
            let hint = "write the address of a DNS server, such as \"10.0.0.2\"";
            Complaint::new("is not an IP address", hint)
        })?,
    };
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
        let hint = "write the address of a DNS server, such as \"10.0.0.2\"";
        return Err(Complaint::new("is not the address of one server", hint));
    }
    Ok(address)
}

fn aws_text(text: &str) -> Result<String, Complaint> {
    let hint = "AWS allows 1 to 255 characters, and no control characters";
    if !(1..=255).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err(Complaint::new("is not a name of AWS", hint));
    }
    // In a filter of the EC2 API these are wildcards (DescribeInstances, "Filters").
    if text.contains(['*', '?']) {
        let hint = "write the whole name or value: wildcards are not supported";
        return Err(Complaint::new("has a wildcard", hint));
    }
    Ok(text.to_owned())
}
