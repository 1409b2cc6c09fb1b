//! Converts records of type SRV (RFC 2782) to backends.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use hickory_resolver::proto::rr::{Name, RData, Record, rdata::SRV};

use crate::{config::Weight, discovery::ListedBackend};

/// The largest weight of a backend.
const HEAVIEST: u32 = 256;

/// Returns the data of a record of type SRV that names a server; `None` for other types, and for
/// the target `.`, which means that the service is not available at this name.
pub(super) fn record(record: &Record) -> Option<&SRV> {
    match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv),
        _ => None,
    }
}

/// Returns a backend for each address of the target of each record. The records with the lowest
/// priority number among those whose targets have addresses give ordinary backends; all others give
/// backups.
pub(super) fn backends(
    records: &[&SRV],
    addresses: &HashMap<Name, Vec<IpAddr>>,
) -> Vec<ListedBackend> {
    let found = |srv: &&&SRV| {
        addresses
            .get(&srv.target)
            .is_some_and(|all| !all.is_empty())
    };
    let first = records.iter().filter(found).map(|srv| srv.priority).min();
    let (used, backups): (Vec<&SRV>, Vec<&SRV>) = records
        .iter()
        .copied()
        .partition(|srv| Some(srv.priority) == first);
    let mut backends = Vec::new();
    for (records, backup) in [(used, false), (backups, true)] {
        let weights = weights(&records.iter().map(|srv| srv.weight).collect::<Vec<_>>());
        for (srv, weight) in records.iter().zip(weights) {
            let addresses = addresses.get(&srv.target).into_iter().flatten();
            backends.extend(addresses.map(|ip| ListedBackend {
                weight,
                backup,
                ..ListedBackend::at(SocketAddr::new(*ip, srv.port))
            }));
        }
    }
    backends
}

/// Returns the weights of backends for the weights of records, which are 0 to 65,535: the same if
/// all are valid for backends (1 to 256), else scaled, so that the largest is 256. A weight that
/// would be 0 becomes 1, because RFC 2782 gives a record of weight 0 a small share.
fn weights(of_records: &[u16]) -> Vec<Weight> {
    let as_they_are: Option<Vec<_>> = of_records.iter().copied().map(Weight::new).collect();
    if let Some(weights) = as_they_are {
        return weights;
    }
    let largest = u32::from(of_records.iter().copied().max().unwrap_or_default()).max(1);
    let in_proportion = |weight: &u16| {
        let scaled = (u32::from(*weight) * HEAVIEST + largest / 2) / largest;
        let scaled = u16::try_from(scaled.max(1)).ok();
        scaled.and_then(Weight::new).unwrap_or(Weight::ONE)
    };
    of_records.iter().map(in_proportion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn scaled(of_records: &[u16]) -> Vec<u16> {
        weights(of_records).into_iter().map(Weight::get).collect()
    }

    #[test]
    fn weights_stay_as_they_are_or_keep_their_proportion() {
        assert_eq!(scaled(&[]), [0_u16; 0]);
        assert_eq!(scaled(&[1, 256, 10]), [1, 256, 10]);
        assert_eq!(scaled(&[0, 0]), [1, 1]);
        assert_eq!(scaled(&[0, 10]), [1, 256]);
        assert_eq!(scaled(&[512, 256, 128]), [256, 128, 64]);
        assert_eq!(scaled(&[u16::MAX, 1, 0]), [256, 1, 1]);
        assert_eq!(scaled(&[300, 100]), [256, 85]);
    }

    #[test]
    fn records_of_the_lowest_priority_are_used_and_the_others_are_backups() {
        let records = [
            SRV::new(20, 7, 8080, name("b.example.")),
            SRV::new(10, 3, 80, name("a.example.")),
            SRV::new(30, 0, 81, name("a.example.")),
        ];
        let addresses = HashMap::from([
            (
                name("a.example."),
                vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            ),
            (name("b.example."), vec![[10, 0, 0, 3].into()]),
        ]);
        let backends = backends(&records.iter().collect::<Vec<_>>(), &addresses);
        let seen: Vec<_> = backends
            .iter()
            .map(|one| (one.address.to_string(), one.weight.get(), one.backup))
            .collect();
        let expected = [
            ("10.0.0.1:80", 3, false),
            ("10.0.0.2:80", 3, false),
            ("10.0.0.3:8080", 256, true),
            ("10.0.0.1:81", 1, true),
            ("10.0.0.2:81", 1, true),
        ];
        assert_eq!(
            seen,
            expected.map(|(at, weight, backup)| (at.to_owned(), weight, backup))
        );
    }

    #[test]
    fn a_priority_whose_targets_do_not_exist_is_not_the_one_that_is_used() {
        let records = [
            SRV::new(10, 1, 80, name("gone.example.")),
            SRV::new(20, 1, 80, name("A.example.")),
        ];
        let addresses = HashMap::from([
            (name("gone.example."), Vec::new()),
            (name("a.EXAMPLE."), vec![[10, 0, 0, 1].into()]),
        ]);
        let backends = backends(&records.iter().collect::<Vec<_>>(), &addresses);
        assert_eq!(backends.len(), 1, "{backends:?}");
        assert!(!backends[0].backup, "{backends:?}");
    }

    #[test]
    fn the_target_that_is_the_root_is_no_server() {
        let srv = |target| {
            Record::from_rdata(
                name("_http._tcp.example."),
                60,
                RData::SRV(SRV::new(0, 0, 0, name(target))),
            )
        };
        assert!(record(&srv(".")).is_none());
        assert!(record(&srv("a.example.")).is_some());
    }
}
