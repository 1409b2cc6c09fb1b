//! Checks whether the validation requests of the ACME directory would reach the agent.

use std::{net::IpAddr, ops::Range};

use super::{
    super::{AcmeChallenge, Mode, Name, drafts::ServiceDraft, source::Source},
    AcmeDraft,
};

impl AcmeDraft {
    /// Removes HTTP-01 from the challenges of services whose validation requests would not reach
    /// the agent, and reports that if the file names HTTP-01.
    pub(crate) fn check_reach(&self, services: &mut [ServiceDraft], source: &Source<'_>) {
        let steered: Vec<_> = services.iter().filter_map(steered_port_80).collect();
        for draft in services {
            let Some(service) = &mut draft.service else {
                continue;
            };
            let address = service.listen.ip();
            let (name, Some(obtained)) = (service.name.clone(), service.obtained_mut()) else {
                continue;
            };
            let taken = steered.iter().find(|(_, ip)| takes(*ip, address));
            let (Some((by, _)), true) =
                (taken, obtained.challenges.contains(&AcmeChallenge::Http01))
            else {
                continue;
            };
            obtained
                .challenges
                .retain(|challenge| *challenge != AcmeChallenge::Http01);
            if let Some(place) = self.challenges.clone() {
                report_unreachable(place, (&name, by), obtained.challenges.is_empty(), source);
            }
        }
    }
}

/// Returns the name and address of a service if it has mode `tcp` and listens on port 80; otherwise
/// `None`.
fn steered_port_80(draft: &ServiceDraft) -> Option<(Name, IpAddr)> {
    let service = draft.service.as_ref()?;
    let is_steered = matches!(service.mode, Mode::Tcp { .. }) && service.listen.port() == 80;
    is_steered.then(|| (service.name.clone(), service.listen.ip()))
}

/// Whether connections to port 80 of `address`, on which a service with domains listens, may reach
/// the service of mode `tcp` that listens on `steered`. If `address` is a wildcard, this is true
/// for every `steered` of its family, because it is not known to which address the domains resolve.
fn takes(steered: IpAddr, address: IpAddr) -> bool {
    steered == address || (address.is_unspecified() && steered.is_ipv4() == address.is_ipv4())
}

fn report_unreachable(
    place: Range<usize>,
    (service, by): (&Name, &Name),
    is_left_without: bool,
    source: &Source<'_>,
) {
    let message = format!(
        "http-01 cannot validate the domains of service \"{service}\": service \"{by}\" listens on \
         port 80 of the same address, so the kernel forwards the validation request to its \
         backends, not to the agent"
    );
    let to_redirect = format!(
        "give service \"{by}\" mode = \"http\", with a route that redirects to https if it has no \
         other use"
    );
    if is_left_without {
        let hint = format!(
            "write challenges = [\"tls-alpn-01\"], which needs port 443 only; or {to_redirect}"
        );
        source.error(place, message, hint);
    } else {
        let hint =
            format!("the other challenges are used; leave \"http-01\" out, or {to_redirect}");
        source.warning(place, message, hint);
    }
}
