//! The answers to a directory that validates a name: served on both hosts, as either may be asked.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, HostState, Offer, PeerMessage, Response, SystemTime};
use crate::acme::SelfSignedError;

/// Answers of the peer that are served at most.
const MOST_RESPONSES: usize = 1024;
/// How long the peer may take to serve an answer. Without that the order goes on: the directory asks
/// the active host as a rule.
const SERVING: Duration = Duration::from_secs(3);

/// An answer that is served on both hosts for as long as this lives.
#[derive(Debug)]
#[must_use]
pub(in crate::acme) struct SharedOffer {
    exchange: Exchange,
    response: Response,
    _here: Offer,
}

impl Exchange {
    /// Serves an answer here and has the peer serve it; returns when both do, or when the peer has
    /// not for a while.
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
                    "the peer does not serve the answer to the ACME directory yet: a validation that \
                     reaches it fails"
                );
            }
        }
        Ok(shared)
    }

    /// Serves what the peer's orders are validated by, and nothing else that it told before.
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
                Err(error) => tracing::warn!("{error}"),
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
