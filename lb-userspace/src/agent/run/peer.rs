//! Exchanges the state that the two agents share over the link between them: session ticket keys,
//! operator overrides, certificates, and ACME orders.

use std::time::SystemTime;

use super::Agent;
use crate::{
    agent::{kernel::Kernel, pair::PairCommand},
    peer::{CertificateFacts, CertificateMessage, Message},
    pool::OverridesMessage,
    proxy::{self, Proxy},
};

impl<K: Kernel> Agent<K> {
    /// Sends a message to the peer, if there is a message and this host has a peer.
    pub(super) fn send_to_peer(&self, message: Option<Message>) {
        if let (Some(pair), Some(message)) = (&self.pair, message) {
            pair.send(PairCommand::Send(message));
        }
    }

    /// Handles a message that the peer sent over the link between the two agents.
    pub(super) fn receive(&mut self, message: Message) {
        match message {
            Message::Tickets(offer) => self.tickets.heard(offer),
            Message::Drains(orders) => self.apply_overrides(&orders),
            Message::Certificates(message) => self.receive_certificates(message),
            Message::Acme(message) => self.acme.receive(message),
        }
    }

    /// Sends this host's full state to the peer, because a session of the link between the two
    /// agents has begun.
    pub(super) fn linked(&mut self) {
        let offer = self.tickets.link_up();
        self.send_to_peer(offer.map(Message::Tickets));
        self.send_overrides();
        let message = self.certificates.link_up();
        self.send_to_peer(Some(Message::Certificates(message)));
        self.acme.set_linked(true);
    }

    /// Sends this host's operator overrides to the peer.
    pub(super) fn send_overrides(&self) {
        if self.pair.is_some() {
            let orders = self.shared.read().registry.overrides_message();
            self.send_to_peer(Some(Message::Drains(orders)));
        }
    }

    /// Applies those operator overrides of the peer that are newer than this host's.
    fn apply_overrides(&mut self, orders: &OverridesMessage) {
        let heard = {
            let mut state = self.shared.write();
            state.registry.merge_overrides(orders, SystemTime::now())
        };
        for ordered in &heard.taken {
            tracing::info!(
                backend = ordered.name,
                event = "backend_override_received",
                "operator override received from the peer"
            );
        }
        let changes: Vec<_> = heard
            .taken
            .iter()
            .filter_map(|ordered| ordered.change.clone())
            .map(|change| (change, "operator override set at the peer".to_owned()))
            .collect();
        self.publish(&changes);
        if !heard.taken.is_empty() {
            self.remember();
        }
        self.send_to_peer(heard.answer.map(Message::Drains));
    }

    /// Sends the certificates that this host serves to the peer, if they have changed.
    pub(in crate::agent) fn send_certificates(&mut self) {
        let infos = self.shared.proxy().as_ref().map(Proxy::certificates);
        let ours = infos.unwrap_or_default().into_iter().map(|info| {
            let facts = CertificateFacts {
                names: info.names.into_iter().collect(),
                not_before: unix_seconds(info.not_before),
                not_after: unix_seconds(info.not_after),
                fingerprint: info.fingerprint,
            };
            (info.path, facts)
        });
        {
            let state = self.shared.read();
            let obtained = state.config.services.iter();
            let obtained = obtained.filter_map(|service| service.obtained());
            let files: Vec<_> = obtained.map(|obtained| obtained.file.as_path()).collect();
            self.certificates.set_obtained(&files);
        }
        let message = self.certificates.have(ours);
        self.send_to_peer(message.map(Message::Certificates));
        self.show_differences();
    }

    /// Handles a message of the peer about certificates: compares them with this host's, and loads
    /// the files that the peer has sent.
    fn receive_certificates(&mut self, message: CertificateMessage) {
        let heard = self.certificates.receive(message, SystemTime::now());
        for message in heard.replies {
            self.send_to_peer(Some(Message::Certificates(message)));
        }
        if !heard.replaced.is_empty() {
            let files: Vec<_> = heard
                .replaced
                .iter()
                .map(|it| it.display().to_string())
                .collect();
            tracing::info!(
                files = %files.join(", "), event = "certificate_received",
                "certificates received from the peer"
            );
            self.reload_tls_files();
        }
        self.show_differences();
    }

    pub(super) fn show_differences(&self) {
        let differences = self.certificates.differences();
        self.shared.write().differences = differences;
    }
}

/// Parses the text of a certificate file in the same way as the HTTP front does.
pub(in crate::agent) fn inspect(text: &[u8]) -> Result<CertificateFacts, String> {
    let inspected = proxy::inspect_certificate(text).map_err(|problem| problem.to_string())?;
    Ok(CertificateFacts {
        names: inspected.names.into_iter().collect(),
        not_before: unix_seconds(inspected.not_before),
        not_after: unix_seconds(inspected.not_after),
        fingerprint: inspected.fingerprint,
    })
}

fn unix_seconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
