//! Challenge responses, served on both hosts because the directory may reach either.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, HostState, Offer, PeerMessage, Response, SystemTime};
use crate::acme::SelfSignedError;

/// Limit of the peer's challenge responses that this host serves.
const MOST_RESPONSES: usize = 1024;
/// How long an order waits for the peer to serve a response. After that it continues, as the
/// directory normally reaches the active host.
const SERVING: Duration = Duration::from_secs(3);

/// Guard of a response that both hosts serve.
#[derive(Debug)]
#[must_use]
pub(in crate::acme) struct SharedOffer {
    exchange: Exchange,
    response: Response,
    _here: Offer,
}

impl Exchange {
    /// Serves a response on both hosts until the guard is dropped. Returns when both hosts serve
    /// it, or after [`SERVING`] if the peer does not.
    pub(in crate::acme) async fn serve(
        &self,
        response: Response,
    ) -> Result<SharedOffer, SelfSignedError> {
        let here = self.0.challenges.offer(&response)?;
        let serial = {
            let mut state = self.state();
            *state.responses.entry(response.clone()).or_default() += 1;
            let serial = self.publish_now(&mut state, SystemTime::now());
            serial.filter(|_| state.peer_state_known)
        };
        let shared = SharedOffer {
            exchange: self.clone(),
            response,
            _here: here,
        };
        if let Some(serial) = serial {
            let mut served = self.0.served.subscribe();
            let serves = served.wait_for(|served| *served >= serial);
            if tokio::time::timeout(SERVING, serves).await.is_err() {
                tracing::warn!(
                    "the peer does not serve the challenge response yet: a validation that reaches the \
                     peer fails"
                );
            }
        }
        Ok(shared)
    }

    /// Serves the challenge responses of the peer's state, and no longer those of its earlier
    /// states.
    pub(super) fn answer(&self, state: &mut super::ExchangeState, told: &HostState) {
        let mut before = std::mem::take(&mut state.offers);
        let mut offers = BTreeMap::new();
        for response in told.responses.iter().take(MOST_RESPONSES) {
            let kept = before.remove(response);
            let offer = kept.map_or_else(|| self.0.challenges.offer(response), Ok);
            match offer {
                Ok(offer) => {
                    offers.insert(response.clone(), offer);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot serve a challenge response of the peer");
                }
            }
        }
        state.offers = offers;
        if !told.responses.is_empty() {
            self.enqueue(PeerMessage::Serving(told.serial));
        }
    }
}

impl Drop for SharedOffer {
    fn drop(&mut self) {
        let mut state = self.exchange.state();
        if let Some(count) = state.responses.get_mut(&self.response) {
            *count -= 1;
            if *count == 0 {
                state.responses.remove(&self.response);
            }
        }
        self.exchange.publish_now(&mut state, SystemTime::now());
    }
}
