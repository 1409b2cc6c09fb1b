//! Challenge responses. Both hosts of a pair serve them, because the directory may reach either
//! host.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, HostState, Offer, PeerMessage, Response, SystemTime};
use crate::acme::SelfSignedError;

/// Limit of the number of the peer's challenge responses that this host serves.
const MOST_RESPONSES: usize = 1024;
/// How long an order waits until the peer serves a challenge response. After that the order
/// continues without the peer, because the directory normally reaches the active host.
const SERVING: Duration = Duration::from_secs(3);

/// Guard of a challenge response that both hosts serve until the guard is dropped.
#[derive(Debug)]
#[must_use]
pub(in crate::acme) struct SharedOffer {
    exchange: Exchange,
    response: Response,
    _here: Offer,
}

impl Exchange {
    /// Serves a challenge response on both hosts until the guard is dropped. This function returns
    /// when both hosts serve the response, or after [`SERVING`] if the peer does not serve it by
    /// then.
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

    /// Serves the challenge responses that the peer's new state has, and stops serving those that
    /// only its earlier states had.
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
