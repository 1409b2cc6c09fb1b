//! `[ha.elastic_ip]`: an Elastic IP that moves to the active host.

use std::net::{IpAddr, Ipv4Addr};

use toml::Spanned;

use super::{
    super::{
        ElasticIp, address, aws,
        kind::{Bool, Text},
        schema::{Absent, Key, Schema},
        section::Section,
        source::Reported,
    },
    Pair,
};

pub(super) static ELASTIC_IP: Schema = Schema {
    name: "elastic_ip",
    header: "[ha.elastic_ip]",
    about: "An AWS Elastic IP that moves to the active host.",
    presence: "Either this or `[ha.virtual_ip]`, or neither if the commands of `[ha.notify]` move \
               the address.",
    keys: &[
        &ALLOCATION_ID,
        &REGION,
        &NETWORK_INTERFACE_ID,
        &PRIVATE_IP,
        &MOVES_PRIVATE_IP,
        &ENDPOINT,
    ],
    tables: &[],
};

static ALLOCATION_ID: Key<Text<String>> = Key {
    name: "allocation_id",
    kind: aws::ALLOCATION_ID,
    absent: Absent::Refused("\"eipalloc-0123456789abcdef0\""),
    meaning: "The allocation ID of the Elastic IP.",
};

static REGION: Key<Text<String>> = Key {
    name: "region",
    kind: aws::REGION,
    absent: Absent::Means("from the instance metadata service"),
    meaning: "The region of the Elastic IP.",
};

static NETWORK_INTERFACE_ID: Key<Text<String>> = Key {
    name: "network_interface_id",
    kind: aws::NETWORK_INTERFACE_ID,
    absent: Absent::Means("from the instance metadata service"),
    meaning: "The ID of this host's network interface.",
};

static PRIVATE_IP: Key<Text<Ipv4Addr>> = Key {
    name: "private_ip",
    kind: address::IPV4,
    absent: Absent::Means("from the instance metadata service"),
    meaning: "The private address of that interface that the Elastic IP is associated with.",
};

static MOVES_PRIVATE_IP: Key<Bool> = Key {
    name: "moves_private_ip",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether `private_ip` is a secondary private address that moves together with the \
              Elastic IP, the same on both hosts: services listen on it, and established \
              connections survive. Both hosts must be in one subnet.",
};

static ENDPOINT: Key<Text<String>> = Key {
    name: "endpoint",
    kind: aws::ENDPOINT,
    absent: Absent::Means("the endpoint of the region"),
    meaning: "The URL of the EC2 API, for a VPC endpoint or for tests.",
};

/// Reads the section `[ha.elastic_ip]`.
pub(super) fn read(section: &Section<'_>, pair: &Pair<'_>) -> Result<ElasticIp, Reported> {
    let allocation_id = section.value(&ALLOCATION_ID);
    let region = section.optional(&REGION);
    let network_interface_id = section.optional(&NETWORK_INTERFACE_ID);
    let private_ip = section.optional(&PRIVATE_IP);
    let endpoint = section.optional(&ENDPOINT);
    let moves_private_ip = read_moving(section, pair, private_ip.as_ref());
    Ok(ElasticIp {
        allocation_id: allocation_id?.into_inner(),
        region: region?.map(Spanned::into_inner),
        network_interface_id: network_interface_id?.map(Spanned::into_inner),
        private_ip: private_ip?.map(Spanned::into_inner),
        endpoint: endpoint?.map(Spanned::into_inner),
        moves_private_ip: moves_private_ip?,
    })
}

fn read_moving(
    section: &Section<'_>,
    pair: &Pair<'_>,
    private_ip: Result<&Option<Spanned<Ipv4Addr>>, &Reported>,
) -> Result<bool, Reported> {
    let moving = section.value(&MOVES_PRIVATE_IP)?;
    let private_ip = private_ip.map_err(|reported| *reported)?;
    if !moving.get_ref() {
        return Ok(false);
    }
    let Some(private_ip) = private_ip else {
        let message = "moves_private_ip is true, but there is no private_ip";
        let hint = "name the secondary private address that moves, the same on both hosts: \
                    private_ip = \"172.31.0.200\"";
        return Err(section
            .source()
            .error(moving.span(), message, hint.to_owned()));
    };
    let private_ip = Spanned::new(private_ip.span(), IpAddr::V4(*private_ip.get_ref()));
    pair.refuse_own("private_ip", &private_ip, section.source())?;
    Ok(true)
}
