//! Which keys of `[ha]` a reload can change, and which take a restart.

use super::super::Ha;

impl Ha {
    /// Returns the keys and sections in which `other` differs and which take effect only when the
    /// agent starts, as the file writes them. A reload puts all other keys in force: `priority`,
    /// `preempt`, `preempt_delay`, `min_backends`, `backends_weight`, `handover_timeout`,
    /// `[[ha.track]]` and `[ha.notify]`.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        // All fields of `[ha]` are listed here, so the compiler reports a new field that is not
        // handled.
        let Self {
            peer,
            source,
            virtual_router_id,
            priority: _,
            advert_interval,
            preempt: _,
            version,
            moves,
            preempt_delay: _,
            transport,
            authentication,
            check_source,
            check_ttl,
            checksum_without_pseudo_header,
            advertised_addresses,
            handover_timeout: _,
            min_backends: _,
            backends_weight: _,
            link,
            track: _,
            notify: _,
        } = self;
        let router_id = *virtual_router_id != other.virtual_router_id;
        let checksum = *checksum_without_pseudo_header != other.checksum_without_pseudo_header;
        let moves_differ = *moves != other.moves;
        // By default the virtual addresses are advertised: if they change, only the change of the
        // virtual addresses is reported.
        let addresses = *advertised_addresses != other.advertised_addresses && !moves_differ;
        let changed = [
            ("ha.peer", *peer != other.peer),
            ("ha.source", *source != other.source),
            ("ha.virtual_router_id", router_id),
            (
                "ha.advert_interval",
                *advert_interval != other.advert_interval,
            ),
            ("ha.version", *version != other.version),
            ("ha.transport", *transport != other.transport),
            (
                "ha.password or ha.hmac_key_file",
                *authentication != other.authentication,
            ),
            ("ha.check_source", *check_source != other.check_source),
            ("ha.check_ttl", *check_ttl != other.check_ttl),
            ("ha.checksum_without_pseudo_header", checksum),
            ("ha.advertised_addresses", addresses),
            ("ha.elastic_ip or ha.virtual_ip", moves_differ),
            ("ha.link", *link != other.link),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(name, _)| name).collect()
    }
}
