//! Tracks whether this host has imported all flows of the peer.

/// The connection of the link to the peer, and the connection over which the last full import was
/// completed.
///
/// The two reports come from different tasks, in either order: the import of a small table can be
/// complete before the pair thread learns that the link to the peer is up.
#[derive(Debug, Default)]
pub(super) struct FlowSync {
    /// The number that identifies the present or the last connection of the link to the peer;
    /// `None` if there was none.
    session: Option<u64>,
    /// The number that identifies the connection of the link over which all flows of the peer were
    /// last imported; `None` if they never were.
    imported_over: Option<u64>,
}

impl FlowSync {
    /// Records that the link to the peer is up, with the connection that has this number.
    pub(super) fn link_up(&mut self, session: u64) {
        self.session = Some(session);
    }

    /// Records that all flows of the peer were imported over the connection that has this number.
    pub(super) fn imported(&mut self, session: u64) {
        self.imported_over = Some(session);
    }

    /// Whether all flows of the peer were imported over the present or the last connection of the
    /// link between the two agents. Flows imported over an older connection say nothing about this
    /// one.
    pub(super) fn is_complete(&self) -> bool {
        self.session.is_some() && self.session == self.imported_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_counts_whether_it_is_reported_before_or_after_the_link() {
        let mut after = FlowSync::default();
        assert!(!after.is_complete());
        after.link_up(1);
        assert!(!after.is_complete());
        after.imported(1);
        assert!(after.is_complete());

        let mut before = FlowSync::default();
        before.imported(1);
        assert!(!before.is_complete());
        before.link_up(1);
        assert!(before.is_complete());
    }

    #[test]
    fn an_import_over_an_older_connection_does_not_count() {
        let mut flows = FlowSync::default();
        flows.link_up(1);
        flows.link_up(2);
        flows.imported(1);
        assert!(!flows.is_complete());
        flows.imported(2);
        assert!(flows.is_complete());
        flows.link_up(3);
        assert!(!flows.is_complete());
    }
}
