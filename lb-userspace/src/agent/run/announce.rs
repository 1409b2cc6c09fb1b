//! Announces that the agent is ready, to the log and to systemd.

use super::{Agent, notify};
use crate::{
    admin::wording::xdp_in_words,
    agent::{kernel::Kernel, summary},
    events::Kind,
};

impl<K: Kernel> Agent<K> {
    pub(super) fn announce(&self) {
        let (attachments, adopted) = {
            let kernel = self.shared.kernel();
            (kernel.attachments(), kernel.adopted())
        };
        let state = self.shared.read();
        let version = env!("CARGO_PKG_VERSION");
        let attachments = attachments.iter();
        let xdp = xdp_in_words(attachments.map(|one| (one.mode.as_str(), &*one.interface)));
        let services = summary(&state.config);
        if self.took_over {
            tracing::info!(
                version,
                xdp = %xdp,
                flows_adopted = adopted,
                configuration = %services,
                event = "agent_upgraded",
                "agent is ready"
            );
        } else {
            let previous = self.previous_end();
            tracing::info!(
                version,
                xdp = %xdp,
                flows_adopted = adopted,
                configuration = %services,
                previous,
                event = "agent_started",
                "agent is ready"
            );
        }
        for service in &state.config.services {
            let (name, listen) = (&service.name, service.listen);
            let pools: Vec<_> = service
                .pools()
                .iter()
                .map(|pool| pool.name.as_str())
                .collect();
            tracing::info!(service = %name, %listen, pool = %pools.join(","), "serving");
        }
        // The backends' states are still those that the previous agent saved, because this agent
        // has checked no backend yet.
        for view in state
            .registry
            .views()
            .filter(|view| view.all_down().is_some() && !view.pool.backends.is_empty())
        {
            tracing::error!(
                pool = %view.pool.name,
                "no backend of the pool was up when the previous agent ended"
            );
        }
        notify(&[
            sd_notify::NotifyState::Ready,
            sd_notify::NotifyState::Status(&format!("{xdp}, {services}")),
        ]);
    }

    /// Returns how the agent before this one ended, if its events are known.
    fn previous_end(&self) -> Option<&'static str> {
        let runs = [Kind::AgentStarted, Kind::AgentUpgraded, Kind::AgentStopping];
        let latest = self.shared.journal.latest_of(&runs)?;
        Some(match latest.kind {
            Kind::AgentStopping => "the previous one stopped",
            _ => "the previous one ended unexpectedly",
        })
    }
}
