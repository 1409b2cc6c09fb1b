//! The keys of `[ha]` that a reload cannot change: they take effect only after a restart.

use super::{ELASTIC_IP, ha};
use crate::{BASE, edited};

#[test]
fn a_reload_names_what_takes_a_restart() {
    let before = ha(BASE);
    let taken_up = [
        (
            "priority = 110",
            "priority = 90\nmin_backends = 0\npreempt_delay = \"3s\"",
        ),
        (
            "preempt = true",
            "preempt = false\nhandover_timeout = \"1s\"\nbackends_weight = 9",
        ),
        ("weight = -20", "weight = 20"),
        ("on-master", "other"),
    ];
    for (from, to) in taken_up {
        assert_eq!(
            before.needs_restart(&ha(&edited(from, to))),
            [""; 0],
            "{to}"
        );
    }
    let bound = [
        (
            "peer = \"172.31.15.233\"",
            "peer = \"172.31.15.234\"",
            "ha.peer",
        ),
        (
            "source = \"172.31.0.68\"",
            "source = \"172.31.0.69\"",
            "ha.source",
        ),
        ("_id = 41", "_id = 42", "ha.virtual_router_id"),
        ("\"100ms\"", "\"200ms\"", "ha.advert_interval"),
        (
            "\"100ms\"\npreempt = true\nversion = 3",
            "\"100ms\"\ntransport = \"multicast\"",
            "ha.transport",
        ),
        ("version = 3", "check_source = false", "ha.check_source"),
        ("version = 3", "check_ttl = true", "ha.check_ttl"),
        (
            "version = 3",
            "checksum_without_pseudo_header = true",
            "ha.checksum_without_pseudo_header",
        ),
        (
            "version = 3",
            "hmac_key_file = \"/etc/lb/vrrp.key\"",
            "ha.password or ha.hmac_key_file",
        ),
        (
            "version = 3",
            "advertised_addresses = [\"172.31.0.200\"]",
            "ha.advertised_addresses",
        ),
        ("cdef0", "cdef1", "ha.elastic_ip or ha.virtual_ip"),
        (
            ELASTIC_IP,
            "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n",
            "ha.elastic_ip or ha.virtual_ip",
        ),
        ("peer.secret\"", "peer.secret\"\nport = 9147", "ha.link"),
    ];
    for (from, to, key) in bound {
        assert_eq!(before.needs_restart(&ha(&edited(from, to))), [key]);
    }
    let version = edited("version = 3", "version = 2").replace("\"100ms\"", "\"1s\"");
    let changed = before.needs_restart(&ha(&version));
    assert_eq!(changed, ["ha.advert_interval", "ha.version"]);
}
