//! A client's SYN for addresses and ports that have a connection already.

use crate::{
    backend::BackendId,
    connection::{Connection, Stamp},
    limits::BACKEND_TRIES,
    service::Service,
    settings::Settings,
    table::Place,
    tables::Tables,
    tcp::State,
    verdict::Verdict,
};

use super::forward::read_or_contended;

/// Meaning of a client's SYN for the known connection with its addresses and ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reopening {
    /// The SYN belongs to the known connection.
    None,
    /// The SYN opens another connection in place of the known one.
    Replace,
    /// The SYN is a retransmission, and goes to another backend.
    Retry,
}

/// Decides whether a SYN replaces the known connection with its addresses and ports, or belongs to
/// it.
#[inline(always)]
pub(super) fn reopening<T: Tables>(
    tables: &T,
    settings: &Settings,
    place: &Place<T::Entry>,
) -> Result<Reopening, Verdict> {
    let connection = &read_or_contended(tables, place)?;
    let stamp = place.stamp;
    let age = tables.now().since(stamp.seen);
    let backend_is_down = || {
        tables.backend(connection.backend).is_none_or(|backend| {
            backend.is_down() || backend.address != connection.backend_address
        })
    };
    Ok(match stamp.state {
        // A duplicate that the network made of the client's SYN goes to the same backend as the
        // first SYN.
        State::OPENING if stamp.mode.is_refused() || age >= settings.hertz / RETRANSMISSION => {
            if may_retry(tables, connection, stamp) || backend_is_down() {
                Reopening::Retry
            } else {
                Reopening::None
            }
        }
        State::CLOSED | State::LINGERING => Reopening::Replace,
        State::RESET_BY_CLIENT | State::RESET_BY_BACKEND if backend_is_down() => Reopening::Replace,
        _ => Reopening::None,
    })
}

/// Divisor of a second: a SYN that repeats another one after a quarter of a second or more is a
/// retransmission, not a duplicate that the network made. No client retransmits earlier than after
/// a second (RFC 6298, section 2).
const RETRANSMISSION: u32 = 4;

/// Whether the connection may be retried at another backend, and another backend exists.
#[inline(always)]
pub(super) fn may_retry<T: Tables>(tables: &T, connection: &Connection, stamp: Stamp) -> bool {
    let key = connection.key().flow().service();
    tables.service(&key).is_some_and(|service| {
        stamp.mode.tries() < service.retries
            && other_backend(tables, &service, connection.backend).is_some()
    })
}

/// Returns a backend of the service's ring other than `backend`; `None` if none is found.
#[inline(always)]
fn other_backend<T: Tables>(
    tables: &T,
    service: &Service,
    backend: BackendId,
) -> Option<BackendId> {
    for number in 0..BACKEND_TRIES {
        let id = tables.ring(service.id, number)?;
        if id != backend {
            return Some(id);
        }
    }
    None
}
