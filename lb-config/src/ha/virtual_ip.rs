//! `[ha.virtual_ip]`: addresses that move to the active host.

use toml::Spanned;

use super::{
    super::{
        InterfaceAddress, address,
        kind::Text,
        list::List,
        schema::{Absent, Key, Schema},
        section::Section,
        source::Reported,
        unique,
    },
    Pair, advert, refuse_other_family,
};

pub(super) static VIRTUAL_IP: Schema = Schema {
    name: "virtual_ip",
    header: "[ha.virtual_ip]",
    about: "Addresses on your own network that move to the active host. A service that listens on \
            one of them also listens on the standby.",
    presence: "Either this or `[ha.elastic_ip]`, or neither if the commands of `[ha.notify]` move \
               the address.",
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
    meaning: "The addresses, at least one, all of the family of `source`. Adverts carry them.",
};

/// Reads the section `[ha.virtual_ip]`.
pub(super) fn read(
    section: &Section<'_>,
    pair: &Pair<'_>,
) -> Result<Vec<InterfaceAddress>, Reported> {
    let listed = section.value(&ADDRESSES)?;
    let place = listed.span();
    let listed = listed.into_inner();
    if listed.complete.is_ok() && listed.items.is_empty() {
        let message = "[ha.virtual_ip] has no addresses";
        let hint = "add at least one: addresses = [\"172.31.0.200/20\"]";
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    if listed.items.len() > advert::MOST_ADDRESSES {
        return Err(advert::too_many(section, place, listed.items.len()));
    }
    let shown = listed.items.iter();
    let shown = shown.map(|read| Spanned::new(read.span(), read.get_ref().address));
    let shown: Vec<_> = shown.collect();
    unique::refuse_twice(
        "virtual address",
        "in this list",
        shown.iter(),
        section.source(),
    )?;
    refuse_other_family("virtual address", section, &shown, pair.source)?;
    for address in &shown {
        pair.refuse_own("virtual address", address, section.source())?;
    }
    listed.all()
}
